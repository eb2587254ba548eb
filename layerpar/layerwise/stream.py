"""Blocks trained at the same time while activations stream through them.

K blocks live on W workers, each holding consecutive ones; batch i reaches block k as block k - 1 computed it
just before its own i-th update, wherever the two are placed:

    worker 0   block 0   0 1 2 3 4 5 …
               block 1   0 1 2 3 4 5 …          (in turn with block 0)
    worker 1   block 2   . 0 1 2 3 4 …          (one batch behind, at the same time)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from layerpar.datasets.base import Batch
from layerpar.layerwise.block import LocalBlock
from layerpar.layerwise.links import Queue, Receiver, Sender
from layerpar.modes.base import Place, StepResult, Workload


class StreamEngine:
    """One worker's blocks.

    Args:
        workload: What to train.
        blocks: This worker's blocks, linked to each other.
        layers: The network's layers in those blocks.
        entry: Where images go in on the first worker; None elsewhere.
        receiver: Activations from the worker before; None on the first.
        sender: Activations to the worker after; None on the last.
        notes: What was decided before training.
    """

    def __init__(
        self,
        workload: Workload,
        blocks: list[LocalBlock],
        layers: range,
        *,
        entry: Queue | None,
        receiver: Receiver | None,
        sender: Sender | None,
        notes: dict[str, Any],
    ) -> None:
        self.owner = sender is None
        self.reads_images = receiver is None
        self.shard = slice(0, workload.config.batch_size)
        self.place = Place(_span(range(blocks[0].index, blocks[-1].index + 1)), _span(layers))
        self.notes = notes
        self._workload = workload
        self._blocks = blocks
        self._layers = layers
        self._entry = entry
        self._receiver = receiver
        self._sender = sender

    def start(self, steps: int) -> None:
        for block in self._blocks:
            block.train(True)
        if self._receiver is not None:
            self._receiver.expect(steps, self._workload.config.batch_size)

    def step(self, batch: Batch) -> StepResult:
        if self._entry is not None:
            assert batch.images is not None
            self._entry.put(batch.images)
        scalars: dict[str, Tensor] = {}
        for block in self._blocks:
            loss, logged = block.step(batch.labels)
            scalars |= logged
        return StepResult(loss if self.owner else None, scalars)

    def finish(self) -> None:
        if self._sender is not None:
            self._sender.flush()

    def predict(self, batch: Batch) -> Tensor | None:
        if self._receiver is not None:
            self._receiver.expect(1, len(batch.labels))
            activation = self._receiver.get()
        else:
            assert batch.images is not None
            activation = batch.images
        with torch.no_grad(), self._workload.autocast():
            for block in self._blocks:
                block.train(False)
                activation = block.layers(activation)
        if self._sender is None:
            return activation
        self._sender.put(activation)
        self._sender.flush()
        return None

    def full_state(self) -> dict[str, Tensor] | None:
        owned = self._workload.network.names(self._layers.start, self._layers.stop)
        state = {name: tensor.detach().cpu() for name, tensor in owned.items()}
        size = dist.get_world_size()
        parts: list[Any] | None = [None] * size if self.owner else None
        dist.gather_object(state, parts, dst=size - 1)
        if parts is None:
            return None
        whole = {name: tensor for part in parts for name, tensor in part.items()}
        return {name: whole[name].clone() for name in self._workload.network.plain.state_dict()}

    def state_dict(self) -> dict[str, Any]:
        return {str(block.index): block.state_dict() for block in self._blocks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for block in self._blocks:
            block.load_state_dict(state[str(block.index)])


def _span(numbers: range) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
