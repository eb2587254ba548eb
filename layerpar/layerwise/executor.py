"""Carries out the program of one worker's blocks, and the messages between them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from torch import Tensor

from layerpar.layerwise.schedule import Backward, Forward, Tick, Update
from layerpar.measure.stopwatch import Stopwatch
from layerpar.objectives.block import Block, Messages
from layerpar.transport.links import Receiver, Sender, Sink, Source


@dataclass
class Links:
    """The ends of the links of one block, by the names of their messages; none where there is no neighbour.

    Attributes:
        from_below: Give what a forward takes.
        to_above: Take what a forward gives.
        from_above: Give what a backward takes.
        to_below: Take what a backward gives.
    """

    from_below: dict[str, Source] = field(default_factory=dict)
    to_above: dict[str, Sink] = field(default_factory=dict)
    from_above: dict[str, Source] = field(default_factory=dict)
    to_below: dict[str, Sink] = field(default_factory=dict)

    def all(self) -> list[Source | Sink]:
        """Every end."""
        sources = [*self.from_below.values(), *self.from_above.values()]
        return [*sources, *self.to_above.values(), *self.to_below.values()]


class Executor:
    """Interprets ticks of a `Stream` on this worker's blocks.

    Links decide where a message goes: with queues only, all blocks take turns in one worker, the reference;
    with senders and receivers the same program runs between processes.

    Args:
        blocks: By index.
        links: By index.
        microbatches: M.
        stopwatch: Where the timeline is recorded.
    """

    def __init__(
        self,
        blocks: Mapping[int, Block],
        links: Mapping[int, Links],
        *,
        microbatches: int,
        stopwatch: Stopwatch,
    ) -> None:
        self._blocks = blocks
        self._links = links
        self._microbatches = microbatches
        self._stopwatch = stopwatch
        self._step = 0
        ends = [end for own in links.values() for end in own.all()]
        self._receivers = [end for end in ends if isinstance(end, Receiver)]
        self._senders = [end for end in ends if isinstance(end, Sender)]

    def expect(self, microbatches: int, samples: int) -> None:
        """A segment of so many micro-batches of so many samples begins."""
        for receiver in self._receivers:
            receiver.expect(microbatches, samples)

    def flush(self) -> None:
        """Wait until the neighbours have taken everything."""
        for sender in self._senders:
            sender.flush()

    def run(self, tick: Tick, labels: Tensor) -> dict[str, Tensor]:
        """Carry out one tick, in order.

        Args:
            tick: Its operations.
            labels: (samples,), of the micro-batch that goes forward, if one does.

        Returns:
            The training loss of every block that updated and knows it, as `block/INDEX/loss`.
        """
        scalars: dict[str, Tensor] = {}
        for index, operation in tick:
            block, links = self._blocks[index], self._links[index]
            if isinstance(operation, Forward):
                self._step = operation.microbatch // self._microbatches
                incoming = _taken(links.from_below)
                with self._span("forward", index, operation.microbatch):
                    outgoing = block.forward(incoming, labels)
                _give(links.to_above, outgoing)
            elif isinstance(operation, Backward):
                incoming = _taken(links.from_above)
                with self._span("backward", index, operation.microbatch):
                    outgoing = block.backward(incoming)
                _give(links.to_below, outgoing)
            else:
                assert isinstance(operation, Update)
                with self._stopwatch.span("update", late=self._step - operation.step, block=index):
                    loss = block.update()
                if loss is not None:
                    scalars[f"block/{index}/loss"] = loss
        return scalars

    def _span(self, kind: str, block: int, microbatch: int) -> AbstractContextManager[None]:
        step, position = divmod(microbatch, self._microbatches)
        where = {"microbatch": position} if self._microbatches > 1 else {}
        return self._stopwatch.span(kind, late=self._step - step, block=block, **where)


def _taken(sources: Mapping[str, Source]) -> Messages:
    return {name: source.get() for name, source in sources.items()}


def _give(sinks: Mapping[str, Sink], messages: Messages) -> None:
    for name, sink in sinks.items():
        sink.put(messages[name])
