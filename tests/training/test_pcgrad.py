"""Gradient surgery against the printed algorithm, and under scales, overflows and accumulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brainmtl.training.balance import PCGrad, Step, project_conflicting


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pcgrad_of_two_conflicting_gradients_by_hand() -> None:
    """(1, 0) and (-1, 1), inner product -1: (1/2, 1/2) + (0, 1); the plain sum would be (0, 1)."""
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    assert project_conflicting(gradients, generator()).tolist() == [0.5, 1.5]


def test_pcgrad_leaves_gradients_that_do_not_conflict() -> None:
    for gradients in (
        [[1.0, 0.0], [1.0, 1.0]],
        [[1.0, 0.0], [0.0, 2.0]],
        [[0.0, 0.0], [-1.0, 3.0]],
    ):
        tensor = torch.tensor(gradients)
        assert torch.equal(project_conflicting(tensor, generator()), tensor.sum(0))


def surgery(gradients: np.ndarray, orders: list[tuple[int, ...]]) -> np.ndarray:
    """Algorithm 1 as printed; `orders` has, for each task, the order of the others."""
    found = gradients.copy()
    for i, order in enumerate(orders):
        for j in order:
            product = found[i] @ gradients[j]
            if i != j and product < 0:
                found[i] = found[i] - product / (gradients[j] @ gradients[j]) * gradients[j]
    return found.sum(0)


def test_pcgrad_of_three_tasks_draws_the_order_from_seed_and_step() -> None:
    """Every result is that of some orders of the printed algorithm; equal seeds give equal results."""
    gradients = np.array([[1.0, 0.2], [-1.0, 0.3], [-0.2, -1.0]])
    orders = list(itertools.permutations(range(3)))
    allowed = {
        tuple(np.round(surgery(gradients, list(chosen)), 5))
        for chosen in itertools.product(orders, repeat=3)
    }
    tensor = torch.tensor(gradients, dtype=torch.float32)
    found = {
        seed: tuple(np.round(project_conflicting(tensor, generator(seed)).double().numpy(), 5))
        for seed in range(20)
    }
    for result in found.values():
        assert min(np.abs(np.subtract(result, other)).max() for other in allowed) < 1e-4
    assert len(set(found.values())) > 1
    assert torch.equal(
        project_conflicting(tensor, generator(3)), project_conflicting(tensor, generator(3))
    )


class TwoTasks(nn.Module):
    """y = head(relu(shared x)) for two tasks whose gradients on `shared` conflict."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Linear(4, 6)
        self.heads = nn.ModuleList([nn.Linear(6, 1), nn.Linear(6, 1)])
        self.inputs = torch.randn(16, 4)

    def step(self, signs: tuple[float, float], seed: int = 0) -> tuple[Tensor, Step]:
        features = torch.relu(self.shared(self.inputs))
        seg, cls = (
            sign * head(features).tanh().mean()
            for sign, head in zip(signs, self.heads, strict=True)
        )
        shared, own = list(self.shared.parameters()), list(self.heads.parameters())
        return seg + 0.5 * cls, Step({"seg": seg, "cls": cls}, (), shared, own, seed, 0)

    def gradients(self) -> list[Tensor]:
        found = [p.grad.clone() for p in self.parameters()]
        self.zero_grad()
        return found


def task_gradient(network: TwoTasks, signs: tuple[float, float], task: str) -> list[Tensor]:
    _, step = network.step(signs)
    (0.5 * step.losses[task] if task == "cls" else step.losses[task]).backward()
    found = [p.grad.clone() for p in network.shared.parameters()]
    network.zero_grad()
    return found


@pytest.mark.parametrize("signs", [(1.0, 1.0), (1.0, -1.0)])
def test_pcgrad_corrects_the_shared_part_alone(signs: tuple[float, float]) -> None:
    """Shared: the formula of the weighted gradients; heads: exactly what backward() gives them."""
    network = TwoTasks()
    flat = [
        torch.cat([g.flatten() for g in task_gradient(network, signs, task)])
        for task in ("seg", "cls")
    ]
    loss, _ = network.step(signs)
    loss.backward()
    plain = network.gradients()
    loss, step = network.step(signs)
    PCGrad().backward(loss, step)
    ours = network.gradients()
    merged = torch.cat([g.flatten() for g in ours[:2]])
    expected = surgery(torch.stack(flat).double().numpy(), [(0, 1), (0, 1)])
    torch.testing.assert_close(merged.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-7)
    for mine, theirs in zip(ours[2:], plain[2:], strict=True):
        torch.testing.assert_close(mine, theirs)
    conflict = float(flat[0] @ flat[1]) < 0
    same = torch.allclose(merged, torch.cat([g.flatten() for g in plain[:2]]), rtol=1e-5, atol=1e-7)
    assert same != conflict


def test_the_two_cases_above_are_one_with_conflict_and_one_without() -> None:
    network = TwoTasks()
    products = []
    for signs in ((1.0, 1.0), (1.0, -1.0)):
        seg, cls = (task_gradient(network, signs, task) for task in ("seg", "cls"))
        products.append(sum(float((a * b).sum()) for a, b in zip(seg, cls, strict=True)))
    assert min(products) < 0 < max(products)


@pytest.mark.parametrize("signs", [(1.0, 1.0), (1.0, -1.0)])
def test_pcgrad_under_the_scale_of_float16_training(signs: tuple[float, float]) -> None:
    """torch's GradScaler: the unscaled gradients are those without a scale, and clip alike."""
    network = TwoTasks()
    loss, step = network.step(signs)
    PCGrad().backward(loss, step)
    plain = network.gradients()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
    loss, step = network.step(signs)
    PCGrad().backward(scaler.scale(loss), step)
    scaler.unscale_(optimizer)
    for mine, theirs in zip((p.grad for p in network.parameters()), plain, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9)


def test_pcgrad_of_an_overflow_makes_the_scaler_leave_the_step_out() -> None:
    network = TwoTasks()
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
    loss, step = network.step((1.0, -1.0))
    scaled = scaler.scale(loss * torch.tensor(3e38))
    PCGrad().backward(scaled, step)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() < 2.0**14
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_pcgrad_adds_up_over_accumulated_batches() -> None:
    network = TwoTasks()
    loss, step = network.step((1.0, -1.0))
    PCGrad().backward(loss, step)
    once = network.gradients()
    for _ in range(2):
        loss, step = network.step((1.0, -1.0))
        PCGrad().backward(loss / 2, step)
    for mine, theirs in zip(network.gradients(), once, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_pcgrad_adds_further_summands_uncorrected() -> None:
    """What stands beside the tasks (the adversary) keeps its gradient on the shared part."""
    network = TwoTasks()
    loss, step = network.step((1.0, -1.0))
    PCGrad().backward(loss, step)
    tasks = network.gradients()
    loss, step = network.step((1.0, -1.0))
    other = (network.shared(network.inputs) ** 2).mean()
    other_alone = torch.autograd.grad(other, step.shared, retain_graph=True)
    PCGrad().backward(
        loss + other, Step(step.losses, (other,), step.shared, step.own, step.seed, step.number)
    )
    for mine, theirs, extra in zip(network.gradients()[:2], tasks[:2], other_alone, strict=True):
        torch.testing.assert_close(mine, theirs + extra)


@pytest.mark.parametrize("missing", ["task", "shared"])
def test_pcgrad_without_two_tasks_or_a_trained_encoder_is_backward(missing: str) -> None:
    network = TwoTasks()
    loss, step = network.step((1.0, -1.0))
    loss.backward()
    plain = network.gradients()
    loss, step = network.step((1.0, -1.0))
    losses = {"seg": step.losses["seg"]} if missing == "task" else step.losses
    shared = [] if missing == "shared" else step.shared
    PCGrad().backward(loss, Step(losses, (), shared, step.own, 0, 0))
    for mine, theirs in zip(network.gradients(), plain, strict=True):
        assert torch.equal(mine, theirs)
