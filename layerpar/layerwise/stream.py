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
from layerpar.layerwise.block import Block
from layerpar.layerwise.chain import Chain
from layerpar.layerwise.engine import ChainEngine
from layerpar.layerwise.links import Queue, Receiver, Sender
from layerpar.modes.base import StepResult, Workload


class StreamEngine(ChainEngine):
    """One worker's blocks, linked to each other and to the neighbours.

    Args:
        workload: What to train.
        blocks: This worker's blocks.
        layers: The network's layers in those blocks.
        entry: Where images go in on the first worker; None elsewhere.
        receiver: Activations from the worker before; None on the first.
        sender: Activations to the worker after; None on the last.
        gradient_receiver: Gradients from the worker after; None where nothing flows back.
        gradient_sender: Gradients to the worker before; None where nothing flows back.
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
        receiver: Receiver | None,
        sender: Sender | None,
        gradient_receiver: Receiver | None,
        gradient_sender: Sender | None,
        chain: Chain,
        notes: dict[str, object],
    ) -> None:
        super().__init__(workload, blocks, layers, receiver=receiver, sender=sender, chain=chain, notes=notes)
        self._entry = entry
        self._receivers = [link for link in (receiver, gradient_receiver) if link is not None]
        self._senders = [link for link in (sender, gradient_sender) if link is not None]

    def start(self, steps: int) -> None:
        self._train_mode()
        for receiver in self._receivers:
            receiver.expect(steps, self._workload.config.batch_size)

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
        with self._workload.stopwatch.span("update"):
            scalars |= self._rounds.step()
        loss = scalars[f"block/{self._blocks[-1].index}/loss"] if self.owner else None
        return StepResult(loss, scalars)

    def finish(self) -> None:
        for block in reversed(self._blocks):
            block.finish()
        for sender in self._senders:
            sender.flush()
