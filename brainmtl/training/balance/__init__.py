"""How the losses of the two tasks make one step: the strategies of ``conf/balance``."""

from __future__ import annotations

from brainmtl.training.balance.base import Balance, Step
from brainmtl.training.balance.dwa import DynamicWeightAverage
from brainmtl.training.balance.fixed import FixedWeights
from brainmtl.training.balance.pcgrad import PCGrad, project_conflicting
from brainmtl.training.balance.uncertainty import UncertaintyWeights

__all__ = [
    "Balance",
    "DynamicWeightAverage",
    "FixedWeights",
    "PCGrad",
    "Step",
    "UncertaintyWeights",
    "project_conflicting",
]
