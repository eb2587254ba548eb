"""Exchange `weights`: every worker holds the whole network and trains its own blocks in it, for a round.

    round      all start from the common weights w^t, and take H steps each over the same batches
    worker 0   [block 0 trained] [block 1 as in w^t]        ŵ_0 ──┐ aggregate, then every owner
    worker 1   [block 0 as in w^t] [block 1 trained]        ŵ_1 ──┘ sends its blocks to all: w^(t+1)

The layers below a block are recomputed by its worker, so nothing but weights ever crosses between workers.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from layerpar.datasets.base import Batch
from layerpar.engine.contract import StepResult
from layerpar.layerwise.engine import ChainEngine, WorkerSlice
from layerpar.transport.links import Queue


class WeightsEngine(ChainEngine):
    """One worker's blocks, and the other layers as they were at the start of the round.

    Args:
        worker_slice: This worker's part of the network; its links are for evaluation.
        entries: For each block, the first of its layers, and the queue that it takes its input from.
        frozen: The whole network at w^t, apart from the live blocks; its weights need no gradient.
        placement: The layers of each worker of the chain.
    """

    def __init__(
        self,
        worker_slice: WorkerSlice,
        *,
        entries: dict[int, Queue],
        frozen: list[nn.Module],
        placement: list[range],
    ) -> None:
        super().__init__(worker_slice)
        self.reads_images = True
        self._entries = entries
        self._frozen = frozen
        self._placement = placement

    def start(self, steps: int) -> None:
        super().start(steps)
        for layer in self._frozen:
            layer.train()

    def _feed(self, images: Tensor | None) -> None:
        assert images is not None
        activation = images
        with self._workload.stopwatch.span("forward"), torch.no_grad(), self._workload.autocast():
            for index in range(max(self._entries) + 1):
                if index in self._entries:
                    self._entries[index].put(activation)
                if index < max(self._entries):
                    activation = self._frozen[index](activation)

    def step(self, batch: Batch) -> StepResult:
        result = super().step(batch)
        if self._aggregator.at_border:
            self._share()
        return result

    def load_state_dict(self, state: dict[str, object]) -> None:
        super().load_state_dict(state)
        self._share()

    @torch.no_grad()
    def _share(self) -> None:
        """Every owner's live blocks become those of the frozen networks of its chain. Collective."""
        for position, layers in enumerate(self._placement):
            mine = position == self._grid.position
            held = [tensor for index in layers for tensor in _tensors(self._frozen[index])]
            live = [tensor for index in layers for tensor in _tensors(self._workload.network.layers[index])]
            for dtype in sorted({tensor.dtype for tensor in held}, key=str):
                targets = [tensor for tensor in held if tensor.dtype == dtype]
                sizes = [tensor.numel() for tensor in targets]
                with self._workload.stopwatch.exchanging():
                    if mine:
                        message = torch.cat([tensor.flatten() for tensor in live if tensor.dtype == dtype])
                    else:
                        message = torch.empty(sum(sizes), dtype=dtype, device=targets[0].device)
                self._broadcast(message, position)
                with self._workload.stopwatch.exchanging():
                    for target, piece in zip(targets, message.split(sizes), strict=True):
                        target.copy_(piece.view_as(target))

    def _broadcast(self, message: Tensor, position: int) -> None:
        others = self._grid.chain_length - 1
        if others == 0:
            return
        with self._workload.stopwatch.waiting():
            dist.broadcast(message, src=self._grid.rank_at(position), group=self._grid.chain_group)
        if position == self._grid.position:
            self._workload.stopwatch.count_sent(message.numel() * message.element_size() * others)


def _tensors(layer: nn.Module) -> list[Tensor]:
    """Parameters and buffers, in a fixed order."""
    return [tensor.detach() for tensor in layer.state_dict(keep_vars=True).values()]
