"""What every layerwise engine shares: blocks on a chain of workers that together are the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from layerpar.aggregation.aggregator import Aggregator
from layerpar.datasets.base import Batch
from layerpar.engine.contract import Assignment, StepResult, Workload
from layerpar.engine.gather import gather_named, gather_state
from layerpar.layerwise.aggregation_context import AggregationContext
from layerpar.layerwise.executor import Executor
from layerpar.layerwise.schedule import Stream, Tick
from layerpar.objectives.block import Block
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
        stream: How micro-batches stream through all blocks.
        executor: Carries out the program of this worker's.
        receiver: Activations from the worker before, for predictions; None on the first.
        sender: Activations to the worker after, for predictions; None on the last.
        context: What aggregation may ask of the other workers.
        decisions: What was decided before training.
    """

    workload: Workload
    grid: Grid
    blocks: list[Block]
    layers: range
    stream: Stream
    executor: Executor
    receiver: Receiver | None
    sender: Sender | None
    context: AggregationContext
    decisions: dict[str, Any]


class ChainEngine(ABC):
    """Trains, evaluates, exports and checkpoints the network that the blocks of a chain of workers are.

    A round has `aggregation.every` steps, or ends with its segment, when each block has seen every batch.
    So between segments all replicas have the same weights. Their BatchNorm statistics become the mean over
    the replicas at the end of a segment: being moving means, they are then what they would be had they
    been averaged after each step.
    """

    def __init__(self, worker_slice: WorkerSlice) -> None:
        grid, workload = worker_slice.grid, worker_slice.workload
        self.owner = grid.rank == grid.owner
        self.reads_images = worker_slice.receiver is None
        size = workload.replica_batch_size
        self.shard = slice(grid.replica * size, (grid.replica + 1) * size)
        blocks = worker_slice.blocks
        self._own = range(blocks[0].index, blocks[-1].index + 1)
        self.assignment = Assignment(
            _span(self._own),
            _span(worker_slice.layers),
            worker_slice.decisions["predicted_loads"][grid.position],
        )
        self.decisions = worker_slice.decisions
        self._workload = workload
        self._grid = grid
        self._blocks = blocks
        self._layers = worker_slice.layers
        self._stream = worker_slice.stream
        self._executor = worker_slice.executor
        self._receiver = worker_slice.receiver
        self._sender = worker_slice.sender
        self._context = worker_slice.context
        self._aggregator = Aggregator(workload.config.aggregation, blocks, worker_slice.context)
        self._steps_left = 0
        self._ticks: Iterator[Tick] = iter(())

    @abstractmethod
    def _feed(self, images: Tensor | None) -> None:
        """Give this worker's blocks what they take of a micro-batch, besides what the neighbours send."""

    def start(self, steps: int) -> None:
        self._steps_left = steps
        self._ticks = self._stream.ticks(self._own, steps)
        microbatches = self._stream.microbatches
        size = self._workload.replica_batch_size // microbatches
        self._executor.expect(steps * microbatches, size)
        for block in self._blocks:
            block.train(True)

    def step(self, batch: Batch) -> StepResult:
        scalars: dict[str, Tensor] = {}
        for part in batch.split(self._stream.microbatches):
            self._feed(part.images)
            scalars |= self._executor.run(next(self._ticks), part.labels)
        self._steps_left -= 1
        is_last = self._steps_left == 0
        if is_last:
            for tick in self._ticks:
                scalars |= self._executor.run(tick, batch.labels)
        self._context.probe = batch
        with self._workload.stopwatch.span("update"):
            scalars |= self._aggregator.close() if is_last else self._aggregator.step()
        return StepResult(self._loss(scalars), scalars)

    def finish(self) -> None:
        self._executor.flush()
        self._grid.replicas.average([tensor for block in self._blocks for tensor in block.statistics()])

    def predict(self, batch: Batch) -> Tensor | None:
        if self._grid.replica > 0:
            return None
        if self._receiver is not None:
            self._receiver.expect(1, len(batch.labels))
            activation = self._receiver.get()
        else:
            assert batch.images is not None
            activation = batch.images
        with self._aggregator.exported(), torch.no_grad(), self._workload.autocast():
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
        with self._aggregator.exported():
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
        return {"blocks": blocks, "aggregator": self._aggregator.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for block in self._blocks:
            block.load_state_dict(state["blocks"][str(block.index)])
        self._aggregator.load_state_dict(state["aggregator"])

    def _loss(self, scalars: dict[str, Tensor]) -> Tensor | None:
        """Of what the blocks tell of a step the network's loss, where this worker has the classifier."""
        return scalars[f"block/{self._blocks[-1].index}/loss"] if self._sender is None else None


def _span(numbers: range) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
