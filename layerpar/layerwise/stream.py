"""Blocks trained at the same time while activations stream through them.

K blocks live on W workers, each holding consecutive ones; batch i reaches block k as block k - 1 computed it
just before its own i-th update, wherever the two are placed:

    worker 0   block 0   0 1 2 3 4 5 …
               block 1   0 1 2 3 4 5 …          (in turn with block 0)
    worker 1   block 2   . 0 1 2 3 4 …          (one batch behind, at the same time)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from layerpar.datasets.base import Batch
from layerpar.layerwise.block import Block
from layerpar.layerwise.chain import Chain
from layerpar.layerwise.links import Queue, Receiver, Sender
from layerpar.layerwise.rounds import Rounds
from layerpar.modes.base import Place, StepResult, Workload
from layerpar.modes.gather import gather_state


@dataclass
class Neighbours:
    """This worker's links to the workers before and after it; None where there is none, or nothing flows.

    Attributes:
        receiver: Activations from the worker before.
        sender: Activations to the worker after.
        gradient_receiver: Gradients from the worker after.
        gradient_sender: Gradients to the worker before.
    """

    receiver: Receiver | None = None
    sender: Sender | None = None
    gradient_receiver: Receiver | None = None
    gradient_sender: Sender | None = None

    def expect(self, steps: int, batch: int) -> None:
        """Training batches follow."""
        for receiver in (self.receiver, self.gradient_receiver):
            if receiver is not None:
                receiver.expect(steps, batch)

    def flush(self) -> None:
        """Wait until the neighbours have taken everything."""
        for sender in (self.sender, self.gradient_sender):
            if sender is not None:
                sender.flush()


class StreamEngine:
    """One worker's blocks.

    Args:
        workload: What to train.
        blocks: This worker's blocks, linked to each other and to the neighbours.
        layers: The network's layers in those blocks.
        entry: Where images go in on the first worker; None elsewhere.
        neighbours: The links to other workers.
        chain: What aggregation may ask of the other workers.
        notes: What was decided before training.
    """

    def __init__(
        self,
        workload: Workload,
        blocks: list[Block],
        layers: range,
        *,
        entry: Queue | None,
        neighbours: Neighbours,
        chain: Chain,
        notes: dict[str, Any],
    ) -> None:
        self.owner = neighbours.sender is None
        self.reads_images = entry is not None
        self.shard = slice(0, workload.config.batch_size)
        self.place = Place(_span(range(blocks[0].index, blocks[-1].index + 1)), _span(layers))
        self.notes = notes
        self._workload = workload
        self._blocks = blocks
        self._layers = layers
        self._entry = entry
        self._neighbours = neighbours
        self._chain = chain
        self._rounds = Rounds(workload.config.aggregation, blocks, chain)

    def start(self, steps: int) -> None:
        for block in self._blocks:
            block.train(True)
        self._neighbours.expect(steps, self._workload.config.batch_size)

    def step(self, batch: Batch) -> StepResult:
        if self._entry is not None:
            assert batch.images is not None
            self._entry.put(batch.images)
        scalars: dict[str, Tensor] = {}
        for block in self._blocks:
            scalars |= block.forward(batch.labels)
        for block in reversed(self._blocks):
            scalars |= block.backward()
        self._chain.probe = batch
        scalars |= self._rounds.step()
        loss = scalars[f"block/{self._blocks[-1].index}/loss"] if self.owner else None
        return StepResult(loss, scalars)

    def finish(self) -> None:
        for block in reversed(self._blocks):
            block.finish()
        self._neighbours.flush()

    def predict(self, batch: Batch) -> Tensor | None:
        receiver, sender = self._neighbours.receiver, self._neighbours.sender
        if receiver is not None:
            receiver.expect(1, len(batch.labels))
            activation = receiver.get()
        else:
            assert batch.images is not None
            activation = batch.images
        with self._rounds.exported(), torch.no_grad(), self._workload.autocast():
            for block in self._blocks:
                block.train(False)
                activation = block.layers(activation)
        if sender is None:
            return activation
        sender.put(activation)
        sender.flush()
        return None

    def full_state(self) -> dict[str, Tensor] | None:
        with self._rounds.exported():
            owned = self._workload.network.names(self._layers.start, self._layers.stop)
            return gather_state(self._workload.network, owned, owner=self._workload.ranks.world_size - 1)

    def state_dict(self) -> dict[str, Any]:
        blocks = {str(block.index): block.state_dict() for block in self._blocks}
        return {"blocks": blocks, "rounds": self._rounds.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for block in self._blocks:
            block.load_state_dict(state["blocks"][str(block.index)])
        self._rounds.load_state_dict(state["rounds"])


def _span(numbers: range) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
