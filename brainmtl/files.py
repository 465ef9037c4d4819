"""Writing files so that nothing half-written ever stays under its final name, and nothing else is lost."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainmtl.errors import ConfigError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on error.

    The temporary name keeps the suffix (``.npz``, ``.nii.gz``), since writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    # Not by tempfile, whose files are 0600: these get the permissions that open() would give.
    temporary = path.parent / f".tmp-{secrets.token_hex(8)}{suffix}"
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def home_path(name: str, text: str | Path) -> Path:
    """``text`` with a leading ``~`` or ``~user`` replaced by that home folder, as a shell does.

    Raises:
        ConfigError: there is no such home folder; it says which ``name`` (a variable or option) asks for it.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{name}={text}: there is no such home folder; give the whole path"
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON (NaN is refused: JSON has no such number)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256(*paths: str | Path) -> str:
    """SHA-256 over the bytes of ``paths`` in the given order, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def check_out_dir(out_dir: Path, name: str, mark: str) -> None:
    """Refuse a folder for results that cannot be made, or that holds those of another command.

    Args:
        name: a JSON file that other commands write too, such as ``run.json``.
        mark: what it holds only where it is of the command that asks.

    Raises:
        ConfigError: says which, before anything is computed.
    """
    there = next(path for path in (out_dir, *out_dir.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"out_dir={out_dir} can be no folder: {there} is a file; choose another")
    try:
        content = json.loads((out_dir / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        content = None
    if not isinstance(content, dict) or mark not in content:
        raise ConfigError(
            f"out_dir={out_dir} holds the {name} of another command, which would be lost: choose another"
        )
