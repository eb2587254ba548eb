"""In what order blocks work: programs of forwards, backwards and updates, as data.

A batch is M micro-batches, which stream through the K blocks without a flush. Block k takes the gradient of
micro-batch i once D_k = link_delay · (K - 1 - k) later ones have gone forward, and updates after the last
backward of a step:

K = 3, link_delay 1 (D = 2, 1, 0), M = 2, 3 steps

block 0   F0 F1 F2 B0 F3 B1 U0 F4 B2 F5 B3 U1 B4 B5 U2
block 1   F0 F1 B0 F2 B1 U0 F3 B2 F4 B3 U1 F5 B4 B5 U2
block 2   F0 B0 F1 B1 U0 F2 B2 F3 B3 U1 F4 B4 F5 B5 U2

A worker with several blocks merges their programs tick by tick, one micro-batch a tick: forwards go down,
backwards go up. Where nothing flows back, each block finishes its micro-batch before the next one begins:

blocks 0 and 1, M = 1, 2 steps   0F0 1F0 | 0F1 1F1 1B0 1U0 | 1B1 1U1 0B0 0U0 | 0B1 0U1
… nothing flows back             0F0 0B0 0U0 1F0 1B0 1U0 | 0F1 0B1 0U1 1F1 1B1 1U1
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple


class Forward(NamedTuple):
    """Take what the block below sent of a micro-batch, give the activation to the block above."""

    microbatch: int


class Backward(NamedTuple):
    """Take what the block above sent back of a micro-batch, if anything; give a gradient to the one below."""

    microbatch: int


class Update(NamedTuple):
    """Update the block's weights from the gradients of a step."""

    step: int


Operation = Forward | Backward | Update
Tick = list[tuple[int, Operation]]
"""The operations of one tick on one worker, each with its block."""


@dataclass(frozen=True)
class Stream:
    """How micro-batches stream through the blocks of a network.

    Attributes:
        num_blocks: K.
        microbatches: M, in a step.
        link_delay: Micro-batches of delay per link between blocks; None where nothing flows back.
    """

    num_blocks: int
    microbatches: int
    link_delay: int | None

    def delay(self, block: int) -> int:
        """D_k: micro-batches that go forward through a block between forward and backward of one."""
        return (self.link_delay or 0) * (self.num_blocks - 1 - block)

    def ticks(self, blocks: range, steps: int) -> Iterator[Tick]:
        """The merged program of a worker with these consecutive blocks, over a segment of so many steps.

        The first `steps · M` ticks take one micro-batch each; the others, those in which there is something
        to do, complete what is under way.
        """
        count = steps * self.microbatches
        late = {tick for block in blocks for tick in self._late(block, count)}
        for tick in chain(range(count), sorted(late)):
            forwards = {block: self._forward(tick, count) for block in blocks}
            backwards = {block: self._backward(block, tick, count) for block in blocks}
            if self.link_delay is None:
                order = [(block, part) for block in blocks for part in (forwards, backwards)]
            else:
                order = [(block, forwards) for block in blocks]
                order += [(block, backwards) for block in reversed(blocks)]
            yield [(block, operation) for block, part in order for operation in part[block]]

    def program(self, block: int, steps: int) -> list[Operation]:
        """What one block does over a segment, wherever it is placed."""
        ticks = self.ticks(range(block, block + 1), steps)
        return [operation for tick in ticks for _, operation in tick]

    @property
    def least_queue_depth(self) -> int:
        """Messages that a sender must be able to be ahead of its receiver, or workers wait for ever.

        With less, they do where they meet at the end of a step, as some aggregations make them: block k + 1
        has then sent the gradients of link_delay micro-batches more than block k has taken. Of those the
        receiver has posted as many receives as the queue is deep, and the sender as many sends.
        """
        return max(1, -(-(self.link_delay or 0) // 2))

    def _late(self, block: int, count: int) -> range:
        """The ticks in which a block goes backward when all micro-batches have gone forward."""
        delay = self.delay(block)
        return range(max(count, delay), count + delay)

    def _forward(self, tick: int, count: int) -> list[Operation]:
        return [Forward(tick)] if tick < count else []

    def _backward(self, block: int, tick: int, count: int) -> list[Operation]:
        microbatch = tick - self.delay(block)
        if not 0 <= microbatch < count:
            return []
        step, position = divmod(microbatch, self.microbatches)
        is_last = position == self.microbatches - 1
        return [Backward(microbatch), Update(step)] if is_last else [Backward(microbatch)]


def picture(program: list[Operation]) -> str:
    """A program in a line.

    >>> picture(Stream(2, microbatches=2, link_delay=1).program(0, steps=1))
    'F0 F1 B0 B1 U0'
    """
    return " ".join(f"{type(operation).__name__[0]}{operation[0]}" for operation in program)
