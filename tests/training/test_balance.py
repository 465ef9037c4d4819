"""Each strategy against its paper's formula, on cases that were worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from brainmtl.errors import ConfigError
from brainmtl.training.balance import (
    Balance,
    DynamicWeightAverage,
    FixedWeights,
    UncertaintyWeights,
)
from brainmtl.training.losses import LossParts


def parts_of(
    seg: float | None, cls: float | None, counts: tuple[int, int] = (1, 1), lambda_cls: float = 1.0
) -> LossParts:
    """Parts as `MultiTaskLoss` makes them, of losses that are leaves."""
    values = [None if v is None else torch.tensor(v, requires_grad=True) for v in (seg, cls)]
    terms = [w * v for w, v in zip((1.0, lambda_cls), values, strict=True) if v is not None]
    total = torch.stack(terms).sum() if terms else torch.zeros((), requires_grad=True)
    return LossParts(total, values[0], values[1], *counts)


def test_fixed_is_the_loss_itself() -> None:
    parts = parts_of(0.5, 2.0, lambda_cls=0.3)
    weighed = FixedWeights().weigh(parts)
    assert weighed.total is parts.total
    assert FixedWeights().weights() == {}


def test_uncertainty_by_hand() -> None:
    """sigma^2 = 1/2 and 4: 2 * 0.5 + 2 / 4 + log(1/2) / 2 + log(4) / 2 = 1.5 + log(2) / 2."""
    balance = UncertaintyWeights()
    with torch.no_grad():
        balance.log_variances["seg"].fill_(-math.log(2))
        balance.log_variances["cls"].fill_(math.log(4))
    parts = balance.weigh(parts_of(0.5, 2.0))
    assert float(parts.total.detach()) == pytest.approx(1.5 + math.log(2) / 2, rel=1e-6)
    parts.total.backward()
    # d/ds = -exp(-s) L + 1/2: -1 + 1/2 for the masks, and 0 at the optimum s = log(2 L) = log(4).
    assert float(balance.log_variances["seg"].grad) == pytest.approx(-0.5)
    assert float(balance.log_variances["cls"].grad) == pytest.approx(0.0, abs=1e-6)
    # the gradient of the network is that of the weighted losses
    assert (float(parts.seg.grad), float(parts.cls.grad)) == pytest.approx((2.0, 0.25))
    shown = {task: float(value) for task, value in balance.weights().items()}
    assert shown == pytest.approx({"seg": 2.0, "cls": 0.25})


def test_uncertainty_starts_at_the_plain_sum_and_finds_its_optimum() -> None:
    """Constant losses of 0.1 and 3: s goes to log(2 L), the optimiser using the declared group."""
    balance = UncertaintyWeights(learning_rate=0.05)
    assert float(balance.weigh(parts_of(0.1, 3.0)).total.detach()) == pytest.approx(3.1)
    (group,) = balance.parameter_groups()
    assert group["name"] == "balance"
    optimizer = torch.optim.Adam(group["params"], lr=group["lr"])
    for _ in range(400):
        optimizer.zero_grad()
        balance.weigh(parts_of(0.1, 3.0)).total.backward()
        optimizer.step()
    found = {task: float(s.detach()) for task, s in balance.log_variances.items()}
    assert found == pytest.approx({"seg": math.log(0.2), "cls": math.log(6.0)}, abs=0.01)


def test_uncertainty_of_a_batch_without_a_task_leaves_its_variance_alone() -> None:
    balance = UncertaintyWeights()
    balance.weigh(parts_of(None, 2.0)).total.backward()
    assert balance.log_variances["seg"].grad is None
    assert float(balance.log_variances["cls"].grad) == pytest.approx(-1.5)


def run_epoch(balance: Balance, epoch: int, seg: float | None, cls: float | None) -> None:
    balance.start_epoch(epoch)
    balance.weigh(parts_of(seg, cls))


def shown(balance: Balance) -> dict[str, float]:
    return {task: float(value) for task, value in balance.weights().items()}


def test_dwa_by_hand() -> None:
    """seg fell from 1 to 0.5, cls stayed: r = (0.5, 1), exp(r / 2) = (1.284025, 1.648721)."""
    balance = DynamicWeightAverage(temperature=2.0)
    for epoch, (seg, cls) in enumerate([(1.0, 0.4), (0.5, 0.4)]):
        run_epoch(balance, epoch, seg, cls)
        assert shown(balance) == pytest.approx({"seg": 1.0, "cls": 1.0})  # t = 1, 2
    balance.start_epoch(2)
    expected = {"seg": 2 * 1.284025 / 2.932746, "cls": 2 * 1.648721 / 2.932746}
    assert shown(balance) == pytest.approx(expected, rel=1e-6)
    total = balance.weigh(parts_of(0.5, 0.4)).total
    assert float(total.detach()) == pytest.approx(
        0.5 * expected["seg"] + 0.4 * expected["cls"], rel=1e-6
    )


def test_dwa_weights_sum_to_the_number_of_tasks_and_large_temperatures_make_them_equal() -> None:
    rng = np.random.default_rng(0)
    sharp, flat = DynamicWeightAverage(0.5), DynamicWeightAverage(1e6)
    for epoch in range(8):
        seg, cls = rng.uniform(0.01, 3, 2)
        for balance in (sharp, flat):
            run_epoch(balance, epoch, float(seg), float(cls))
            assert sum(shown(balance).values()) == pytest.approx(2.0)
        assert shown(flat) == pytest.approx({"seg": 1.0, "cls": 1.0}, abs=1e-3)
    assert abs(shown(sharp)["seg"] - 1) > 0.01


def test_dwa_averages_over_the_samples_of_an_epoch() -> None:
    """3 samples of loss 1 and one of loss 2 are 1.25; a batch without the task does not count."""
    balance = DynamicWeightAverage()
    balance.start_epoch(0)
    for parts in (parts_of(1.0, 1.0, (3, 1)), parts_of(2.0, 1.0, (1, 1)), parts_of(None, 1.0)):
        balance.weigh(parts)
    balance.start_epoch(1)
    assert balance.means[1].tolist() == pytest.approx([1.25, 1.0])


def test_dwa_of_a_task_that_an_epoch_lacks_keeps_equal_weights() -> None:
    balance = DynamicWeightAverage()
    for epoch, seg in enumerate([1.0, None, 0.2]):
        run_epoch(balance, epoch, seg, 1.0)
    balance.start_epoch(3)
    assert shown(balance) == pytest.approx({"seg": 1.0, "cls": 1.0})


def test_dwa_goes_on_in_the_middle_of_an_epoch() -> None:
    """Its whole state is in the state_dict: saved between two batches and loaded, nothing changes."""
    first, second = DynamicWeightAverage(), DynamicWeightAverage()
    run_epoch(first, 0, 1.0, 1.0)
    run_epoch(first, 1, 0.3, 0.9)
    second.load_state_dict(first.state_dict())
    for balance in (first, second):
        balance.start_epoch(1)  # a resumed run is told of the epoch again
        balance.weigh(parts_of(0.7, 0.1))
        balance.start_epoch(2)
    assert shown(first) == shown(second)
    assert second.means[1].tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("balance", [FixedWeights(), UncertaintyWeights(), DynamicWeightAverage()])
def test_a_batch_without_annotation_has_a_loss_of_zero(balance: Balance) -> None:
    total = balance.weigh(parts_of(None, None, (0, 0))).total
    assert float(total.detach()) == 0.0
    total.backward()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: UncertaintyWeights(learning_rate=0.0), "learning_rate=0.0"),
        (lambda: DynamicWeightAverage(temperature=0.0), "temperature=0.0"),
    ],
)
def test_options_that_cannot_work_are_named(build: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build()
