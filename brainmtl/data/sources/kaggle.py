"""Folders of pictures whose folder name is the label (Kaggle's brain MRI sets, Br35H and the like)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from brainmtl.data.image_io import PICTURE_SUFFIXES, read_image
from brainmtl.data.records import Case, CaseRef, Problem, safe_id
from brainmtl.data.selection import name_list
from brainmtl.data.sources.walk import OTHER_LAYOUT, require_folder, walk_files
from brainmtl.errors import ConfigError, DataError

_IGNORED_SUFFIXES = {
    ".txt",
    ".md",
    ".csv",
    ".json",
    ".xml",
    ".ini",
    ".db",
    ".html",
    ".pdf",
    ".zip",
}


def picture_case(path: Path) -> Case:
    """One picture as a Case of one slice: no mask, no spacing, no volume."""
    return Case(read_image(path)[None, :, :, None], None, None, None, (0,))


def unique_ids(names: Iterable[tuple[Path, str]]) -> dict[Path, str]:
    """Case ids for ``(path, wanted name)``; a name taken by several gets the suffix, then a number.

    The result does not depend on which files are met first beyond their sorted order.
    """
    by_name: dict[str, list[Path]] = {}
    for path, name in sorted(names):
        by_name.setdefault(safe_id(name), []).append(path)
    taken = {name for name, paths in by_name.items() if len(paths) == 1}
    ids = {paths[0]: name for name, paths in by_name.items() if len(paths) == 1}
    for name, paths in sorted(by_name.items()):
        for path in paths if len(paths) > 1 else []:
            wanted = base = f"{name}-{path.suffix[1:].lower()}"
            number = 2
            while wanted in taken:
                wanted, number = f"{base}-{number}", number + 1
            taken.add(wanted)
            ids[path] = wanted
    return ids


@dataclass(frozen=True)
class KaggleSource:
    """Pictures in folders named after their label, ``yes/`` and ``no/`` unless told otherwise.

    Folder names match in any case and at the shallowest depth that has any of them, so that the
    second copy inside Kaggle's archive (``brain_tumor_dataset/yes``) is not read twice.
    """

    positive: tuple[str, ...] = ("yes",)
    negative: tuple[str, ...] = ("no",)
    modalities: tuple[str, ...] = ("flair",)
    name: str = "kaggle"
    synthetic: bool = False
    kind: str = field(default="image", init=False)

    def __post_init__(self) -> None:
        refuse_several_modalities(self.name, self.modalities)
        for key in ("positive", "negative"):
            object.__setattr__(self, key, tuple(name_list(getattr(self, key))))
        both = _lower(self.positive) & _lower(self.negative)
        if both or not (self.positive or self.negative):
            raise ConfigError(
                f"positive={list(self.positive)} negative={list(self.negative)}: name the folders "
                "of each label, and none twice."
            )

    def discover(self, raw_dir: Path) -> tuple[list[CaseRef], list[Problem]]:
        """List the pictures of both labels; other files in these folders are problems."""
        labels = dict.fromkeys(_lower(self.positive), 1) | dict.fromkeys(_lower(self.negative), 0)
        folders = self._label_folders(require_folder(raw_dir), labels)
        pictures: dict[Path, tuple[str, int]] = {}
        problems: list[Problem] = []
        for folder in folders:
            for path in walk_files(folder):
                if path.suffix.lower() in PICTURE_SUFFIXES:
                    name = path.relative_to(raw_dir).with_suffix("")
                    pictures[path] = ("_".join(name.parts), labels[folder.name.lower()])
                elif path.suffix.lower() not in _IGNORED_SUFFIXES:
                    problems.append(Problem(str(path), "not a picture format that is read safely"))
        ids = unique_ids((path, name) for path, (name, _) in pictures.items())
        refs = [
            CaseRef(
                *(self.name, ids[path], ids[path], (path,), "image", label, self.synthetic),
                anonymous=True,
            )
            for path, (_, label) in pictures.items()
        ]
        if not refs and not problems:
            raise DataError(f"{raw_dir}: no picture found. Expected:\n{self.expected_tree()}")
        return refs, problems

    def load(self, ref: CaseRef) -> Case:
        """Read one picture as luminance."""
        return picture_case(ref.files[0])

    def expected_tree(self) -> str:
        """The folders this adapter looks for, one a line."""
        lines = [f"  {n}/*.jpg, *.png, ...   (tumour)" for n in self.positive]
        return "\n".join(lines + [f"  {n}/*.jpg, *.png, ...   (no tumour)" for n in self.negative])

    def _label_folders(self, raw_dir: Path, labels: dict[str, int]) -> list[Path]:
        remedy = (
            f"Expected:\n{self.expected_tree()}\n"
            f"Other folder names: positive=[..] negative=[..]. {OTHER_LAYOUT}"
        )
        level = [raw_dir]
        for _ in range(6):  # deep enough for any archive, and no endless loop through links
            level = sorted(
                child
                for parent in level
                for child in parent.iterdir()
                if child.is_dir() and not child.name.startswith((".", "__MACOSX"))
            )
            found = [folder for folder in level if folder.name.lower() in labels]
            if found:
                missing = sorted(set(labels) - {folder.name.lower() for folder in found})
                if missing:
                    raise DataError(
                        f"{raw_dir}: no folder named {', '.join(missing)} beside {found[0].name}/. {remedy}"
                    )
                return found
        raise DataError(f"{raw_dir}: no folder named {', '.join(sorted(labels))}. {remedy}")


def refuse_several_modalities(source: str, modalities: tuple[str, ...]) -> None:
    """Raise ConfigError unless one modality is asked for: such sources hold one channel per image."""
    if len(modalities) != 1:
        raise ConfigError(
            f"modalities={list(modalities)}: source {source} holds one channel per image. "
            "Use modalities=[flair]; several modalities exist only for source=brats."
        )


def _lower(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}
