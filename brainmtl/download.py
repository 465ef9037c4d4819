"""``python -m brainmtl.download source=kaggle|lgg|brats raw_dir=...``: fetch raw data, or say how.

Kaggle's sets come through Kaggle's official client (optional: ``pip install -e '.[download]'``) with
the user's own account. Without the client, credentials or network, and for BraTS, which has to be
applied for, the command prints the page, the expected folders and the next command, and ends with
exit status 1. The tests cover these paths only: a real download needs a network and an account.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from brainmtl.config import PROJECT_ROOT, entry, plain
from brainmtl.errors import ConfigError, DataError
from brainmtl.training.continuation.command_line import word


@dataclass(frozen=True)
class Publication:
    """Where a data set is published. ``dataset`` is Kaggle's name for it, None if it is elsewhere."""

    title: str
    page: str
    access: str
    dataset: str | None = None


PUBLICATIONS = {
    "kaggle": Publication(
        "Brain MRI Images for Brain Tumor Detection (253 pictures, 16 MB)",
        "https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection",
        "sign in to Kaggle and press Download",
        "navoneel/brain-mri-images-for-brain-tumor-detection",
    ),
    "lgg": Publication(
        "TCGA lower-grade glioma segmentation (110 patients, 1 GB; Buda 2019, Mazurowski 2017)",
        "https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation",
        "sign in to Kaggle and press Download",
        "mateuszbuda/lgg-mri-segmentation",
    ),
    "brats": Publication(
        "BraTS (Menze 2015, Bakas 2017/2018, Baid 2021)",
        "https://www.synapse.org/Synapse:syn51156910 (2023; it links to the other years), or "
        "http://medicaldecathlon.com (Task01_BrainTumour)",
        "register at Synapse, join the challenge of a year and accept its terms; the Decathlon's "
        "Task01_BrainTumour needs no registration",
    ),
}


def download(source: str, raw_dir: str | Path) -> int:
    """Fetch ``source`` into ``raw_dir``. Returns the exit status: 0 if the files are there, else 1.

    Raises ConfigError for an unknown source and DataError if ``raw_dir`` already holds something.
    """
    if source not in PUBLICATIONS:
        raise ConfigError(
            f"source={source} cannot be downloaded. Choose from {', '.join(PUBLICATIONS)}; "
            "source=phantom is made, not downloaded: python -m brainmtl.prepare source=phantom "
            "raw_dir=data/raw/phantom"
        )
    raw_dir, publication = Path(raw_dir), PUBLICATIONS[source]
    if raw_dir.exists() and (not raw_dir.is_dir() or any(raw_dir.iterdir())):
        raise DataError(
            f"{raw_dir} is not an empty folder, and nothing is overwritten. Choose another raw_dir=..., "
            f"or use what is there:\n  {_next_command(source, raw_dir)}"
        )
    if publication.dataset is None:
        print(by_hand(source, raw_dir))
        return 1
    try:
        _fetch(publication.dataset, raw_dir)
    # Without credentials Kaggle's client ends the interpreter, and offline it raises whatever its
    # HTTP library raises: each time the way by hand is the remedy.
    except (Exception, SystemExit) as error:
        print(f"not downloaded: {_reason(error)}\n\n{by_hand(source, raw_dir)}", file=sys.stderr)
        return 1
    print(f"{publication.title}\nlies in {raw_dir}. Next:\n  {_next_command(source, raw_dir)}")
    return 0


def by_hand(source: str, raw_dir: Path) -> str:
    """How to get ``source`` without the client: page, expected folders, next command."""
    publication = PUBLICATIONS[source]
    return (
        f"{publication.title}\n"
        f"  page: {publication.page}\n"
        f"  {publication.access}.\n"
        f"Unpack it, so that {raw_dir} holds:\n{_expected_tree(source)}\n"
        f"Then:\n  {_next_command(source, raw_dir)}"
    )


def _fetch(dataset: str, raw_dir: Path) -> None:
    """Download and unpack with Kaggle's client; ``raw_dir`` appears only when all is there."""
    from kaggle.api.kaggle_api_extended import KaggleApi

    api = KaggleApi()
    api.authenticate()
    raw_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=raw_dir.parent) as folder:
        unpacked = Path(folder) / "unpacked"
        api.dataset_download_files(dataset, path=str(unpacked), quiet=False, unzip=True)
        if raw_dir.is_dir():  # empty, as was checked
            raw_dir.rmdir()
        shutil.move(unpacked, raw_dir)


def _reason(error: BaseException) -> str:
    if isinstance(error, ImportError):
        return (
            f"Kaggle's client is not installed ({error}). Install it: pip install -e '.[download]'"
        )
    if isinstance(error, SystemExit):
        return (
            "no Kaggle credentials. Run `kaggle auth login`, or create a token at "
            "https://www.kaggle.com/settings/api"
        )
    return f"{type(error).__name__}: {error}"


def _next_command(source: str, raw_dir: Path) -> str:
    return f"python -m brainmtl.prepare source={source} {word('raw_dir', raw_dir)}"


def _expected_tree(source: str) -> str:
    if source == "brats":
        from brainmtl.data.sources.brats import EXPECTED_TREE
    elif source == "lgg":
        from brainmtl.data.sources.lgg import EXPECTED_TREE
    else:
        from brainmtl.data.sources.kaggle import KaggleSource

        return KaggleSource().expected_tree()
    return EXPECTED_TREE


@entry("download")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    options = plain(cfg)
    raw_dir = options["raw_dir"] or PROJECT_ROOT / "data" / "raw" / options["source"]
    sys.exit(download(options["source"], raw_dir))


if __name__ == "__main__":
    main()
