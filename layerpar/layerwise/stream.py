"""Exchange `activations`: blocks trained at the same time while micro-batches stream through them.

K blocks live on W workers, each holding consecutive ones; block k takes micro-batch i as block k - 1 computed
it by its own program, which does not depend on where the two are placed:

    worker 0   block 0   0 1 2 3 4 5 …
               block 1   0 1 2 3 4 5 …          (in turn with block 0)
    worker 1   block 2   . 0 1 2 3 4 …          (one micro-batch behind, at the same time)
"""

from __future__ import annotations

from torch import Tensor

from layerpar.layerwise.engine import ChainEngine, WorkerSlice
from layerpar.transport.links import Queue


class StreamEngine(ChainEngine):
    """One worker's blocks, linked to each other and to the neighbours.

    Args:
        worker_slice: This worker's part of the network.
        entry: Where images go in on the first worker; None elsewhere.
    """

    def __init__(self, worker_slice: WorkerSlice, *, entry: Queue | None) -> None:
        super().__init__(worker_slice)
        self._entry = entry

    def _feed(self, images: Tensor | None) -> None:
        if self._entry is not None:
            assert images is not None
            self._entry.put(images)
