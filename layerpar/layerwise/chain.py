"""What an aggregation rule can ask of the chain of workers: sums over all blocks, and the network's loss."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from layerpar.aggregation import Blocks
from layerpar.datasets.base import Batch
from layerpar.layerwise.block import Block
from layerpar.layerwise.links import Receiver, Sender
from layerpar.modes.base import Workload


class Chain:
    """The owners of one network's blocks, worker after worker. Every method is collective.

    The loss is computed where the blocks are: activations of the probe batch, which is the batch of the
    current step, pass from worker to worker, never weights.

    Args:
        workload: What is trained.
        blocks: This worker's blocks.
        receiver: Probe activations from the worker before; None on the first.
        sender: Probe activations to the worker after; None on the last.
    """

    def __init__(
        self, workload: Workload, blocks: list[Block], *, receiver: Receiver | None, sender: Sender | None
    ) -> None:
        self._workload = workload
        self._blocks = blocks
        self._receiver = receiver
        self._sender = sender
        self.probe: Batch | None = None

    def mean(self, proposed: Blocks) -> Blocks:
        return proposed

    def sum(self, values: Tensor) -> Tensor:
        ranks = self._workload.ranks
        every: list[Any] = [None] * ranks.world_size
        with self._workload.stopwatch.waiting():
            dist.all_gather_object(every, values)
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
        else:
            self._sender.put(activation)
            self._sender.flush()
        with self._workload.stopwatch.waiting():
            dist.broadcast(value, src=self._workload.ranks.world_size - 1)
        return float(value)
