"""Means over the workers that train the same weights on other samples: one of them in each replica."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from layerpar.measure.stopwatch import Stopwatch


class ReplicaGroup:
    """This worker and those of the other replicas that train the same weights.

    Every method is collective among them. The whole time of an all-reduce counts as waiting: nothing hides
    it.

    Args:
        count: R, how many there are, this worker included.
        stopwatch: Where waiting and sent bytes are counted.
        group: Their process group; None for all workers.
    """

    def __init__(self, count: int, stopwatch: Stopwatch, *, group: dist.ProcessGroup | None = None) -> None:
        self.count = count
        self._stopwatch = stopwatch
        self._group = group

    @torch.no_grad()
    def means(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor's mean over several peers, bit for bit the same on all; `tensors` stay as they are.

        Args:
            tensors: At least one, all of one type and device; they go in one message.
        """
        with self._stopwatch.exchanging():
            message = torch.cat([tensor.flatten() for tensor in tensors])
        with self._stopwatch.waiting():
            dist.all_reduce(message, group=self._group)
        self._stopwatch.count_sent(allreduce_bytes([message], self.count))
        with self._stopwatch.exchanging():
            message /= self.count
            pieces = message.split([tensor.numel() for tensor in tensors])
        return [piece.view(tensor.shape) for tensor, piece in zip(tensors, pieces, strict=True)]

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Set tensors of one type to their means over the peers, if there are any of either."""
        if self.count == 1 or not tensors:
            return
        means = self.means(tensors)
        with self._stopwatch.exchanging():
            for tensor, mean in zip(tensors, means, strict=True):
                tensor.copy_(mean)


def allreduce_bytes(tensors: Sequence[Tensor], world_size: int) -> int:
    """What a ring all-reduce of the tensors sends per rank: 2 (W - 1) / W of their size.

    Thakur et al. 2005, "Optimization of collective communication operations in MPICH".
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return size * 2 * (world_size - 1) // world_size
