"""The links of one worker's blocks: queues among themselves, wires across the worker's two boundaries.

worker 0                 worker 1                      worker 2
block 0 ─ queue ─ block 1 ~~~ wire ~~~ block 2 ~~~ wire ~~~ block 3
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.distributed as dist
from torch import Tensor

from layerpar.engine.contract import Workload
from layerpar.errors import require
from layerpar.layerwise.executor import Links
from layerpar.objectives.block import ACTIVATION, Message
from layerpar.transport.grid import Grid
from layerpar.transport.links import Queue, Receiver, Sender, Wire, connect

PROBE = "probe"
"""The message with which an aggregation rule computes the loss: an activation in full precision."""

Crossing = tuple[Receiver | None, Sender | None]
"""Where a worker takes a message from and gives it to; None where there is no neighbour."""


class Boundaries:
    """Makes the links of this worker. Collective: every worker makes a process group per kind of message.

    Args:
        workload: What to train.
        grid: Where this worker stands.
        outputs: What each block of the network puts out for some blank samples.
        blocks: This worker's, consecutive.
        queue_depth: Messages that may be under way, and receives that wait for more.

    Raises:
        UserError: the objective sends something up, but does not say when it is taken.
    """

    def __init__(
        self, workload: Workload, grid: Grid, outputs: Sequence[Tensor], blocks: range, *, queue_depth: int
    ) -> None:
        self._workload = workload
        self._grid = grid
        self._outputs = outputs
        self._blocks = blocks
        self._depth = queue_depth
        self._check_delay()
        timeout = workload.ranks.timeout
        names = self._messages(0) if grid.chain_length > 1 else ()
        self._groups = {name: dist.new_group(timeout=timeout) for name in names}
        self.cross = cache(self._cross)
        for name, group in self._groups.items():
            ends = (grid.previous, grid.next)
            device = torch.device("cpu") if workload.ranks.via_host else workload.device
            source, target = ends if self._messages(0)[name].direction == "down" else ends[::-1]
            connect(source, target, group=group, device=device)

    def links(self) -> dict[int, Links]:
        """The links of this worker's blocks, by index; from below the network's first block has none."""
        links = {index: Links() for index in self._blocks}
        for below in self._blocks[:-1]:
            for message in self._streamed(below):
                queue = Queue()
                if message.direction == "down":
                    links[below].to_above[message.name] = links[below + 1].from_below[message.name] = queue
                else:
                    links[below + 1].to_below[message.name] = links[below].from_above[message.name] = queue
        first, last = links[self._blocks[0]], links[self._blocks[-1]]
        for message in self._streamed(0):
            down = message.direction == "down"
            receiver, sender = self.cross(message.name)
            if receiver is not None:
                (first.from_below if down else last.from_above)[message.name] = receiver
            if sender is not None:
                (last.to_above if down else first.to_below)[message.name] = sender
        return links

    def _check_delay(self) -> None:
        objective = self._workload.config.objective
        rising = [message.name for message in self._streamed(0) if message.direction == "up"]
        require(
            not rising or objective.delay_per_link is not None,
            f"objective={objective.name} sends {', '.join(rising)} up, but its delay_per_link is None, so "
            "nothing flows back; try a number of micro-batches",
        )

    def _cross(self, name: str) -> Crossing:
        """The two ends of a message on this worker, the same at every call."""
        below, above = self._grid.previous, self._grid.next
        at_below, at_above = self._blocks[0] - 1, self._blocks[-1]
        if self._messages(0)[name].direction == "down":
            return self._receiver(below, at_below, name), self._sender(above, at_above, name)
        return self._receiver(above, at_above, name), self._sender(below, at_below, name)

    def _receiver(self, peer: int | None, boundary: int, name: str) -> Receiver | None:
        if peer is None:
            return None
        return Receiver(
            peer,
            self._wire(boundary, name),
            group=self._groups[name],
            depth=self._depth,
            device=self._workload.device,
            stopwatch=self._workload.stopwatch,
        )

    def _sender(self, peer: int | None, boundary: int, name: str) -> Sender | None:
        if peer is None:
            return None
        return Sender(
            peer,
            self._wire(boundary, name),
            group=self._groups[name],
            depth=self._depth,
            stopwatch=self._workload.stopwatch,
        )

    def _streamed(self, boundary: int) -> list[Message]:
        """What the objective sends across the boundary after a block."""
        return self._workload.config.objective.messages(
            self._outputs[boundary], num_classes=self._workload.info.num_classes
        )

    def _messages(self, boundary: int) -> dict[str, Message]:
        """Everything that crosses the boundary after a block, by name."""
        streamed = {message.name: message for message in self._streamed(boundary)}
        return streamed | {PROBE: Message(PROBE, "down", streamed[ACTIVATION].shape, torch.float32)}

    def _wire(self, boundary: int, name: str) -> Wire:
        message = self._messages(boundary)[name]
        return Wire(
            shape=message.shape,
            dtype=message.dtype,
            channels_last=self._workload.config.architecture.channels_last,
            via_host=self._workload.ranks.via_host,
        )
