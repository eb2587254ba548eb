"""What every layerwise engine shares: blocks on a chain of workers that together are the network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from layerpar.datasets.base import Batch
from layerpar.layerwise.block import Block
from layerpar.layerwise.chain import Chain
from layerpar.layerwise.links import Receiver, Sender
from layerpar.layerwise.rounds import Rounds
from layerpar.modes.base import Place, Workload
from layerpar.modes.gather import gather_named, gather_state
from layerpar.optimizers import Moments


class ChainEngine:
    """Evaluates, exports and checkpoints the network that the chain's blocks are.

    Args:
        workload: What to train.
        blocks: This worker's blocks.
        layers: The network's layers in those blocks.
        receiver: Activations from the worker before; None on the first.
        sender: Activations to the worker after; None on the last.
        chain: What aggregation may ask of the other workers.
        notes: What was decided before training.
    """

    def __init__(
        self,
        workload: Workload,
        blocks: list[Block],
        layers: range,
        *,
        receiver: Receiver | None,
        sender: Sender | None,
        chain: Chain,
        notes: dict[str, Any],
    ) -> None:
        self.owner = sender is None
        self.reads_images = receiver is None
        self.shard = slice(0, workload.config.batch_size)
        self.place = Place(
            _span(range(blocks[0].index, blocks[-1].index + 1)),
            _span(layers),
            sum(notes["part_loads"][block.index] for block in blocks),
        )
        self.notes = notes
        self._workload = workload
        self._blocks = blocks
        self._layers = layers
        self._receiver = receiver
        self._sender = sender
        self._chain = chain
        self._rounds = Rounds(workload.config.aggregation, blocks, chain)

    def predict(self, batch: Batch) -> Tensor | None:
        if self._receiver is not None:
            self._receiver.expect(1, len(batch.labels))
            activation = self._receiver.get()
        else:
            assert batch.images is not None
            activation = batch.images
        with self._rounds.exported(), torch.no_grad(), self._workload.autocast():
            for block in self._blocks:
                block.train(False)
                activation = block.layers(activation)
        if self._sender is None:
            return activation
        self._sender.put(activation)
        self._sender.flush()
        return None

    def full_state(self) -> dict[str, Tensor] | None:
        with self._rounds.exported():
            owned = self._workload.network.names(self._layers.start, self._layers.stop)
            return gather_state(self._workload.network, owned, owner=self._workload.ranks.world_size - 1)

    def moments(self) -> Moments | None:
        named = list(self._workload.network.plain.named_parameters())
        own = {name: held for block in self._blocks for name, held in block.moments(named).items()}
        return gather_named(own, owner=self._workload.ranks.world_size - 1)

    def set_moments(self, moments: Moments) -> None:
        named = list(self._workload.network.plain.named_parameters())
        for block in self._blocks:
            block.set_moments(named, moments)

    def state_dict(self) -> dict[str, Any]:
        blocks = {str(block.index): block.state_dict() for block in self._blocks}
        return {"blocks": blocks, "rounds": self._rounds.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for block in self._blocks:
            block.load_state_dict(state["blocks"][str(block.index)])
        self._rounds.load_state_dict(state["rounds"])

    def _train_mode(self) -> None:
        for block in self._blocks:
            block.train(True)


def _span(numbers: range) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
