"""Gradient reversal against the source (Ganin and Lempitsky 2015, arXiv:1409.7495).

A network that tells the sources apart has found a shortcut to the label. A small classifier learns
the source from the encoder's pooled features; the encoder gets its gradient with the sign turned,
and so learns features that do not give the source away. It lives outside the model: checkpoints
carry it for a run that goes on, and nothing that loads or exports a model knows of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainmtl.errors import ConfigError


class SourceAdversary(nn.Module):
    """Classifier of the source behind a gradient-reversal layer.

    Args:
        in_features: channels of the bottleneck.
        sources: the names that it tells apart, two or more.
        hidden_dim: width of its hidden layer.
        strength: factor on the paper's lambda.
        gamma: how early lambda rises, see :func:`reversal_schedule`.
        learning_rate: of the classifier, without weight decay, under the stage's schedule.
    """

    def __init__(
        self,
        in_features: int,
        sources: Sequence[str],
        hidden_dim: int = 64,
        strength: float = 1.0,
        gamma: float = 10.0,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        if len(set(sources)) < 2:
            raise ConfigError(
                f"adversary=source tells sources apart, and this stage trains on {list(sources)}"
                " alone: name more in data.seg_sources and data.cls_sources, or use adversary=none"
            )
        options = {"strength": strength, "gamma": gamma, "learning_rate": learning_rate}
        for name, value in options.items():
            if not value > 0:
                raise ConfigError(
                    f"adversary.{name}={value}: must be positive (off: adversary=none)"
                )
        self.sources = list(sources)
        self.strength, self.gamma, self.learning_rate = strength, gamma, learning_rate
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, len(self.sources))
        )

    def forward(self, bottleneck: Tensor, progress: float) -> Tensor:
        """Features (B, C, h, w) -> logits (B, sources); ``progress`` of the stage is within 0..1."""
        pooled = bottleneck.mean(dim=(2, 3))
        reversal = self.strength * reversal_schedule(progress, self.gamma)
        return self.layers(reverse_gradient(pooled, reversal))

    def loss(self, logits: Tensor, sources: Sequence[str]) -> Tensor:
        """Cross-entropy of logits (B, sources) and the names of the B images' sources."""
        codes = [self.sources.index(source) for source in sources]
        return F.cross_entropy(logits.float(), torch.tensor(codes, device=logits.device))

    def accuracy(self, logits: Tensor, sources: Sequence[str]) -> dict[str, tuple[Tensor, int]]:
        """{source: (share of its images whose source is recognised, number of its images)}.

        Chance is one over the number of sources. Sources that it was not built for are left out.
        """
        found = logits.argmax(1)
        accuracy = {}
        for code, source in enumerate(self.sources):
            rows = [k for k, name in enumerate(sources) if name == source]
            if rows:
                accuracy[source] = ((found[rows] == code).float().mean(), len(rows))
        return accuracy

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The classifier's parameters, as the group ``adversary``."""
        params = list(self.parameters())
        return [{"name": "adversary", "params": params, "lr": self.learning_rate}]


def reversal_schedule(progress: float, gamma: float = 10.0) -> float:
    """lambda = 2 / (1 + exp(-gamma progress)) - 1: 0 at the start, near 1 at the end.

    The classifier gets to know the features before the encoder listens to it.
    """
    return 2 / (1 + math.exp(-gamma * progress)) - 1


def reverse_gradient(x: Tensor, factor: float) -> Tensor:
    """``x`` itself; its gradient is multiplied by ``-factor``."""
    return _Reversal.apply(x, factor)


@contextmanager
def bottleneck_of(encoder: nn.Module) -> Iterator[list[Tensor]]:
    """A list that holds the last feature map of the encoder's newest pass, while the context lasts."""
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, features: list[Tensor]) -> None:
        found[:] = [features[-1]]

    handle = encoder.register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradient, None
