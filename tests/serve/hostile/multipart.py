"""Requests that are misbuilt: their parts, types and parameters, and batches of everything."""

from __future__ import annotations

import itertools

from hostile.building import KINDS, OK, Hostile, Rng, encode, head, kind, pick, raw, sent


def part(name: str, data: bytes, filename: str | None = "a.png", extra: bytes = b"") -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    start = f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n'.encode()
    return start + extra + b"\r\n" + data + b"\r\n"


FORM = "multipart/form-data; boundary=x"


@kind
def deep_multipart(rng: Rng) -> Hostile:
    body = encode(head(rng))
    for level in range(int(rng.integers(20, 200))):
        inner = f"b{level}".encode()
        body = b"--" + inner + b"\r\n\r\n" + body + b"\r\n--" + inner + b"--\r\n"
    nested = part("file", body, extra=b"Content-Type: multipart/mixed; boundary=b0\r\n")
    return raw(nested + b"--x--\r\n", FORM, {415})


@kind
def many_parts(rng: Rng) -> Hostile:
    filename = (None, "a.png")[rng.integers(2)]
    return raw(part("file", b"1", filename) * 5000 + b"--x--\r\n", FORM, {400, 413})


@kind
def broken_multipart(rng: Rng) -> Hostile:
    data = encode(head(rng))
    bodies = (
        b"",
        b"--x",
        b"--x--\r\n",
        part("file", data),  # no end
        part("file", data).replace(b"\r\n\r\n", b"\r\n", 1) + b"--x--\r\n",
        part("file", data).replace(b'name="file"; ', b"") + b"--x--\r\n",
        part("file", data).replace(b"form-data", b"attachment")[10:] + b"--x--\r\n",
        part("other", data) + b"--x--\r\n",
        part("file", b"text", None) + b"--x--\r\n",
        part("file", data, extra=b"X-Long: " + b"a" * 100_000 + b"\r\n") + b"--x--\r\n",
        part("file", data, extra=b"X-A: b\r\n" * 2000) + b"--x--\r\n",
        b"\r\n" * 5000 + part("file", data) + b"--x--\r\n",
        b"--y\r\n" * 5000,
        rng.bytes(3000),
    )
    return raw(pick(rng, bodies), FORM, OK | {400, 422})


@kind
def wrong_content_type(rng: Rng) -> Hostile:
    types = (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 5000,
        "multipart/form-data; boundary=x; charset=undefined",
        "multipart/form-data; boundary=x; charset=punycode",
        'multipart/form-data; boundary="x\\"; charset=\'',
        "application/json",
        "application/x-www-form-urlencoded",
        "image/png",
        "",
        ";;;",
    )
    body = part("fil\xfc", encode(head(rng))) + b"--x--\r\n"
    return raw(body, pick(rng, types), {400, 415, 422})


@kind
def odd_parameters(rng: Rng) -> Hostile:
    queries = (
        "seg_threshold=nan",
        "seg_threshold=1e999",
        "cls_threshold=0",
        "seg_threshold=0.9&cls_threshold=0.1",
        "include_gradcam=perhaps",
        "cls_threshold=" + "9" * 5000,
        "seg_threshold=0.2&seg_threshold=x",
    )
    upload = sent(encode(head(rng)), {422})
    path = f"{upload.path}?{pick(rng, queries)}"
    return Hostile("", {422}, upload.request, path)


@kind
def hostile_batch(rng: Rng) -> Hostile:
    """Readable and unreadable pictures together: the batch is answered, whatever lies in it."""
    names = [n for n in KINDS if n not in ("hostile_batch", "too_much_data", "pixel_bomb")]
    chosen = (KINDS[str(name)](rng) for name in itertools.cycle(rng.permutation(names)))
    pictures = (h for h in chosen if h.path == "/predict_multitask" and "files" in h.request)
    files = [("files", h.request["files"]["file"]) for h in itertools.islice(pictures, 6)]
    return Hostile("", {200, 413}, {"files": files}, "/predict_batch")
