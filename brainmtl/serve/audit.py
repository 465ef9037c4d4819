"""The audit log: one line of JSON per decision, on disk before the answer leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brainmtl.serve.errors import ApiError


class AuditLog:
    """Append-only JSON lines in ``path``; what they hold is in docs/serving.md.

    Neither file names nor pixels nor metadata of pictures are written, only the SHA-256 of what was
    sent. The file is opened for every write, so that it can be rotated by renaming.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # The disk takes milliseconds in which an answer can be encoded.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="brainmtl-audit")

    def begin(self, entries: Sequence[dict[str, Any]]) -> Future[None]:
        """Begin to append ``entries``, after those that were given before.

        The lines go out in one write to a file opened with O_APPEND: those of several processes do
        not mix.
        """
        return self._executor.submit(self._append, entries)

    def finish(self, written: Future[None]) -> None:
        """Wait until the disk has what :meth:`begin` was given (fsync).

        Raises:
            ApiError: 503 when it cannot be written. A decision without a line is not given out.
        """
        written.result()

    def close(self) -> None:
        """Finish what is being written."""
        self._executor.shutdown(wait=True)

    def _append(self, entries: Sequence[dict[str, Any]]) -> None:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = "".join(json.dumps({"time": time, **e}, allow_nan=False) + "\n" for e in entries)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                _write_all(handle, _after_a_torn_line(handle) + lines.encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise ApiError(
                503,
                "audit_log",
                f"The audit log cannot be written ({error.strerror}), and no decision is given out "
                "without it. The operator of this server must make its place writable.",
            ) from error


def _after_a_torn_line(handle: int) -> bytes:
    """A line break where a full disk has kept the last line from its own, else nothing."""
    size = os.fstat(handle).st_size
    return b"\n" if size and os.pread(handle, 1, size - 1) != b"\n" else b""


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
