"""Dynamic weight average (Liu, Johns and Davison 2019, arXiv:1803.10704)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from brainmtl.errors import ConfigError
from brainmtl.training.balance.base import TASKS, Balance, weighted_total
from brainmtl.training.losses import LossParts


class DynamicWeightAverage(Balance):
    """L = sum over the K tasks of w L_task, w larger where a loss falls more slowly.

    w_k(t) = K exp(r_k / T) / sum_i exp(r_i / T), r_k = L_k(t - 1) / L_k(t - 2), where L_k(t) is the
    mean of the task's loss over the annotated samples of epoch t, of all processes together, and T is
    ``temperature``. In the first two epochs, and for a task that one of the two last epochs had no
    sample of, r_k is 1.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ConfigError(f"balance.temperature={temperature}: must be positive, e.g. 2")
        self.temperature = temperature
        count = len(TASKS)
        # All of it in the checkpoint: the running epoch too, for a run that goes on in its middle.
        # Means that are not known are stored as -1, and -1 is the epoch before the first.
        self.sums: Tensor
        self.counts: Tensor
        self.means: Tensor
        self.epoch: Tensor
        self.register_buffer("sums", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("means", torch.full((2, count), -1.0, dtype=torch.float64))
        self.register_buffer("epoch", torch.tensor(-1))

    def start_epoch(self, epoch: int) -> None:
        """Close the epoch before, unless it is this one that goes on."""
        if int(self.epoch) == epoch:
            return
        if int(self.epoch) >= 0:
            latest = torch.where(self.counts > 0, self.sums / self.counts.clamp_min(1), -1.0)
            self.means.copy_(torch.stack([self.means[1], latest]))
        self.sums.zero_()
        self.counts.zero_()
        self.epoch.fill_(epoch)

    def weigh(self, parts: LossParts) -> LossParts:
        """The parts with the weighted total; adds their losses to the means of this epoch."""
        found = ((parts.seg, parts.seg_count), (parts.cls, parts.cls_count))
        seen = torch.zeros_like(torch.stack([self.sums, self.counts]))
        for k, (value, count) in enumerate(found):
            if value is not None:
                seen[0, k], seen[1, k] = count * value.detach().double(), count
        if dist.is_initialized():
            # In every step: what one process alone has added, the next forward pass would overwrite
            # with the leader's buffers.
            dist.all_reduce(seen)
        self.sums += seen[0]
        self.counts += seen[1]
        return parts._replace(total=weighted_total(parts, self.weights()))

    def weights(self) -> dict[str, Tensor]:
        """The weights of this epoch; they sum to the number of tasks."""
        older, newer = self.means
        known = (older > 0) & (newer >= 0)
        ratio = torch.where(known, newer / torch.where(known, older, 1.0), 1.0)
        weights = len(ratio) * torch.softmax(ratio / self.temperature, dim=0)
        return dict(zip(TASKS, weights.float(), strict=True))
