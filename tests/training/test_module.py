"""The LightningModule and its observers: scores by source, logs, stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from support import compose, count_calls, train_options

from brainmtl.data.loading.collate import multitask_collate
from brainmtl.data.manifest import read_manifest, write_manifest
from brainmtl.errors import ConfigError
from brainmtl.models.multitask import MultiTaskOutput
from brainmtl.training.build import make_datamodule, make_module
from brainmtl.training.continuation.checkpoints import load_model, read_checkpoint
from brainmtl.training.curriculum import train
from brainmtl.training.module import NonFiniteLossError
from brainmtl.training.observers import panel
from brainmtl.training.observers.scores import SourceScores, role_means
from brainmtl.training.runner import StageResult
from brainmtl.training.stages import stage_configs

SIZE = 16


def _sample(rng: np.random.Generator, source: str, name: str, masked: bool) -> dict[str, Any]:
    mask = torch.from_numpy((rng.random((SIZE, SIZE)) < 0.3).astype(np.uint8)) if masked else None
    return {
        "image": torch.zeros(1, SIZE, SIZE),
        "mask": mask,
        "cls": int(rng.integers(-1, 2)),
        "has_label": True,
        "source": source,
        "has_mask": masked,
        "image_id": name,
    }


def _batches(rng: np.random.Generator) -> list[dict[str, Any]]:
    samples = [_sample(rng, "a", f"case{k % 3}_z{k:03d}", True) for k in range(12)]
    samples += [_sample(rng, "b", f"photo{k}", False) for k in range(9)]
    for sample in samples:
        sample["has_label"] = sample["cls"] >= 0
    return [multitask_collate(samples[k : k + 5]) for k in range(0, len(samples), 5)]


def test_scores_by_source_equal_brute_force() -> None:
    """Dice per case over all its slices, ROC-AUC and balanced accuracy of scikit-learn."""
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    scores, cases, labels = SourceScores(), {}, {"a": [], "b": []}
    for batch in _batches(rng):
        count = len(batch["images"])
        output = MultiTaskOutput(
            torch.randn(count, 1, SIZE, SIZE, generator=generator),
            torch.randn(count, 2, generator=generator),
        )
        scores.update(output, batch)
        probability = torch.softmax(output.cls, 1)[:, 1].numpy()
        for k, name in enumerate(batch["image_ids"]):
            if batch["has_masks"][k]:
                pair = (output.seg[k, 0].numpy() >= 0, batch["masks"][k].numpy() == 1)
                cases.setdefault(name.split("_")[0], []).append(pair)
            if batch["has_labels"][k]:
                row = (int(batch["cls_labels"][k]), float(probability[k]))
                labels[batch["sources"][k]].append(row)
    found = scores.compute()
    expected = []
    for pairs in cases.values():
        predicted, true = (np.stack(part) for part in zip(*pairs, strict=True))
        expected.append(2 * (predicted & true).sum() / (predicted.sum() + true.sum()))
    assert found["a"]["dice"] == pytest.approx(np.mean(expected))
    for source, rows in labels.items():
        truth, score = (np.array(part) for part in zip(*rows, strict=True))
        assert found[source]["roc_auc"] == pytest.approx(roc_auc_score(truth, score))
        accuracy = balanced_accuracy_score(truth, score >= 0.5)
        assert found[source]["balanced_accuracy"] == pytest.approx(accuracy)
    assert "dice" not in found["b"]
    assert scores.compute() == {}


def test_monitors_are_means_over_sources_and_not_pooled() -> None:
    found = {
        "brats": {"dice": 0.8, "balanced_accuracy": 0.99, "roc_auc": 1.0},
        "lgg": {"dice": 0.6},
        "kaggle": {"balanced_accuracy": 0.7, "roc_auc": 0.75},
    }
    means = role_means(found, ["brats", "lgg"], ["kaggle"], (0.5, 0.5))
    assert means["seg_dice"] == pytest.approx(0.7)
    assert means["cls_balanced_accuracy"] == pytest.approx(0.7)
    assert means["cls_roc_auc"] == pytest.approx(0.75)
    assert means["combined"] == pytest.approx(0.7)
    assert role_means({"kaggle": {}}, ["brats"], ["kaggle"]) == {}


@pytest.fixture(scope="module")
def observed(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> StageResult:
    """A joint stage with the default callbacks and TensorBoard."""
    run_dir = tmp_path_factory.mktemp("observed") / "run"
    options = train_options(phantom_dir, run_dir, "stage=joint", "callbacks=default")
    return train(options)[0]


def test_tensorboard_holds_what_the_docs_promise(observed: StageResult) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(observed.directory / "tensorboard"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    wanted = {"train/loss", "train/loss_seg", "train/loss_cls", "val/combined", "val/seg_dice"}
    wanted |= {f"train/loss_{t}/phantom_brats" for t in ("seg", "cls")}
    wanted |= {"train/loss_cls/phantom_kaggle", "val/loss_cls/phantom_kaggle"}
    wanted |= {"val/dice/phantom_brats", "val/roc_auc/phantom_kaggle"}
    wanted |= {f"lr/{part}" for part in ("encoder", "decoder", "head", "head_no_decay")}
    wanted |= {f"grad_norm/{part}" for part in ("encoder", "decoder", "head")}
    wanted |= {"task_gradients/cosine", "task_gradients/norm_ratio"}
    assert wanted <= scalars
    assert "train/loss_seg/phantom_kaggle" not in scalars
    assert events.Tags()["images"] == ["validation"]
    rates = {p: events.Scalars(f"lr/{p}")[0].value for p in ("encoder", "decoder", "head")}
    assert rates["decoder"] == pytest.approx(2 * rates["encoder"])
    assert rates["head"] == pytest.approx(2 * rates["encoder"])
    steps = [scalar.value / rates["encoder"] for scalar in events.Scalars("lr/encoder")]
    assert steps == pytest.approx([1.0, 0.7525, 0.2575])  # a half cosine down to 0.01


def test_a_batch_of_one_source_is_not_taken_apart(
    phantom_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss is the source's; in mixed batches the rows of each source have their own."""
    taken = count_calls(monkeypatch, "brainmtl.training.module._rows")
    batches = ("trainer.limit_train_batches=4", "trainer.limit_val_batches=1", "stage=joint")
    losses = {f"train/loss_{t}/phantom_brats" for t in ("seg", "cls")}
    for loader, count in (("alternating", 0), ("mixed", 8)):
        words = (*batches, f"loader={loader}")
        (result,) = train(train_options(phantom_dir, tmp_path / loader, *words))
        (entry,) = json.loads((result.directory / "stage.json").read_text())["history"]
        assert losses | {"train/loss_cls/phantom_kaggle"} <= set(entry)
        if loader == "alternating":  # all masks are of one source
            assert entry["train/loss_seg/phantom_brats"] == entry["train/loss_seg"]
        assert len(taken) == count
        taken.clear()


def test_panel_is_a_picture_of_both_sources(observed: StageResult) -> None:
    from PIL import Image

    panel = np.asarray(Image.open(observed.directory / "figures/validation.png").convert("RGB"))
    assert min(panel.shape[:2]) > 300
    # The drawn colours: a true contour in lime, of the source that has masks.
    lime = (panel[..., 1] > 200) & (panel[..., 0] < 100) & (panel[..., 2] < 100)
    assert lime.sum() > 20


def test_panel_shows_the_weights_that_are_stored(
    phantom_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The average, not the weights that are trained on: those are others after a few steps."""
    drawn: list[tuple[dict[str, Any], np.ndarray]] = []
    original = panel.draw_panel

    def spy(batch: dict[str, Any], seg: np.ndarray, *others: Any) -> Any:
        drawn.append((batch, seg))
        return original(batch, seg, *others)

    monkeypatch.setattr(panel, "draw_panel", spy)
    words = ("stage=seg_warmup", "callbacks=default", "precision=fp32")
    (result,) = train(train_options(phantom_dir, tmp_path, *words))
    ((batch, seg),) = drawn
    stored = read_checkpoint(result.best)
    averaged, trained = load_model(result.best)[0].eval(), load_model(result.best)[0].eval()
    weights = {k.removeprefix("model."): v for k, v in stored["current_model_state"].items()}
    trained.load_state_dict({k: v for k, v in weights.items() if k in trained.state_dict()})
    with torch.no_grad():
        expected, other = (
            torch.sigmoid(m(batch["images"]).seg[:, 0]).numpy() for m in (averaged, trained)
        )
    # Training multiplies in a coarser format than float32 where the processor has one.
    assert np.abs(seg - expected).mean() < 0.1 * np.abs(seg - other).mean()


def test_a_callback_can_be_switched_off(phantom_dir: Path, tmp_path: Path) -> None:
    words = (
        "stage=seg_warmup",
        "callbacks=default",
        "callbacks.panel=null",
        "callbacks.progress=null",
    )
    (result,) = train(train_options(phantom_dir, tmp_path, *words))
    assert not (result.directory / "figures/validation.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["stage=joint", "loader=brats_only", "data.cls_sources=[]"],
            "monitor val/combined, .* lacks both labels in a classification source",
        ),
        (["stage=curriculum"], "stage cls_head has the monitor val/cls_roc_auc"),
    ],
)
def test_a_monitor_that_validation_cannot_give_is_refused_before_training(
    words: list[str], message: str, phantom_dir: Path, tmp_path: Path
) -> None:
    """Of the photographs, validation has those with tumour alone."""
    frame = read_manifest(phantom_dir)
    photos = (frame["source"] == "phantom_kaggle") & (frame["split"] == "val")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    for source in ("phantom_brats", "phantom_kaggle"):
        (data_dir / source).symlink_to(phantom_dir / source)
    write_manifest(data_dir, frame[~photos | (frame["label"] == 1)])
    with pytest.raises(ConfigError, match=message):
        train(train_options(data_dir, tmp_path / "run", *words))
    assert not (tmp_path / "run/seg_warmup").exists()


def test_text_log_names_every_epoch(observed: StageResult) -> None:
    text = (observed.directory / "train.log").read_text(encoding="utf-8")
    assert "joint epoch 1/1" in text
    assert "val/combined" in text


@pytest.mark.parametrize(
    ("often", "validated"),
    [("trainer.check_val_every_n_epoch=2", [1]), ("+trainer.val_check_interval=1", [0, 1, 2])],
)
def test_an_epoch_has_the_figures_of_its_own_last_validation(
    phantom_dir: Path, tmp_path: Path, often: str, validated: list[int]
) -> None:
    """None where it was not validated, and one entry where it was validated after every batch."""
    words = ("stage=seg_warmup", "epochs.seg_warmup=3", "callbacks=default", often)
    (result,) = train(train_options(phantom_dir, tmp_path, *words))
    log = (result.directory / "train.log").read_text(encoding="utf-8").splitlines()
    said = ["val/seg_dice" in line for line in log if "seg_warmup epoch " in line]
    assert [epoch for epoch, figure in enumerate(said) if figure] == validated
    history = json.loads((result.directory / "stage.json").read_text())["history"]
    assert [entry["epoch"] for entry in history] == [0, 1, 2]
    for entry in history:
        figures = {name for name in entry if name.startswith("val/")}
        assert bool(figures) == (entry["epoch"] in validated), figures
        assert entry["images"] == 24


def test_non_finite_loss_stops_with_a_clear_message(phantom_dir: Path, tmp_path: Path) -> None:
    options = train_options(phantom_dir, tmp_path, "stage=joint")
    (stage,) = stage_configs(options["stage"], options["loader"])
    datamodule = make_datamodule(options, stage)
    module = make_module(options, stage, datamodule)
    batch = next(iter(datamodule.train_dataloader()))
    with torch.no_grad():
        next(module.model.decoder.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"nan.*joint.*learning rates"):
        module.training_step(batch, 0)


def test_monitor_that_never_appears_is_explained(phantom_dir: Path, tmp_path: Path) -> None:
    options = train_options(
        phantom_dir, tmp_path, "stage=seg_warmup", "stage.monitor=val/no_such_metric"
    )
    with pytest.raises((ConfigError, RuntimeError), match="val/no_such_metric"):
        train(options)


def test_composed_class_weights_reach_the_loss(phantom_dir: Path, tmp_path: Path) -> None:
    options = train_options(phantom_dir, tmp_path, "stage=joint", "loader.balance_labels=false")
    (stage,) = stage_configs(options["stage"], options["loader"])
    datamodule = make_datamodule(options, stage)
    module = make_module(options, stage, datamodule)
    assert torch.equal(module.loss.class_weights, datamodule.class_weights())
    assert compose("train", "run_dir=x")["loss"]["class_weights"] == "auto"
