"""Request bodies: capped while they stream, kept in memory, and taken apart there.

Nothing of a body touches the disk: Starlette's parser would spool what exceeds 1 MB, before anything
could count it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from brainmtl.serve.errors import ApiError
from brainmtl.serve.settings import MEBIBYTE
from brainmtl.serve.worker import ClientGoneError

UPLOAD_SECONDS = 60.0
MAX_FIELDS = 4  # beside the files: clients add a token or a comment
MAX_FIELD_BYTES = 1024


async def read_uploads(
    request: Request, field: str, max_body: int, max_files: int = 1
) -> list[bytes]:
    """The files of the multipart field ``field``, at least one, as sent. Their names are not kept.

    Raises:
        ApiError: 400 a body that is no multipart/form-data, 408 too slow, 413 larger than
            ``max_body`` bytes (whatever Content-Length says) or more than ``max_files``, 415 another
            content type, 422 no file.
        ClientGoneError: the client closed the connection while sending.
    """
    _check_headers(request.headers, max_body)
    parser = MultiPartParser(
        request.headers,
        _capped(request, max_body),
        max_files=max_files,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    parser.spool_max_size = max_body + 1  # more than can come: nothing is spooled to disk
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            form = await parser.parse()
    except TimeoutError as error:
        detail = f"The body did not arrive within {UPLOAD_SECONDS:g} s."
        raise ApiError(408, "upload_too_slow", detail) from error
    except ClientDisconnect as error:
        raise ClientGoneError from error
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            detail = f"More than {max_files} file(s) in one request: send fewer."
            raise ApiError(413, "too_many_files", detail) from error
        raise _malformed(error.message) from error
    except (ValueError, LookupError) as error:
        # A charset such as "undefined" comes through Starlette's parser as UnicodeError.
        raise _malformed("Invalid multipart data.") from error
    try:
        return [await item.read() for item in _items(form, field)]
    finally:
        await form.close()


def _check_headers(headers: Headers, max_body: int) -> None:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise ApiError(
            415,
            "not_multipart",
            "Send the file as multipart/form-data, with curl: -F file=@PATH.",
        )
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ApiError(415, "content_encoding", "Send the body without Content-Encoding.")
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > max_body:
        raise _too_large(max_body)


async def _capped(request: Request, max_body: int) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_body:
            raise _too_large(max_body)
        yield chunk


def _items(form: FormData, field: str) -> list[UploadFile]:
    files = [item for item in form.getlist(field) if isinstance(item, UploadFile)]
    if not files:
        detail = f"The form has no file in its field {field!r}, with curl: -F {field}=@PATH."
        raise ApiError(422, "no_file", detail)
    return files


def _too_large(max_body: int) -> ApiError:
    return ApiError(
        413,
        "body_too_large",
        f"The body is larger than {max_body / MEBIBYTE:g} MiB, the limit of this server "
        "(BRAINMTL_MAX_BODY_MB). Send fewer or smaller files.",
    )


def _malformed(detail: str) -> ApiError:
    return ApiError(
        400, "malformed_multipart", f"The body is no readable multipart/form-data: {detail}"
    )
