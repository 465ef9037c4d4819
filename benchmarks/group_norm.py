"""What the backward pass of group norm costs: torch's own kernel against brainmtl/models/group_norm.py.

python -m benchmarks.group_norm

Milliseconds, medians of interleaved rounds, on one thread: for each size of feature maps in
the default network (batch of 16), and for a whole training step with the data in memory.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from unittest import mock

import torch
import torch.nn.functional as F

from benchmarks.speed.baselines import default_name
from benchmarks.speed.timing import interleave
from benchmarks.speed.training import make_batch, make_step
from brainmtl.models.group_norm import GroupNorm, _InSums

BATCH, ROUNDS = 16, 15
SIZES = ((32, 64), (64, 32), (128, 16), (256, 8))  # channels, side
GROUPS = 8


def milliseconds(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median duration of each call, all of them in turn."""
    seconds = interleave(calls, ROUNDS, "cpu")
    return {name: 1000 * statistics.median(own) for name, own in seconds.items()}


def of_one_norm(channels: int, side: int, dtype: torch.dtype) -> dict[str, float]:
    """Forward pass, and forward and backward by torch and by the project."""
    shape = (BATCH, channels, side, side)
    x, dy = (
        torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last) for _ in range(2)
    )
    x.requires_grad_()
    weight, bias = (
        value.requires_grad_() for value in (torch.ones(channels), torch.zeros(channels))
    )

    def torchs() -> torch.Tensor:
        return F.group_norm(x, GROUPS, weight, bias)

    def own() -> torch.Tensor:
        return _InSums.apply(x, weight, bias, GROUPS, 1e-5)

    return milliseconds(
        {
            "forward": torchs,
            "torch": lambda: torch.autograd.grad(torchs(), (x, weight, bias), dy),
            "own": lambda: torch.autograd.grad(own(), (x, weight, bias), dy),
        }
    )


def of_a_step(precision: str) -> dict[str, float]:
    """A step of the default network with either."""
    batch = make_batch(BATCH, 256)
    step = make_step(default_name(), "cpu", precision, torch.channels_last)

    def torchs() -> None:
        with mock.patch.object(GroupNorm, "forward", torch.nn.GroupNorm.forward):
            step(batch)

    return milliseconds({"torch": torchs, "own": lambda: step(batch)})


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    for dtype in (torch.bfloat16, torch.float32):
        for channels, side in SIZES:
            found = of_one_norm(channels, side, dtype)
            print(
                f"{dtype!s:15s} {channels:4d} x {side:2d} x {side:2d}: forward {found['forward']:5.2f} ms, "
                f"with backward {found['torch']:6.2f} by torch, {found['own']:6.2f} in sums"
            )
    for precision in ("bf16", "32"):
        found = of_a_step(precision)
        ratio = found["torch"] / found["own"]
        print(
            f"training step, {precision}: {found['torch']:.0f} ms by torch, {found['own']:.0f} as it is: {ratio:.2f}x"
        )


if __name__ == "__main__":
    main()
