from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from prepared import both_sources, brats_slices, kaggle_images, write_prepared

from brainmtl.data.augmentation.compose import Augmentation, RandomAffine2d
from brainmtl.data.loading.datamodule import LOADERS, MultiTaskDataModule, default_workers
from brainmtl.data.manifest import manifest_hash
from brainmtl.errors import ConfigError, DataError

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    both_sources(tmp_path)
    return tmp_path


def make(folder: Path, **options: object) -> MultiTaskDataModule:
    return MultiTaskDataModule(folder, **{"num_workers": 0, "batch_size": 8, **options})


def augmentation() -> Augmentation:
    return Augmentation(RandomAffine2d(rotate_degrees=20, scale=0.1))


def test_works_without_a_trainer(folder: Path) -> None:
    data = make(folder)
    batches = list(data.train_dataloader())
    assert len(batches) == len(data.train_dataloader()) == 6
    for batch in batches:
        assert batch["sources"] == ["brats"] * 4 + ["kaggle"] * 4
        assert (
            batch["masks"].shape[0] == 8 and batch["has_masks"].tolist() == [True] * 4 + [False] * 4
        )
        assert (batch["masks"][4:] == 255).all()
    assert data.val_names == data.test_names == ["brats", "kaggle"]
    brats, kaggle = data.val_dataloader()
    assert [len(loader.dataset) for loader in (brats, kaggle)] == [6, 3]
    assert next(iter(kaggle))["masks"] is None
    assert next(iter(brats))["image_ids"] == [f"b2_z{40 + k:03d}" for k in range(6)]
    assert len(data.test_dataloader()) == 2
    assert data.manifest_sha256 == manifest_hash(folder) and len(data.manifest) == 51
    assert data.statistics()["total_samples"] == 33
    assert data.statistics(["val", "test"])["total_samples"] == 18


@pytest.mark.parametrize(
    ("loader", "expected"),
    [("brats_only", [{"brats"}] * 3), ("kaggle_only", [{"kaggle"}] * 2),
     ("alternating", [{"brats"}, {"kaggle"}] * 3), ("mixed", [{"brats", "kaggle"}] * 6)],
)  # fmt: skip
def test_loader_kinds(folder: Path, loader: str, expected: list[set[str]]) -> None:
    data = make(folder, loader=loader)
    assert [set(batch["sources"]) for batch in data.train_dataloader()] == expected
    assert data.val_names == ["brats", "kaggle"]  # whatever is trained on


def everything(data: MultiTaskDataModule, epochs: int) -> list[torch.Tensor]:
    loader = data.train_dataloader()
    result = []
    for epoch in range(epochs):
        data.set_epoch(epoch)
        result += [batch["images"] for batch in loader]
    return result


def test_workers_make_no_difference(folder: Path) -> None:
    alone, pair = (make(folder, num_workers=n, augmentation=augmentation(), seed=3) for n in (0, 2))
    first, second = everything(alone, 2), everything(pair, 2)  # two epochs, the same workers
    assert len(first) == len(second) == 12
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[6])
    # A resumed run, which starts with the second epoch.
    resumed = make(folder, augmentation=augmentation(), seed=3)
    resumed.set_epoch(1)
    again = [batch["images"] for batch in resumed.train_dataloader()]
    assert all(torch.equal(a, b) for a, b in zip(again, first[6:], strict=True))


class Recorder(pl.LightningModule):
    """Keeps what the Trainer feeds it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches: list[list[str]] = []
        self.validated: set[int] = set()

    def training_step(self, batch: dict, _: int) -> torch.Tensor:
        self.batches.append(batch["image_ids"])
        return batch["images"].mean() * self.weight.sum()

    def validation_step(self, batch: dict, _: int, dataloader_idx: int = 0) -> None:
        self.validated.add(dataloader_idx)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_trainer_tells_the_epoch(folder: Path, tmp_path: Path, workers: int) -> None:
    model, data = Recorder(), make(folder, num_workers=workers, images_per_epoch=12)
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    expected = []
    plain = make(folder, images_per_epoch=12)
    for epoch in range(3):
        plain.set_epoch(epoch)
        expected += [batch["image_ids"] for batch in plain.train_dataloader()]
    assert model.batches == expected and model.validated == {0, 1}


@pytest.mark.parametrize("loader", sorted(LOADERS))
def test_a_missing_source_is_named_before_training(tmp_path: Path, loader: str) -> None:
    only_brats = loader == "kaggle_only"
    rows = brats_slices("b", "train", 6) if only_brats else kaggle_images("train", 6)
    write_prepared(tmp_path, rows)
    data = make(tmp_path, loader=loader)
    with pytest.raises(ConfigError, match=r"its sources are \[.*brainmtl\.prepare") as info:
        data.setup("fit")
    assert ("'kaggle'" if only_brats else "'brats'") in str(info.value)
    data.setup("test")  # needs no training samples
    assert data.test_names == []


@pytest.mark.parametrize("role", ["seg", "cls"])
def test_a_missing_source_beside_a_present_one_is_named(folder: Path, role: str) -> None:
    present = {"seg": "brats", "cls": "kaggle"}[role]
    data = make(folder, **{f"{role}_sources": [present, "lgg", "other"]})
    with pytest.raises(ConfigError, match=rf"data\.{role}_sources=.* holds no lgg, other;") as info:
        data.setup("fit")
    assert "its sources are ['brats', 'kaggle']" in str(info.value)


def test_a_named_source_without_training_samples_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Prepared with split=all_test, say: whoever names it believes that it is trained on."""
    write_prepared(tmp_path, [*brats_slices("b", "train", 6), *kaggle_images("test", 6)])
    make(tmp_path, loader="brats_only", seg_sources=["brats", "kaggle"]).setup("fit")
    assert f"no train samples of kaggle in {tmp_path}: it is not trained on" in caplog.text


def test_one_source_is_enough_for_its_own_loader(tmp_path: Path) -> None:
    write_prepared(tmp_path, [*kaggle_images("train", 5), *kaggle_images("val", 2)])
    data = make(tmp_path, loader="kaggle_only")
    data.setup()
    assert data.val_names == ["kaggle"] and data.test_names == []
    assert sum(len(batch["sources"]) for batch in data.train_dataloader()) == 5


def test_class_weights_correct_what_the_loader_draws(folder: Path) -> None:
    assert make(folder).class_weights().tolist() == pytest.approx([1, 1])
    natural = make(folder, loader="kaggle_only", balance_labels=False)
    assert natural.class_weights().tolist() == pytest.approx([9 / 6, 9 / 12])
    brats = make(folder, loader="brats_only", balance_labels=False)  # 12 tumour, 8 without
    assert brats.class_weights(["brats"]).tolist() == pytest.approx([20 / 16, 20 / 24])
    both = make(folder, balance_labels=False)
    assert both.class_weights(["brats"]).tolist() == pytest.approx([20 / 16, 20 / 24])


def test_folds_and_limits(folder: Path) -> None:
    data = make(folder, fold=0, max_eval_samples=2)
    assert {name[:2] for name in next(iter(data.test_dataloader()[0]))["image_ids"]} == {"b0"}
    data.setup()
    assert len(data.val_dataloader()[0].dataset) == 2
    assert len(make(folder, max_train_samples=5).train_dataset) == 10


def test_a_fold_trains_on_none_of_its_test_and_validation_cases(folder: Path) -> None:
    data = make(folder, fold=0)
    drawn = {name for batch in data.train_dataloader() for name in batch["image_ids"]}
    held = data.manifest.set_index("image_id")["fold"]
    assert set(held[sorted(drawn)]) == {2}
    for loaders, fold in ((data.val_dataloader(), 1), (data.test_dataloader(), 0)):
        seen = [name for loader in loaders for batch in loader for name in batch["image_ids"]]
        assert sorted(seen) == sorted(held.index[held == fold])


def test_options_reach_what_is_drawn(folder: Path) -> None:
    mixed = next(iter(make(folder, mixed_ratio=0.75).train_dataloader()))
    assert mixed["sources"] == ["brats"] * 6 + ["kaggle"] * 2
    shares = {"loader": "kaggle_only", "cls_sources": ["brats", "kaggle"], "images_per_epoch": 32}
    for balance, expected in ((True, 16), (False, 23)):
        data = make(folder, **shares, balance_sources=balance, balance_labels=False)
        drawn = [name for batch in data.train_dataloader() for name in batch["sources"]]
        assert drawn.count("brats") == expected
    one, same, other = (make(folder, augmentation=augmentation(), seed=n) for n in (0, 0, 1))
    orders = [data.train_batches.draws(0)[0].tolist() for data in (one, same, other)]
    images = [data.train_dataset[0]["image"] for data in (one, same, other)]
    assert orders[0] == orders[1] != orders[2]
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


def test_options_are_checked(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loader='both'"):
        make(folder, loader="both")
    with pytest.raises(DataError, match=r"brainmtl\.prepare"):
        make(tmp_path / "nothing")
    assert make(folder, num_workers=None).num_workers == default_workers()
    assert make(folder).pin_memory == torch.cuda.is_available()


@pytest.mark.parametrize(
    ("cores", "gpu", "expected"),
    [(1, False, 0), (2, False, 0), (3, False, 2), (16, False, 4), (1, True, 0), (2, True, 1)],
)
def test_default_workers(
    monkeypatch: pytest.MonkeyPatch, cores: int, gpu: bool, expected: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    assert default_workers() == expected


@pytest.mark.parametrize("loader", sorted(LOADERS))
@pytest.mark.parametrize("augment", ["none", "light", "strong"])
def test_configs_build_the_datamodule(folder: Path, loader: str, augment: str) -> None:
    config = OmegaConf.create({"data_dir": str(folder), "seed": 7, "augmentation": None})
    config.data = OmegaConf.load(CONF / "data" / "default.yaml")
    config.loader = OmegaConf.load(CONF / "loader" / f"{loader}.yaml")
    config.augmentation = OmegaConf.load(CONF / "augmentation" / f"{augment}.yaml")
    data = instantiate(
        config.data, **config.loader, augmentation=instantiate(config.augmentation), num_workers=0
    )
    assert data.loader == loader and data.seed == 7 and type(data.seg_sources) is list
    batch = next(iter(data.train_dataloader()))
    assert np.isfinite(batch["images"].numpy()).all()
