"""Fixed weights."""

from __future__ import annotations

from brainmtl.training.balance.base import Balance
from brainmtl.training.losses import LossParts


class FixedWeights(Balance):
    """L = L_seg + lambda_cls * L_cls, as the loss itself has it."""

    def weigh(self, parts: LossParts) -> LossParts:
        """The parts as they are."""
        return parts
