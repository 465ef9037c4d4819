"""A CSV of images, masks, labels and groups: the way to bring one's own cohort."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brainmtl.data.image_io import PICTURE_SUFFIXES, read_mask_image
from brainmtl.data.records import Case, CaseRef, Problem, safe_id
from brainmtl.data.sources.kaggle import (
    picture_case,
    refuse_several_modalities,
    unique_ids,
)
from brainmtl.data.sources.nifti import is_nifti, oriented_case, read_nifti
from brainmtl.errors import DataError

EXPECTED_TREE = """\
  a CSV file, paths relative to its folder; all columns but image may be missing or empty:
  image,mask,label,group,site
  scans/a.nii.gz,masks/a.nii.gz,,patient-1,hospital-a
  photos/b.png,,1,patient-2,hospital-b"""

COLUMNS = ("image", "mask", "label", "group", "site")

_LIKE_A_SLICE = re.compile(r"_z\d{3,}$")  # slice 12 of the volume x is called x_z012


@dataclass(frozen=True)
class TableSource:
    """Cases of a table, each a NIfTI volume or a picture, with a mask, a label or both.

    A volume's slices take their label from its mask. Without a mask only label 0 can be used for a
    volume (no slice has tumour), since label 1 does not say which slices show it.
    """

    table: Path | None = None
    modalities: tuple[str, ...] = ("flair",)
    name: str = "table"
    synthetic: bool = False
    kind: str = field(default="mixed", init=False)

    def __post_init__(self) -> None:
        refuse_several_modalities(self.name, self.modalities)

    def discover(self, raw_dir: Path) -> tuple[list[CaseRef], list[Problem]]:
        """Check every row (files exist, label 0 or 1, something to learn from)."""
        path = self._table_path(Path(raw_dir))
        rows = read_rows(path)
        problems: list[Problem] = []
        good: dict[Path, dict[str, str]] = {}
        for number, row in rows:
            image = path.parent / row["image"]
            reason = _row_problem(path.parent, row)
            if not reason and image in good:
                reason = f"{row['image']} is listed twice"
            if reason:
                problems.append(Problem(f"{path}, line {number}", reason))
            else:
                good[image] = row
        if not rows:
            raise DataError(f"{path}: holds no rows. Expected:\n{EXPECTED_TREE}")
        ids = unique_ids((image, _stem(Path(row["image"]))) for image, row in good.items())
        return [self._ref(path.parent, ids[image], row) for image, row in good.items()], problems

    def load(self, ref: CaseRef) -> Case:
        """Read image and mask of one row; they must agree in grid, and with the label."""
        image, mask = ref.files[0], ref.files[1] if len(ref.files) > 1 else None
        if ref.kind == "volume":
            case = oriented_case(
                [read_nifti(image)], read_nifti(mask, labels=True) if mask else None
            )
        else:
            case = picture_case(image)
            if mask:
                case.mask = _picture_mask(mask, image, case.image.shape[1:3])
        if ref.label == 0 and case.mask is not None and case.mask.any():
            raise DataError(f"{image}: label 0 (no tumour), but its mask {mask} is not empty.")
        if ref.label == 1 and case.mask is not None and not case.mask.any():
            raise DataError(f"{image}: label 1 (tumour), but its mask {mask} is empty.")
        if ref.label is None and case.mask is None:
            raise DataError(f"{image}: neither mask nor label.")
        return case

    def _table_path(self, raw_dir: Path) -> Path:
        path = self.table if self.table is not None else raw_dir
        if path.is_dir():
            tables = sorted(p for p in path.glob("*.csv") if not p.name.startswith("."))
            if len(tables) != 1:
                raise DataError(
                    f"{path}: holds {len(tables)} CSV files, expected one. Name it with "
                    f"table=PATH. Expected:\n{EXPECTED_TREE}"
                )
            return tables[0]
        if not path.is_file():
            raise DataError(f"{path}: no such table. Expected:\n{EXPECTED_TREE}")
        return path

    def _ref(self, folder: Path, case_id: str, row: dict[str, str]) -> CaseRef:
        image = folder / row["image"]
        files = (image, folder / row["mask"]) if row["mask"] else (image,)
        # Without a patient a case stands for itself; its file name alone (flair.nii.gz in a folder
        # for each patient) would make one group of them all.
        group = safe_id(row["group"]) if row["group"] else case_id
        kind = "volume" if is_nifti(image) else "image"
        label = int(row["label"]) if row["label"] else None
        return CaseRef(
            *(self.name, case_id, group, files, kind, label, self.synthetic),
            anonymous=kind == "image" and not row["group"],
            site=safe_id(row["site"]) if row["site"] else "",
        )


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows of the table with their line number; missing columns read as empty text.

    Raises DataError if the file is not UTF-8 or has no column ``image`` or unknown columns.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = [(name or "").strip().lower() for name in reader.fieldnames or []]
            reader.fieldnames = header
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8 ({error}).") from error
    if "image" not in header or not set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        raise DataError(
            f"{path}: columns {header}, allowed are {list(COLUMNS)}, separated by commas, "
            f"of which image is needed. Expected:\n{EXPECTED_TREE}"
        )
    return [(n, {key: (row.get(key) or "").strip() for key in COLUMNS}) for n, row in rows]


def _row_problem(folder: Path, row: dict[str, str]) -> str | None:
    """Why a row cannot be used, or None."""
    if not row["image"]:
        return "no image given"
    for column in ("image", "mask"):
        path = folder / row[column]
        if row[column] and not path.is_file():
            return f"{column} {row[column]} does not exist"
        if row[column] and not (is_nifti(path) or path.suffix.lower() in PICTURE_SUFFIXES):
            return f"{column} {row[column]} is neither NIfTI nor a picture format that is read"
    if row["mask"] and is_nifti(Path(row["image"])) != is_nifti(Path(row["mask"])):
        return "image and mask must both be NIfTI, or both pictures"
    if row["label"] not in ("", "0", "1"):
        return f"label {row['label']!r} must be 0, 1 or empty"
    if not row["mask"] and not row["label"]:
        return "neither mask nor label: nothing to learn from"
    if is_nifti(Path(row["image"])) and not row["mask"] and row["label"] == "1":
        return "a volume with label 1 needs a mask that says which slices show tumour"
    return None


def _picture_mask(path: Path, image: Path, shape: tuple[int, ...]) -> np.ndarray:
    mask = read_mask_image(path)
    if mask.shape != shape:
        raise DataError(f"{path}: {mask.shape}, but {image.name} is {shape}. Give both one size.")
    return mask[..., None]  # (H, W, 1)


def _stem(path: Path) -> str:
    name = path.as_posix()
    for suffix in (".nii.gz", path.suffix):
        if suffix and name.lower().endswith(suffix.lower()):
            name = name[: -len(suffix)]
            break
    if not is_nifti(path) and _LIKE_A_SLICE.search(safe_id(name)):
        name += path.suffix.replace(".", "-").lower()
    return name.replace("/", "_")
