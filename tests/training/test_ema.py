"""The moving average of the weights: its formula, and that it is what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import train_options

from brainmtl.errors import ConfigError
from brainmtl.training.checkpoints import load_model
from brainmtl.training.curriculum import train
from brainmtl.training.ema import EmaUpdate, WeightEMA


def test_update_by_hand() -> None:
    """d = (1 + n) / (10 + n) until that exceeds ``decay``; integers are copied."""
    average, weight = torch.tensor([0.0, 4.0]), torch.tensor([1.0, 8.0])
    update = EmaUpdate(0.5)
    update([average], [weight], 2)  # d = 3/12
    torch.testing.assert_close(average, torch.tensor([0.75, 7.0]))
    update([average], [weight], 1000)  # d = 0.5
    torch.testing.assert_close(average, torch.tensor([0.875, 7.5]))
    EmaUpdate(0.99, warmup=5)([average], [weight], 3)  # d = 4/8
    torch.testing.assert_close(average, torch.tensor([0.9375, 7.75]))
    count = torch.tensor(3)
    update([count], [torch.tensor(7)], 5)
    assert count == 7


def test_the_mean_of_all_steps() -> None:
    """Decay 1 and warm-up 2: the start counts as one of the weights, and none more than another."""
    weights = torch.randn(40, 3)
    average, update = weights[0].clone(), EmaUpdate(1, warmup=2)
    for done, weight in enumerate(weights[1:]):
        update([average], [weight.clone()], done)
    torch.testing.assert_close(average, weights.mean(0))


def test_a_frozen_weight_does_not_move() -> None:
    average = torch.randn(1000)
    before = average.clone()
    EmaUpdate(0.99)([average], [before.clone()], 17)
    assert torch.equal(average, before)


@pytest.mark.parametrize("decay", [0.0, 1.01, -1.0, 2.0, float("nan")])
def test_decay_outside_its_range(decay: float) -> None:
    with pytest.raises(ConfigError, match="ema_decay"):
        WeightEMA(decay)


@pytest.mark.parametrize("warmup", [1.9, 0, -3, float("nan")])
def test_warmup_outside_its_range(warmup: float) -> None:
    with pytest.raises(ConfigError, match="ema_warmup"):
        WeightEMA(0.99, warmup)


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
