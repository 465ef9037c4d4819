"""``manifest.csv``: one row per prepared sample, all that loaders need before they open a file."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from brainmtl.errors import DataError
from brainmtl.files import atomic_path, sha256

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val", "test")
FILE_NAME = "manifest.csv"
SYNTHETIC_PREFIX = "phantom_"

# Column -> dtype. Repeated text is categorical: a million rows then take tens of megabytes.
MANIFEST_COLUMNS: dict[str, str] = {
    "image_id": "string",
    "source": "category",
    "split": "category",
    "fold": "int16",  # -1 where no folds were asked for
    "path": "string",  # relative to the folder of the manifest, with forward slashes
    "group": "category",  # patient, or group of duplicate images: never spread over splits
    "site": "category",  # institution; "" where nothing tells
    "case_id": "category",
    "kind": "category",  # volume | image
    "position": "int32",  # slice index in the file grid; 0 for images
    "label": "int8",  # 1 tumour, 0 none, -1 no label
    "has_label": "int8",
    "has_mask": "int8",
    "tumour_pixels": "int32",  # on the prepared grid; -1 without mask
    "synthetic": "int8",
    "duplicate_hash": "string",  # images only
    "raw_sha256": "category",
    "sample_sha256": "string",
}


ADDED = ("site",)  # since the first release: empty where a folder was prepared before


@dataclass(frozen=True, eq=False)
class Manifest:
    """What :func:`read_manifest` and :func:`manifest_hash` say of one state of the file."""

    frame: pd.DataFrame
    sha256: str


def load_manifest(data_dir: str | Path) -> Manifest:
    """Rows and SHA-256 of a manifest in one reading; raises as :func:`read_manifest`."""
    path = _existing(data_dir)
    content = path.read_bytes()
    return Manifest(_parse(io.BytesIO(content), path), hashlib.sha256(content).hexdigest())


def read_manifest(data_dir: str | Path) -> pd.DataFrame:
    """Read ``<data_dir>/manifest.csv``.

    Raises :class:`DataError` when it is missing, lacks a column or holds a value of a wrong kind.
    """
    path = _existing(data_dir)
    return _parse(path, path)


def _parse(source: Path | BinaryIO, path: Path) -> pd.DataFrame:
    import pandas as pd

    # Text first: read as a category, patients 001 and 002 would become the numbers 1 and 2.
    dtypes = {k: "string" if v == "category" else v for k, v in MANIFEST_COLUMNS.items()}
    try:
        frame = pd.read_csv(source, dtype=dtypes, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}): prepare the data again") from error
    for name in ADDED:
        if name not in frame.columns:
            frame[name] = pd.Series("", index=frame.index, dtype="string")
    missing = [name for name in MANIFEST_COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(f"{path} lacks the columns {missing}: prepare the data again")
    return frame.astype({k: v for k, v in MANIFEST_COLUMNS.items() if v == "category"})


def write_manifest(data_dir: str | Path, frame: pd.DataFrame) -> None:
    """Write the manifest in one step, rows sorted by source, case and position."""
    # As text: categories would sort by their own order, which depends on how the frame came about.
    keys = frame[["source", "case_id"]].astype(str).assign(position=frame["position"])
    order = keys.reset_index(drop=True).sort_values(list(keys), kind="stable").index
    ordered = frame[list(MANIFEST_COLUMNS)].iloc[order]
    with atomic_path(Path(data_dir) / FILE_NAME) as temporary:
        ordered.to_csv(temporary, index=False)


def manifest_hash(data_dir: str | Path) -> str:
    """SHA-256 of the manifest: names the exact data that a model was trained on.

    Raises :class:`DataError` when it is missing.
    """
    return sha256(_existing(data_dir))


def _existing(data_dir: str | Path) -> Path:
    path = Path(data_dir) / FILE_NAME
    if not path.is_file():
        raise DataError(
            f"{path} is missing: {data_dir} is no prepared folder. Make one with "
            f"`python -m brainmtl.prepare source=... raw_dir=... out_dir={data_dir}`"
        )
    return path


def source_hashes(frame: pd.DataFrame) -> dict[str, str]:
    """SHA-256 per source over what decides its splits and samples, in manifest order."""
    columns = ["image_id", "split", "fold", "group", "label", "sample_sha256"]
    return {
        str(name): hashlib.sha256(rows[columns].to_csv(index=False).encode()).hexdigest()
        for name, rows in frame.groupby(frame["source"].astype(str))
    }


def display_name(source: str, synthetic: bool) -> str:
    """How a source is called wherever people read: synthetic data always says so.

    >>> display_name("phantom_brats", True)
    'brats-like (synthetic)'
    """
    return f"{source.removeprefix(SYNTHETIC_PREFIX)}-like (synthetic)" if synthetic else source


def display_names(frame: pd.DataFrame) -> dict[str, str]:
    """:func:`display_name` of each source of a manifest."""
    rows = frame.drop_duplicates("source")
    return {
        str(r.source): display_name(str(r.source), bool(r.synthetic)) for r in rows.itertuples()
    }


def all_synthetic(sources: Iterable[str]) -> bool:
    """Whether no source of a training is real, by their names."""
    return all(name.startswith(SYNTHETIC_PREFIX) for name in sources)


def case_of(image_id: str) -> str:
    """Case of a sample: ``<case>_z<slice>`` for slices of a volume, the image itself otherwise."""
    return re.sub(r"_z\d{3,}$", "", image_id)
