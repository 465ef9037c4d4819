"""What can never train is refused before anything does, in words that name the remedy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support import train_options

from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION
from brainmtl.errors import ConfigError, DataError
from brainmtl.training.curriculum import train

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))  # `import prepared`
from prepared import brats_slices, kaggle_images, write_prepared


def refuse(data_dir: Path, run_dir: Path, message: str, *words: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(train_options(data_dir, run_dir, *words))
    assert not run_dir.exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("loss.class_weights=[1,2,3]", r"loss\.class_weights=\[1\.0, 2\.0, 3\.0\]: give two"),
        ("combined_weights=[1]", r"combined_weights=\[1\]: give two, of Dice and"),
        ("combined_weights=[1,1,1]", r"combined_weights=\[1, 1, 1\]: give two"),
        ("seed=-1", "seed=-1 must be at least 0"),
        ("seed=0.5", r"seed=0\.5 must be a whole number of at least 0"),
        ("model.out_channels=2", r"model\.out_channels=2 .*one mask \(1\)"),
        ("model.num_classes=3", r"model\.num_classes=3 .*no tumour and tumour \(2\)"),
        ("+trainer.max_steps=5", r"trainer\.max_steps is not for .*epochs\.<stage> epochs"),
        ("+trainer.fast_dev_run=true", r"trainer\.fast_dev_run is not for .*trainer=debug"),
        ("+trainer.max_time={hours: 1}", r"trainer\.max_time is not for"),
        ("+trainer.foo=1", r"trainer\.foo is no option of .* it has accelerator, strategy, "),
        ("+trainer.gradient_clip=1", "gradient_clip is no .* did you mean gradient_clip_val or"),
        ("+trainer.precision=16", r"trainer\.precision would be ignored.* precision=bf16, "),
        ("trainer.check_val_every_n_epoch=0", r"check_val_every_n_epoch=0 must be at least 1"),
        ("trainer.check_val_every_n_epoch=99", "=99: stage .* has 1 epoch and would never be"),
        ("trainer.accumulate_grad_batches=0", "accumulate_grad_batches=0 must be at least 1"),
        ("fold=first", "fold=first needs 3 or more prepared folds and must be one of them"),
        ("trainer.limit_train_batches=0", "limit_train_batches=0 leaves stage seg_warmup without"),
        ("trainer.limit_val_batches=0", "limit_val_batches=0 leaves stage seg_warmup without"),
        (
            "trainer.limit_val_batches=0.01",
            "=0.01 leaves .* it has [0-9]+ of one source; 1.0 takes",
        ),
        ("+trainer.val_check_interval=99", "=99: an epoch of stage seg_warmup has [0-9]+ batches"),
        ("+trainer.val_check_interval=0", "val_check_interval=0: .* whole number"),
        ("+trainer.val_check_interval=1.5", r"val_check_interval=1\.5: .* a share up to 1\.0"),
        ("+trainer.val_check_interval=soon", "val_check_interval=soon: "),
    ],
)
def test_options_that_cannot_train(
    phantom_dir: Path, tmp_path: Path, word: str, message: str
) -> None:
    refuse(phantom_dir, tmp_path / "run", message, word)


def test_validation_beyond_a_limited_epoch(phantom_dir: Path, tmp_path: Path) -> None:
    words = ("trainer.limit_train_batches=1", "+trainer.val_check_interval=2")
    refuse(phantom_dir, tmp_path / "run", "interval=2: an epoch of .* has 1 batch; give", *words)


def write_sources(folder: Path, brats: int, kaggle: int) -> Path:
    """Both sources with everything that a joint stage needs, of so many channels."""
    rows = [
        row | {"channels": channels}
        for k, split in enumerate(("train", "val", "test"))
        for channels, part in (
            (brats, brats_slices(f"b{k}", split, 6)),
            (kaggle, kaggle_images(split, 6)),
        )
        for row in part
    ]
    write_prepared(folder, rows)
    return folder


def joint(channels: int, seg: str, cls: str) -> tuple[str, ...]:
    sources = (f"data.seg_sources=[{seg}]", f"data.cls_sources=[{cls}]")
    return ("stage=joint", f"model.in_channels={channels}", *sources)


@pytest.mark.parametrize(
    ("held", "expected", "remedy"),
    [
        ((2, 1), 1, "train on sources of one number .*seg_sources.* prepare all with as many"),
        ((2, 1), 2, "train on sources of one number"),
        ((1, 1), 2, r"set model\.in_channels=1$"),
        ((3, 3), 1, r"set model\.in_channels=3$"),
    ],
)
def test_channels_that_do_not_fit_the_model(
    tmp_path: Path, held: tuple[int, int], expected: int, remedy: str
) -> None:
    data_dir = write_sources(tmp_path / "data", *held)
    message = rf"model\.in_channels={expected}, .* brats {held[0]}, kaggle {held[1]}; {remedy}"
    refuse(data_dir, tmp_path / "run", message, *joint(expected, "brats", "kaggle"))


def test_a_source_of_other_channels_may_lie_beside_those_that_train(tmp_path: Path) -> None:
    data_dir = write_sources(tmp_path / "data", 2, 1)
    (result,) = train(train_options(data_dir, tmp_path / "run", *joint(2, "brats", "brats")))
    assert result.best.is_file()


def test_data_of_another_preprocessing_are_refused(tmp_path: Path) -> None:
    rows = [
        row | {"version": version}
        for k, split in enumerate(("train", "val", "test"))
        for version, part in (
            (PREPROCESSING_VERSION, brats_slices(f"b{k}", split, 6)),
            ("1", kaggle_images(split, 6)),
        )
        for row in part
    ]
    write_prepared(tmp_path / "data", rows)
    message = r"kaggle/.*was prepared with preprocessing version 1, .*: prepare kaggle again"
    with pytest.raises(DataError, match=message):
        train(train_options(tmp_path / "data", tmp_path / "run", *joint(1, "brats", "kaggle")))
    assert not (tmp_path / "run").exists()
