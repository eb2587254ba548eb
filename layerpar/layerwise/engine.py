"""What every layerwise engine shares: blocks on a chain of workers that together are the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from layerpar.aggregation.aggregator import Aggregator
from layerpar.datasets.base import Batch
from layerpar.engine.contract import Assignment, Workload
from layerpar.engine.gather import gather_named, gather_state
from layerpar.layerwise.aggregation_context import AggregationContext
from layerpar.objectives.base import Block
from layerpar.optimizers import OptimizerState
from layerpar.transport.grid import Grid
from layerpar.transport.links import Receiver, Sender


@dataclass(frozen=True)
class WorkerSlice:
    """The part of the network that one worker of a chain trains.

    Attributes:
        workload: What to train.
        grid: Where this worker stands.
        blocks: Its blocks.
        layers: The network's layers in those blocks.
        receiver: Activations from the worker before; None on the first.
        sender: Activations to the worker after; None on the last.
        chain: What aggregation may ask of the other workers.
        decisions: What was decided before training.
    """

    workload: Workload
    grid: Grid
    blocks: list[Block]
    layers: range
    receiver: Receiver | None
    sender: Sender | None
    chain: AggregationContext
    decisions: dict[str, Any]


class ChainEngine:
    """Evaluates, exports and checkpoints the network that the chain's blocks are.

    A round has `aggregation.every` steps, or ends with its segment, when each block has seen every batch.
    So between segments all replicas have the same weights. Their BatchNorm statistics become the mean over
    the replicas at the end of a segment: being moving means, they are then what they would be had they
    been averaged after each step.
    """

    def __init__(self, worker_slice: WorkerSlice) -> None:
        grid, config = worker_slice.grid, worker_slice.workload.config
        self.owner = grid.rank == grid.owner
        self.reads_images = worker_slice.receiver is None
        first = grid.replica * config.replica_batch_size
        self.shard = slice(first, first + config.replica_batch_size)
        blocks = worker_slice.blocks
        self.assignment = Assignment(
            _span(range(blocks[0].index, blocks[-1].index + 1)),
            _span(worker_slice.layers),
            sum(worker_slice.decisions["part_loads"][block.index] for block in blocks),
        )
        self.decisions = worker_slice.decisions
        self._workload = worker_slice.workload
        self._grid = grid
        self._blocks = blocks
        self._layers = worker_slice.layers
        self._receiver = worker_slice.receiver
        self._sender = worker_slice.sender
        self._chain = worker_slice.chain
        self._rounds = Aggregator(config.aggregation, blocks, worker_slice.chain)
        self._steps_left = 0

    def start(self, steps: int) -> None:
        self._steps_left = steps
        for block in self._blocks:
            block.train(True)

    def finish(self) -> None:
        self._grid.peers.average([tensor for block in self._blocks for tensor in block.statistics()])

    def predict(self, batch: Batch) -> Tensor | None:
        if self._grid.replica > 0:
            return None
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
        network, layers = self._workload.network, self._layers
        with self._rounds.exported():
            owned = network.names(layers.start, layers.stop) if self._grid.replica == 0 else {}
            return gather_state(network, owned, owner=self._grid.owner)

    def optimizer_state(self) -> OptimizerState | None:
        named = list(self._workload.network.plain.named_parameters())
        blocks = self._blocks if self._grid.replica == 0 else []
        own = {name: held for block in blocks for name, held in block.optimizer_state(named).items()}
        return gather_named(own, owner=self._grid.owner)

    def set_optimizer_state(self, moments: OptimizerState) -> None:
        named = list(self._workload.network.plain.named_parameters())
        for block in self._blocks:
            block.set_optimizer_state(named, moments)

    def state_dict(self) -> dict[str, Any]:
        blocks = {str(block.index): block.state_dict() for block in self._blocks}
        return {"blocks": blocks, "rounds": self._rounds.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for block in self._blocks:
            block.load_state_dict(state["blocks"][str(block.index)])
        self._rounds.load_state_dict(state["rounds"])

    def _aggregate(self, batch: Batch) -> dict[str, Tensor]:
        """A step on this batch is done: aggregate if it ends a round. Collective. Returns scalars to log."""
        self._chain.probe = batch
        self._steps_left -= 1
        is_last = self._steps_left == 0
        if is_last:
            for block in reversed(self._blocks):
                block.finish()
        with self._workload.stopwatch.span("update"):
            return self._rounds.close() if is_last else self._rounds.step()

    def _loss(self, scalars: dict[str, Tensor]) -> Tensor | None:
        """Of what the blocks tell of a step the network's loss, where this worker has the classifier."""
        return scalars[f"block/{self._blocks[-1].index}/loss"] if self._sender is None else None


def _span(numbers: range) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
