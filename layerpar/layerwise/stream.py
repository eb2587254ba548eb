"""Exchange `activations`: blocks trained at the same time while batches stream through them.

K blocks live on W workers, each holding consecutive ones; batch i reaches block k as block k - 1 computed it
just before its own i-th update, wherever the two are placed:

    worker 0   block 0   0 1 2 3 4 5 …
               block 1   0 1 2 3 4 5 …          (in turn with block 0)
    worker 1   block 2   . 0 1 2 3 4 …          (one batch behind, at the same time)
"""

from __future__ import annotations

from torch import Tensor

from layerpar.datasets.base import Batch
from layerpar.engine.contract import StepResult
from layerpar.layerwise.engine import ChainEngine, WorkerSlice
from layerpar.transport.links import Queue, Receiver, Sender


class StreamEngine(ChainEngine):
    """One worker's blocks, linked to each other and to the neighbours.

    Args:
        worker_slice: This worker's part of the network.
        entry: Where images go in on the first worker; None elsewhere.
        gradient_receiver: Gradients from the worker after; None where nothing flows back.
        gradient_sender: Gradients to the worker before; None where nothing flows back.
    """

    def __init__(
        self,
        worker_slice: WorkerSlice,
        *,
        entry: Queue | None,
        gradient_receiver: Receiver | None,
        gradient_sender: Sender | None,
    ) -> None:
        super().__init__(worker_slice)
        self._entry = entry
        self._receivers = [link for link in (worker_slice.receiver, gradient_receiver) if link is not None]
        self._senders = [link for link in (worker_slice.sender, gradient_sender) if link is not None]

    def start(self, steps: int) -> None:
        super().start(steps)
        for receiver in self._receivers:
            receiver.expect(steps, self._workload.config.replica_batch_size)

    def step(self, batch: Batch) -> StepResult:
        if self._entry is not None:
            assert batch.images is not None
            self._entry.put(batch.images)
        scalars: dict[str, Tensor] = {}
        for block in self._blocks:
            scalars |= block.forward(batch.labels)
        for block in reversed(self._blocks):
            scalars |= block.backward()
        scalars |= self._aggregate(batch)
        return StepResult(self._loss(scalars), scalars)

    def finish(self) -> None:
        for sender in self._senders:
            sender.flush()
        super().finish()
