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
from layerpar.layerwise.block import Block
from layerpar.layerwise.chain import Chain
from layerpar.layerwise.engine import ChainEngine
from layerpar.layerwise.links import Queue, Receiver, Sender
from layerpar.modes.base import StepResult, Workload


class WeightsEngine(ChainEngine):
    """One worker's blocks, and the other layers as they were at the start of the round.

    Args:
        workload: What to train.
        blocks: This worker's blocks.
        layers: The network's layers in those blocks.
        entries: For each block, the first of its layers, and the queue that it takes its input from.
        frozen: The whole network at w^t, apart from the live blocks; its weights need no gradient.
        placement: The layers of each worker.
        receiver: Activations from the worker before, for evaluation; None on the first.
        sender: Activations to the worker after, for evaluation; None on the last.
        chain: What aggregation may ask of the other workers.
        notes: What was decided before training.
    """

    def __init__(
        self,
        workload: Workload,
        blocks: list[Block],
        layers: range,
        *,
        entries: dict[int, Queue],
        frozen: list[nn.Module],
        placement: list[range],
        receiver: Receiver | None,
        sender: Sender | None,
        chain: Chain,
        notes: dict[str, object],
    ) -> None:
        super().__init__(workload, blocks, layers, receiver=receiver, sender=sender, chain=chain, notes=notes)
        self.reads_images = True
        self._entries = entries
        self._frozen = frozen
        self._placement = placement

    def start(self, steps: int) -> None:
        self._train_mode()
        for layer in self._frozen:
            layer.train()

    def step(self, batch: Batch) -> StepResult:
        assert batch.images is not None
        activation = batch.images
        with self._workload.stopwatch.span("forward"), torch.no_grad(), self._workload.autocast():
            for index in range(max(self._entries) + 1):
                if index in self._entries:
                    self._entries[index].put(activation)
                if index < max(self._entries):
                    activation = self._frozen[index](activation)
        scalars: dict[str, Tensor] = {}
        for block in self._blocks:
            scalars |= block.forward(batch.labels)
        self._chain.probe = batch
        with self._workload.stopwatch.span("update"):
            scalars |= self._rounds.step()
        if self._rounds.at_border:
            self._share()
        loss = scalars[f"block/{self._blocks[-1].index}/loss"] if self.owner else None
        return StepResult(loss, scalars)

    def finish(self) -> None:
        if not self._rounds.at_border:
            self._rounds.close()
            self._share()

    def load_state_dict(self, state: dict[str, object]) -> None:
        super().load_state_dict(state)
        self._share()

    @torch.no_grad()
    def _share(self) -> None:
        """Every owner's live blocks become those of every worker's frozen network. Collective."""
        for worker, layers in enumerate(self._placement):
            mine = worker == self._workload.ranks.rank
            held = [_tensors(self._frozen[index]) for index in layers]
            live = [_tensors(self._workload.network.layers[index]) for index in layers]
            source = [tensor for layer in (live if mine else held) for tensor in layer]
            targets = [tensor for layer in held for tensor in layer]
            for dtype in sorted({tensor.dtype for tensor in source}, key=str):
                chosen = [index for index, tensor in enumerate(source) if tensor.dtype == dtype]
                with self._workload.stopwatch.exchanging():
                    message = torch.cat([source[index].flatten() for index in chosen])
                self._broadcast(message, worker)
                with self._workload.stopwatch.exchanging():
                    pieces = message.split([source[index].numel() for index in chosen])
                    for index, piece in zip(chosen, pieces, strict=True):
                        targets[index].copy_(piece.view_as(targets[index]))

    def _broadcast(self, message: Tensor, source: int) -> None:
        others = self._workload.ranks.world_size - 1
        if others == 0:
            return
        with self._workload.stopwatch.waiting():
            dist.broadcast(message, src=source)
        if source == self._workload.ranks.rank:
            self._workload.stopwatch.count_sent(message.numel() * message.element_size() * others)


def _tensors(layer: nn.Module) -> list[Tensor]:
    """Parameters and buffers, in a fixed order."""
    return [tensor.detach() for tensor in layer.state_dict(keep_vars=True).values()]
