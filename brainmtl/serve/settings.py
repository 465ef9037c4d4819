"""What an operator sets, by environment variables that begin with BRAINMTL_."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from brainmtl.config import PROJECT_ROOT
from brainmtl.errors import ConfigError
from brainmtl.files import home_path
from brainmtl.inference.images import MAX_BATCH
from brainmtl.inference.runtimes import PRECISIONS, RUNTIMES

MEBIBYTE = 1 << 20
CHUNK = 4  # pictures of a batch that go through the network, and lie in memory, together
DEFAULT_AUDIT_LOG = PROJECT_ROOT / "outputs" / "serve" / "audit.jsonl"

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Settings:
    """Settings of one server; docs/serving.md describes each.

    ``model_dir`` None means the newest exported folder, ``threads`` None what torch chooses. A
    request body may hold ``max_body_mb`` MiB, and ``queue`` requests may wait for the one that is
    being computed, of which up to ``max_batch`` single pictures are computed together. ``runtime`` and ``precision`` are those of
    :meth:`brainmtl.inference.predictor.MultiTaskPredictor.from_folder`.
    """

    model_dir: Path | None = None
    api_key: str | None = None
    max_body_mb: float = 64.0
    queue: int = 16
    max_batch: int = 8
    audit_log: Path = DEFAULT_AUDIT_LOG
    cors_origins: tuple[str, ...] = ()
    threads: int | None = None
    runtime: str = "auto"
    precision: str = "32"

    @property
    def max_body_bytes(self) -> int:
        """The cap on a request body."""
        return int(self.max_body_mb * MEBIBYTE)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Settings of ``environ``; a variable that is empty counts as not set.

        Raises:
            ConfigError: a value that is no number, or one outside its range.
        """
        values = {
            name.removeprefix("BRAINMTL_"): value.strip()
            for name, value in environ.items()
            if name.startswith("BRAINMTL_") and value.strip()
        }
        model_dir = values.get("MODEL_DIR")
        return cls(
            model_dir=home_path("BRAINMTL_MODEL_DIR", model_dir) if model_dir else None,
            api_key=values.get("API_KEY"),
            max_body_mb=_number(values, "MAX_BODY_MB", float, 0.001, 4096, cls.max_body_mb),
            queue=_number(values, "QUEUE", int, 0, 10_000, cls.queue),
            max_batch=_number(values, "MAX_BATCH", int, 1, MAX_BATCH, cls.max_batch),
            audit_log=home_path("BRAINMTL_AUDIT_LOG", values.get("AUDIT_LOG", DEFAULT_AUDIT_LOG)),
            cors_origins=tuple(
                _origin(o) for o in values.get("CORS_ORIGINS", "").split(",") if o.strip()
            ),
            threads=_number(values, "THREADS", int, 1, 1024, None),
            runtime=_word(values, "RUNTIME", RUNTIMES, cls.runtime),
            precision=_word(values, "PRECISION", PRECISIONS, cls.precision),
        )


def _number(
    values: Mapping[str, str],
    name: str,
    kind: Callable[[str], Number],
    low: Number,
    high: Number,
    default: Number | None,
) -> Number | None:
    if name not in values:
        return default
    try:
        value = kind(values[name])
    except ValueError:
        value = math.nan
    if not low <= value <= high:  # NaN is refused here too
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(
            f"BRAINMTL_{name}={values[name]!r} must be {what} from {low:g} to {high:g}"
        )
    return value


def _word(values: Mapping[str, str], name: str, known: tuple[str, ...], default: str) -> str:
    value = values.get(name, default)
    if value not in known:
        raise ConfigError(f"BRAINMTL_{name}={value!r} is unknown: choose {', '.join(known)}")
    return value


def _origin(text: str) -> str:
    origin = text.strip()
    if not origin.startswith(("http://", "https://")) or origin.endswith("/"):
        raise ConfigError(
            f"BRAINMTL_CORS_ORIGINS names {origin!r}: give origins such as https://pacs.example, "
            "with scheme, without path or trailing slash, separated by commas"
        )
    return origin
