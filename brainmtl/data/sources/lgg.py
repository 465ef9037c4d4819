"""The TCGA lower-grade glioma set (Buda 2019, Mazurowski 2017) as published on Kaggle."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brainmtl.data.image_io import read_channel, read_mask_image
from brainmtl.data.preprocessing.geometry import VolumeGeometry
from brainmtl.data.records import Case, CaseRef, Problem, safe_id
from brainmtl.data.sources.brats import canonical_modality
from brainmtl.data.sources.walk import OTHER_LAYOUT, same_files, walk_files
from brainmtl.errors import ConfigError, DataError

EXPECTED_TREE = """\
  TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1.tif        (pre-contrast, FLAIR, post-contrast)
  TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1_mask.tif   (0 or 255)
  ... one pair for each slice, one folder for each patient"""

FLAIR_CHANNEL = 1
_FILE = re.compile(r"^(?P<case>TCGA_.+)_(?P<slice>\d+)(?P<mask>_mask)?\.tiff?$", re.I)
_DATE = re.compile(r"_(19|20)\d{6}$")
_SITE = re.compile(r"^TCGA_[A-Z0-9]{2}(?=_)", re.I)  # TCGA's code of the institution: TCGA_CS_4941


@dataclass(frozen=True)
class LggSource:
    """Stacks of un-stripped FLAIR slices with the mask of the FLAIR abnormality.

    Only FLAIR is offered: where a patient lacks the pre- or post-contrast series, the published
    files hold a copy of FLAIR in that channel, so the other channels are not what they are called.
    The files carry no spacing, so ``spacing_mm`` is None and no area or volume can be computed.
    Slices are in the order of their numbers.
    """

    modalities: tuple[str, ...] = ("flair",)
    name: str = "lgg"
    synthetic: bool = False
    kind: str = field(default="volume", init=False)

    def __post_init__(self) -> None:
        if [canonical_modality(m) for m in self.modalities] != ["flair"]:
            raise ConfigError(
                f"modalities={list(self.modalities)}: source {self.name} gives FLAIR only "
                "(its other channels are copies of FLAIR for some patients). "
                "Use modalities=[flair]."
            )

    def discover(self, raw_dir: Path) -> tuple[list[CaseRef], list[Problem]]:
        """List the patients at any depth; a patient with a slice that lacks its mask is a problem."""
        found: dict[tuple[Path, str], dict[tuple[int, bool], Path]] = defaultdict(dict)
        for path in walk_files(Path(raw_dir)):
            if match := _FILE.match(path.name):
                key = int(match["slice"]), match["mask"] is not None
                found[path.parent, match["case"]][key] = path
        if not found:
            raise DataError(
                f"{raw_dir}: no LGG case found. Expected:\n{EXPECTED_TREE}\n{OTHER_LAYOUT}"
            )
        refs: dict[str, CaseRef] = {}
        problems: list[Problem] = []
        for (folder, case), files in sorted(found.items()):
            case_id = safe_id(case)
            if reason := _mismatch(files):
                problems.append(Problem(str(folder / case), reason))
                continue
            numbers = sorted(number for number, mask in files if not mask)
            paths = [files[n, False] for n in numbers] + [files[n, True] for n in numbers]
            if case_id not in refs:
                group = _DATE.sub("", case_id)  # TCGA_CS_4941_19960909: patient and scan date
                site = _SITE.match(case_id)
                refs[case_id] = CaseRef(
                    *(self.name, case_id, group, tuple(paths), "volume", None),
                    synthetic=self.synthetic,
                    site=site[0].upper() if site else "",
                )
            # Kaggle's archive holds the whole set a second time under lgg-mri-segmentation/.
            elif not same_files(paths, refs[case_id].files):
                where = refs[case_id].files[0].parent
                problems.append(Problem(str(folder / case), f"same case id as {where}"))
        return list(refs.values()), problems

    def load(self, ref: CaseRef) -> Case:
        """Read all slices and masks; DataError where sizes differ."""
        half = len(ref.files) // 2
        slices = [read_channel(path, FLAIR_CHANNEL) for path in ref.files[:half]]
        masks = [read_mask_image(path) for path in ref.files[half:]]
        for path, array in zip(ref.files, (*slices, *masks), strict=True):
            if array.shape != slices[0].shape:
                raise DataError(
                    f"{path}: {array.shape}, but {ref.files[0].name} is {slices[0].shape}. "
                    "All slices and masks of a patient need one size."
                )
        return Case(
            # (1, H, W, N) and (H, W, N) whose planes lie together in memory
            image=np.moveaxis(np.stack(slices), 0, -1)[None],
            mask=np.moveaxis(np.stack(masks), 0, -1),
            volume=VolumeGeometry.stack(slices[0].shape, half),
            spacing_mm=None,
            positions=tuple(range(half)),
        )


def _mismatch(files: dict[tuple[int, bool], Path]) -> str | None:
    images = {number for number, mask in files if not mask}
    masks = {number for number, mask in files if mask}
    if not images ^ masks:
        return None
    lacking = {"mask": sorted(images - masks), "image": sorted(masks - images)}
    return "; ".join(f"no {what} for slice {n[:5]}" for what, n in lacking.items() if n)
