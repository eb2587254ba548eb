"""What an aggregation rule can ask of the workers: sums over all blocks, means over replicas, the loss."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from layerpar.aggregation import Blocks
from layerpar.datasets.base import Batch
from layerpar.engine.contract import Workload
from layerpar.objectives.block import Block
from layerpar.transport.grid import Grid
from layerpar.transport.links import Receiver, Sender


class AggregationContext:
    """The owners of one replica's blocks, worker after worker. Every method is collective over all workers.

    The loss is computed where the blocks are: activations of the probe batch, which is the batch of the
    current step, pass from worker to worker, never weights. Each replica has its own slice of that batch.

    Args:
        workload: What is trained.
        grid: Where this worker stands.
        blocks: This worker's blocks.
        receiver: Probe activations from the worker before; None on the first.
        sender: Probe activations to the worker after; None on the last.
    """

    def __init__(
        self,
        workload: Workload,
        grid: Grid,
        blocks: list[Block],
        *,
        receiver: Receiver | None,
        sender: Sender | None,
    ) -> None:
        self._workload = workload
        self._grid = grid
        self._blocks = blocks
        self._receiver = receiver
        self._sender = sender
        self.probe: Batch | None = None

    def mean(self, proposed: Blocks) -> Blocks:
        if self._grid.replicas.count == 1:
            return proposed
        # As new tensors: the graphs of batches still on their way may need the live weights' memory.
        means = iter(self._grid.replicas.means([tensor for block in proposed for tensor in block]))
        return [[next(means) for _ in block] for block in proposed]

    def sum(self, values: Tensor) -> Tensor:
        every: list[Any] = [None] * self._grid.chain_length
        with self._workload.stopwatch.waiting():
            dist.all_gather_object(every, values, group=self._grid.chain_group)
        return torch.cat(every).sum(0)

    @torch.no_grad()
    def loss(self, weights: Blocks) -> float:
        assert self.probe is not None
        labels = self.probe.labels
        if self._receiver is None:
            assert self.probe.images is not None
            activation = self.probe.images
        else:
            self._receiver.expect(1, len(labels))
            activation = self._receiver.get()
        for block, own in zip(self._blocks, weights, strict=True):
            block.train(False)
            names = [name for name, _ in block.layers.named_parameters()]
            tensors = dict(zip(names, own, strict=False))
            activation = torch.func.functional_call(block.layers, tensors, (activation,))
            block.train(True)
        value = torch.zeros((), dtype=torch.float64)
        if self._sender is None:
            value += nn.functional.cross_entropy(activation, labels).double().cpu()
            self._grid.replicas.average([value])
        else:
            self._sender.put(activation)
            self._sender.flush()
        with self._workload.stopwatch.waiting():
            dist.broadcast(
                value, src=self._grid.rank_at(self._grid.chain_length - 1), group=self._grid.chain_group
            )
        return float(value)
