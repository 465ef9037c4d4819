"""``python -m brainmtl.augmented``: a picture of what augmentation makes of training samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from brainmtl.config import entry, own_words, plain
from brainmtl.errors import ConfigError, check_count
from brainmtl.words import quantity

FORMATS = (".png", ".jpg", ".jpeg", ".pdf", ".svg")


def augmented(options: dict[str, Any]) -> Path:
    """Draw what ``conf/augmented.yaml`` asks for; returns the picture's path.

    Raises:
        ConfigError: no augmentation, a count below 1, a file name without a format, or a source
            that the folder does not hold.
        DataError: the folder holds no training samples of the sources.
    """
    for name in ("images", "copies"):
        check_count(name, options[name])
    path = Path(options["picture"])
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"picture={path} must end in {', '.join(FORMATS)}")
    wanted = options["augmentation"]
    if not any(part for name, part in wanted.items() if not name.startswith("_")):
        raise ConfigError(
            "this augmentation leaves every image as it is, there is nothing to draw: choose "
            "augmentation=strong, light or source_style"
        )

    from hydra.utils import instantiate

    from brainmtl.data.augmentation.picture import choose_samples, draw_copies
    from brainmtl.data.loading.datasets import MultiSourceDataset
    from brainmtl.data.manifest import display_names, read_manifest
    from brainmtl.data.selection import known_sources
    from brainmtl.files import atomic_path

    with own_words():
        augmentation = instantiate(wanted)
    manifest = read_manifest(options["data_dir"])
    dataset = MultiSourceDataset(
        options["data_dir"],
        "train",
        *known_sources(manifest, options),
        fold=options["fold"],
        seed=options["seed"],
        manifest=manifest,
    )
    names = display_names(manifest)
    rows = choose_samples(dataset, options["images"])
    figure = draw_copies(dataset, augmentation, rows, options["copies"], names)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    sources = ", ".join(names[name] for name in dataset.source_names)
    print(f"picture: {path} ({quantity(len(rows), 'samples')} of {sources})")
    return path


@entry("augmented")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    augmented(plain(cfg))


if __name__ == "__main__":
    main()
