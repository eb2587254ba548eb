"""The programs of `Stream`, with durations and messages: what each worker of a layerwise chain does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layerpar.layerwise.schedule import Backward, Forward, Stream
from layerpar.predict.simulate import Channel, Task


@dataclass(frozen=True)
class BlockSeconds:
    """How long a block's operations take; forward and backward of one micro-batch.

    Attributes:
        forward: Of a micro-batch.
        backward: Of a micro-batch.
        update: Of a step.
        exchange: What an update waits for, to average gradients over replicas.
    """

    forward: float
    backward: float
    update: float
    exchange: float = 0.0


@dataclass(frozen=True)
class Crossing:
    """A message that crosses the boundary after a worker, once per micro-batch.

    Attributes:
        is_down: From forward to forward; else from backward to backward, up.
        num_bytes: Of a micro-batch.
    """

    is_down: bool
    num_bytes: float


def stream_tasks(
    stream: Stream,
    placement: Sequence[range],
    seconds: Sequence[BlockSeconds],
    crossings: Sequence[Sequence[Crossing]],
    *,
    steps: int,
    queue_depth: int,
) -> tuple[list[list[Task]], list[Channel]]:
    """The programs of a chain of workers, and the channels between them.

    Args:
        stream: How micro-batches stream.
        placement: The blocks of each worker.
        seconds: Of each block.
        crossings: What crosses after each worker but the last.
        steps: Of the segment.
        queue_depth: Messages that may be under way, and receives that wait for more.
    """
    channels: list[Channel] = []
    down: list[tuple[int, ...]] = []
    up: list[tuple[int, ...]] = []
    for worker, messages in enumerate(crossings):
        first = len(channels)
        for message in messages:
            sender, receiver = (worker, worker + 1) if message.is_down else (worker + 1, worker)
            channels.append(Channel(message.num_bytes, sender, receiver, queue_depth, queue_depth))
        numbered = list(enumerate(messages, start=first))
        down.append(tuple(index for index, message in numbered if message.is_down))
        up.append(tuple(index for index, message in numbered if not message.is_down))
    programs = [
        _program(
            stream,
            blocks,
            seconds,
            (_at(down, worker - 1), _at(down, worker)),
            (_at(up, worker), _at(up, worker - 1)),
            steps,
        )
        for worker, blocks in enumerate(placement)
    ]
    return programs, channels


def _program(
    stream: Stream,
    blocks: range,
    seconds: Sequence[BlockSeconds],
    down: tuple[tuple[int, ...], tuple[int, ...]],
    up: tuple[tuple[int, ...], tuple[int, ...]],
    steps: int,
) -> list[Task]:
    """One worker's; `down` and `up` are the channels it receives from and sends to."""
    tasks: list[Task] = []
    lowest, highest = blocks[0], blocks[-1]
    for tick in stream.ticks(blocks, steps):
        for block, operation in tick:
            own = seconds[block]
            if isinstance(operation, Forward):
                receives = down[0] if block == lowest else ()
                task = Task(own.forward, receives, down[1] if block == highest else ())
            elif isinstance(operation, Backward):
                receives = up[0] if block == highest else ()
                task = Task(own.backward, receives, up[1] if block == lowest else ())
            else:
                # The last of the worker's blocks to update ends its step.
                ends = block == (highest if stream.link_delay is None else lowest)
                task = Task(own.update, blocked=own.exchange, ends_step=ends)
            tasks.append(task)
    return tasks


def _at(channels: list[tuple[int, ...]], boundary: int) -> tuple[int, ...]:
    return channels[boundary] if 0 <= boundary < len(channels) else ()
