"""The moving average of the weights: its formula, and that it is what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import train_options

from brainmtl.errors import ConfigError
from brainmtl.training.continuation.checkpoints import load_model
from brainmtl.training.curriculum import train
from brainmtl.training.ema import EmaUpdate, resolve_decay


def test_update_by_hand() -> None:
    """d = (1 + n) / (10 + n) until that exceeds ``decay``; integers are copied."""
    average, weight = torch.tensor([0.0, 4.0]), torch.tensor([1.0, 8.0])
    update = EmaUpdate(0.5)
    update([average], [weight], 2)  # d = 3/12
    torch.testing.assert_close(average, torch.tensor([0.75, 7.0]))
    update([average], [weight], 1000)  # d = 0.5
    torch.testing.assert_close(average, torch.tensor([0.875, 7.5]))
    count = torch.tensor(3)
    update([count], [torch.tensor(7)], 5)
    assert count == 7


def test_the_mean_of_all_steps() -> None:
    """Decay 1: the start counts as one of the weights, and none more than another."""
    weights = torch.randn(40, 3)
    average, update = weights[0].clone(), EmaUpdate(1)
    for done, weight in enumerate(weights[1:]):
        update([average], [weight.clone()], done)
    torch.testing.assert_close(average, weights.mean(0))


def test_a_frozen_weight_does_not_move() -> None:
    average = torch.randn(1000)
    before = average.clone()
    EmaUpdate(0.99)([average], [before.clone()], 17)
    assert torch.equal(average, before)


@pytest.mark.parametrize("decay", [1.01, -1.0, 2.0, float("nan"), "automatic"])
def test_decay_outside_its_range(decay: float | str) -> None:
    with pytest.raises(ConfigError, match=f"ema_decay={decay}"):
        resolve_decay(decay, pretrained=True)


# What the built-in weights fit.
DEFAULT_MODEL = ("model.base_filters=32", "model.depth=3", "model.hidden_dim=512")


@pytest.mark.parametrize(("start", "same"), [("auto", "1"), ("null", "0.99")])
def test_auto_is_the_mean_where_a_run_began_with_the_built_in_weights(
    phantom_dir: Path, tmp_path: Path, start: str, same: str
) -> None:
    """In its last stage as well, which starts from a checkpoint of the run."""

    def weights(decay: str) -> dict[str, torch.Tensor]:
        brief = (
            "stage.order=[cls_head,joint]",
            "trainer.limit_train_batches=2",
            "data.batch_size=4",
        )
        chosen = (*DEFAULT_MODEL, *brief, f"init_from={start}", f"ema_decay={decay}")
        results = train(train_options(phantom_dir, tmp_path / decay, *chosen))
        return load_model(results[-1].last)[0].state_dict()

    auto, equal = weights("auto"), weights(same)
    assert all(torch.equal(value, equal[name]) for name, value in auto.items())


def test_checkpoint_holds_the_average_and_the_trained_weights(
    phantom_dir: Path, tmp_path: Path
) -> None:
    """The run's average equals one that is built from the run without it: both take the same steps."""
    shared = ("stage=seg_warmup", "precision=fp32", "epochs.seg_warmup=2", "model.norm=group")
    averaged, plain = (
        train(train_options(phantom_dir, tmp_path / name, f"ema_decay={decay}", *shared))[0]
        for name, decay in (("averaged", 0.9), ("plain", 0))
    )
    stored = torch.load(averaged.last, weights_only=True)
    last = torch.load(plain.last, weights_only=True)
    for name, value in last["state_dict"].items():
        assert torch.equal(stored["current_model_state"][name], value), (
            "the average changes no step"
        )
    differing = [
        name
        for name, value in stored["state_dict"].items()
        if not torch.equal(value, stored["current_model_state"][name])
    ]
    assert differing
    assert "current_model_state" not in last
    model, _ = load_model(averaged.last)
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored["state_dict"][f"model.{name}"])
