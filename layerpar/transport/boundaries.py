"""The links that cross the two borders of a worker's layers."""

from __future__ import annotations

import torch

from layerpar.architectures.base import activations
from layerpar.engine.contract import Workload
from layerpar.transport.grid import Grid
from layerpar.transport.links import GRADIENTS, PROBES, Receiver, Sender, Wire


class Borders:
    """Makes the links that cross the two borders of this worker's layers.

    Args:
        workload: What to train.
        grid: Where this worker stands.
        layers: The network's layers that this worker trains.
        depth: Messages that a sender may be ahead of its receiver.

    Attributes:
        layers: As given.
        outputs: What each of the network's layers puts out for two blank images.
    """

    def __init__(self, workload: Workload, grid: Grid, layers: range, *, depth: int) -> None:
        self.layers = layers
        with workload.autocast():
            self.outputs = activations(workload.network, workload.info.input_shape)
        self._workload = workload
        self._grid = grid
        self._depth = depth

    def downstream(self, tag: int) -> tuple[Receiver | None, Sender | None]:
        """From the worker before, and to the worker after; None where there is none."""
        return self._receiver(self._grid.previous, tag), self._sender(self._grid.next, tag)

    def upstream(self) -> tuple[Receiver | None, Sender | None]:
        """Gradients from the worker after, and to the worker before; None where there is none."""
        return self._receiver(self._grid.next, GRADIENTS), self._sender(self._grid.previous, GRADIENTS)

    def _receiver(self, peer: int | None, tag: int) -> Receiver | None:
        if peer is None:
            return None
        device, stopwatch = self._workload.device, self._workload.stopwatch
        return Receiver(peer, self._wire(peer, tag), depth=self._depth, device=device, stopwatch=stopwatch)

    def _sender(self, peer: int | None, tag: int) -> Sender | None:
        if peer is None:
            return None
        return Sender(peer, self._wire(peer, tag), depth=self._depth, stopwatch=self._workload.stopwatch)

    def _wire(self, peer: int, tag: int) -> Wire:
        border = self.layers.start if peer == self._grid.previous else self.layers.stop
        output = self.outputs[border - 1]
        return Wire(
            shape=tuple(output.shape[1:]),
            dtype=torch.float32 if tag == PROBES else output.dtype,
            channels_last=self._workload.config.architecture.channels_last,
            via_host=self._workload.ranks.via_host,
            tag=tag,
        )
