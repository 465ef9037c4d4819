"""BraTS in every published layout (Menze 2015, Bakas 2017/2018, Baid 2021, MSD: Antonelli 2022)."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from brainmtl.data.records import Case, CaseRef, Problem, safe_id
from brainmtl.data.sources.nifti import Volume, is_nifti, oriented_case, read_nifti
from brainmtl.data.sources.walk import OTHER_LAYOUT, same_files, walk_files
from brainmtl.errors import ConfigError, DataError

EXPECTED_TREE = """\
  <case>/<case>_flair.nii.gz + <case>/<case>_seg.nii.gz       (BraTS 2017-2021, .nii or .nii.gz)
  <case>/<case>-t2f.nii.gz   + <case>/<case>-seg.nii.gz       (BraTS 2023 and later)
  imagesTr/BRATS_001.nii.gz  + labelsTr/BRATS_001.nii.gz      (Medical Segmentation Decathlon)"""

ALIASES = {"t1n": "t1", "t1c": "t1ce", "t1gd": "t1ce", "t2w": "t2", "t2f": "flair"}
MODALITIES = ("t1", "t1ce", "t2", "flair")
MSD_CHANNELS = {
    "flair": 0,
    "t1": 1,
    "t1ce": 2,
    "t2": 3,
}  # dataset.json of Task01_BrainTumour

_FILE = re.compile(
    r"^(?P<case>.+)[_-](?P<kind>flair|t1ce|t1gd|t1n|t1c|t1|t2w|t2f|t2|seg)\.nii(\.gz)?$",
    re.I,
)
_MSD_FILE = re.compile(r"^(?P<case>BRATS_\d+)\.nii(\.gz)?$", re.I)
_TIME_POINT = re.compile(r"^(BraTS-[A-Z]+-\d+(?=-\d{3}$)|UPENN-GBM-\d+(?=_\d\d$))", re.I)
_SITE = re.compile(
    r"^(BraTS1[789]_)?(?P<site>2013|CBICA|TCIA\d*|TMC)_|^(?P<upenn>UPENN)-GBM-", re.I
)
_YEAR_PREFIX = re.compile(r"^BraTS1[789]_(?=\D|2013_)", re.I)


def canonical_modality(name: str) -> str:
    """``name`` as one of t1, t1ce, t2, flair (the names of 2023 and later are accepted too)."""
    modality = ALIASES.get(str(name).lower(), str(name).lower())
    if modality not in MODALITIES:
        raise ConfigError(
            f"modality {name!r} is unknown. Choose from {', '.join((*MODALITIES, *ALIASES))}."
        )
    return modality


def patient_group(case_id: str) -> str:
    """The patient of a case.

    ``BraTS-GLI-00001-000`` and ``UPENN-GBM-00001_11`` end in a time point, which is dropped. The sets
    of 2017, 2018 and 2019 share patients under one name (``Brats17_CBICA_ABC_1``,
    ``Brats18_CBICA_ABC_1``), so the year is dropped there. Other case ids name the patient as they are.
    """
    if match := _TIME_POINT.match(case_id):
        return match[1]
    return _YEAR_PREFIX.sub("", case_id)


def site_of(case_id: str) -> str:
    """The institution, or the collection, that the names of 2017 to 2019 and of UPENN-GBM tell; else "".

    "2013" are the cases of that year's challenge, from several institutions; numbers after TCIA are those
    of its collections. The names of 2020 and later tell nothing.
    """
    match = _SITE.match(case_id)
    return (match["site"] or match["upenn"]).upper() if match else ""


@dataclass(frozen=True)
class BratsSource:
    """BraTS volumes with their whole-tumour mask.

    Whole tumour is every label above 0. (From 2024 on, post-treatment glioma cases also label the
    resection cavity, which then counts as tumour.) ``modalities`` become the channels, in order.
    """

    modalities: tuple[str, ...] = ("flair",)
    name: str = "brats"
    synthetic: bool = False
    kind: str = field(default="volume", init=False)

    def __post_init__(self) -> None:
        names = tuple(canonical_modality(m) for m in self.modalities)
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"modalities {list(self.modalities)}: name at least one, each once.")
        object.__setattr__(self, "modalities", names)

    def discover(self, raw_dir: Path) -> tuple[list[CaseRef], list[Problem]]:
        """List the cases at any depth; cases without segmentation or modality are problems."""
        refs: dict[str, CaseRef] = {}
        problems: list[Problem] = []
        cases, unnamed = _collect(Path(raw_dir))
        for (folder, case), files in sorted(cases.items()):
            if "seg" not in files and len(extra := _odd_segmentations(unnamed[folder])) == 1:
                files["seg"] = extra[0]
            wanted = ["image"] if "image" in files else list(self.modalities)
            missing = [kind for kind in (*wanted, "seg") if kind not in files]
            case_id = safe_id(case)
            where = str(folder / case)
            if missing:
                names = ["segmentation" if m == "seg" else m for m in missing]
                problems.append(Problem(where, f"no {' and no '.join(names)} file"))
                continue
            paths = tuple(files[kind] for kind in (*wanted, "seg"))
            if case_id not in refs:
                refs[case_id] = CaseRef(
                    *(self.name, case_id, patient_group(case_id), paths, "volume", None),
                    synthetic=self.synthetic,
                    site=site_of(case_id),
                )
            elif not same_files(paths, refs[case_id].files):
                problems.append(Problem(where, f"same case id as {refs[case_id].files[0]}"))
        if not refs and not problems:
            raise DataError(
                f"{raw_dir}: no BraTS case found. Expected, at any depth:\n{EXPECTED_TREE}\n"
                f"{OTHER_LAYOUT}"
            )
        return list(refs.values()), problems

    def load(self, ref: CaseRef) -> Case:
        """Read image and mask, and orient them by their affine."""
        *images, mask = ref.files
        if _MSD_FILE.match(images[0].name):
            stack = read_nifti(images[0], dimensions=4)
            if stack.array.shape[3] != len(MSD_CHANNELS):
                raise DataError(
                    f"{stack.path}: {stack.array.shape[3]} channels, the Decathlon's brain tumour "
                    f"task has {len(MSD_CHANNELS)} (FLAIR, T1w, T1gd, T2w). Download it again."
                )
            channels = [
                Volume(stack.path, stack.array[..., MSD_CHANNELS[m]], stack.affine)
                for m in self.modalities
            ]
        else:
            channels = [read_nifti(path) for path in images]
        return oriented_case(channels, read_nifti(mask, labels=True))


CaseFiles = dict[tuple[Path, str], dict[str, Path]]


def _collect(raw_dir: Path) -> tuple[CaseFiles, dict[Path, list[Path]]]:
    """Files by (folder, case) and kind, and the NIfTI files whose name fits no layout, by folder."""
    cases: CaseFiles = defaultdict(dict)
    unnamed: dict[Path, list[Path]] = defaultdict(list)
    for path in walk_files(raw_dir):
        if not is_nifti(path):
            continue
        folder = path.parent
        # Some copies keep each file in a folder of its own name: x_flair.nii/x_flair.nii.
        if is_nifti(folder) and folder != raw_dir:
            folder = folder.parent
        if match := _FILE.match(path.name):
            kind = match["kind"].lower()
            cases[folder, match["case"]].setdefault(ALIASES.get(kind, kind), path)
        elif (match := _MSD_FILE.match(path.name)) and folder.name in _MSD_FOLDERS:
            kind = _MSD_FOLDERS[folder.name]
            cases[folder.parent, match["case"]].setdefault(kind, path)
        else:
            unnamed[folder].append(path)
    return cases, unnamed


_MSD_FOLDERS = {"imagesTr": "image", "labelsTr": "seg", "imagesTs": "image"}


def _odd_segmentations(paths: list[Path]) -> list[Path]:
    """BraTS20_Training_355 as published calls its mask W39_1998.09.19_Segm.nii."""
    return [path for path in paths if re.search(r"_segm?\b", path.name, re.I)]
