"""Discrete events: workers that carry out programs, and the messages between them.

A task starts when its worker is free and its messages are there, and hands over messages when it ends:

worker 0   F0 F1 ·· B0 F2 …        F0: takes nothing, gives F0 to worker 1
              |    |               a message goes when it was handed over, its sender knows that the
worker 1   ··  F0 B0 F1 …          receive is posted, and the wire has carried those before it
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from layerpar.predict.links import Link


class Channel(NamedTuple):
    """Messages of one kind from one worker to another, in order.

    Attributes:
        num_bytes: Of each message.
        wire: Messages of channels with the same wire go one after the other.
        back: The wire on which the sender hears that a receive is posted, behind the messages before it.
        depth: Messages that may be under way when another is handed over; None for any number.
        ahead: Receives that are posted ahead of the one that is waited for; None where tasks post them.
    """

    num_bytes: float
    wire: int
    back: int
    depth: int | None
    ahead: int | None


class Task(NamedTuple):
    """What a worker does in one go.

    Attributes:
        seconds: Of computing.
        receives: Channels of which it takes a message each before it starts.
        sends: Channels to which it gives a message each when it ends.
        blocked: Seconds after computing, before it sends, in which the worker waits for a collective.
        ends_step: Whether the worker has then done a step.
        posts: Channels of which it posts a receive each when it starts.
    """

    seconds: float
    receives: tuple[int, ...] = ()
    sends: tuple[int, ...] = ()
    blocked: float = 0.0
    ends_step: bool = False
    posts: tuple[int, ...] = ()


@dataclass
class WorkerTimes:
    """What became of a worker.

    Attributes:
        busy: Seconds of computing, and of what its core copies of messages while it does not wait.
        waiting: Seconds blocked on messages and collectives, before its last task ended.
        steps: When each of its steps ended.
        end: When its last task ended and its last messages were handed over.
    """

    busy: float = 0.0
    waiting: float = 0.0
    steps: list[float] = field(default_factory=list)
    end: float = 0.0


class DeadlockError(Exception):
    """Workers that wait for each other for ever: our bug, since a mode's check refuses such programs."""


def simulate(
    programs: Sequence[Sequence[Task]], channels: Sequence[Channel], link: Link
) -> list[WorkerTimes]:
    """Carry out all programs; what became of each worker.

    Args:
        programs: Of each worker.
        channels: That the tasks name by index.
        link: What every wire is like.

    Raises:
        DeadlockError: some program never ends.
    """
    return _Simulation(channels, link).run(programs)


@dataclass
class _Traffic:
    """A channel's messages so far: when each was handed over, its sender knew that the receive was posted, it
    had left and arrived."""

    channel: Channel
    handed: list[float] = field(default_factory=list)
    posted: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    taken: int = 0
    ready: int = 0
    sleepers: list[int] = field(default_factory=list)


class _Simulation:
    def __init__(self, channels: Sequence[Channel], link: Link) -> None:
        self._link = link
        self._traffic = [_Traffic(channel, posted=[0.0] * (channel.ahead or 0)) for channel in channels]
        self._wires: dict[int, float] = {}
        self._events: list[tuple[float, bool, int, int]] = []
        self._count = 0

    def run(self, programs: Sequence[Sequence[Task]]) -> list[WorkerTimes]:
        times = [WorkerTimes() for _ in programs]
        workers = [self._work(own, program) for own, program in zip(times, programs, strict=True)]
        running = set(range(len(workers)))
        for worker in range(len(workers)):
            self._advance(worker, workers, running)
        while self._events:
            when, is_word, _, index = heappop(self._events)
            if is_word:
                self._tell(when, index)
            else:
                for worker in self._transfer(when, self._traffic[index]):
                    self._advance(worker, workers, running)
        if running:
            raise DeadlockError(f"workers {sorted(running)} wait for ever")
        return times

    def _advance(self, worker: int, workers: list[Iterator[_Traffic]], running: set[int]) -> None:
        """Let a worker go on until it must wait for a channel's next transfer."""
        traffic = next(workers[worker], None)
        if traffic is None:
            running.discard(worker)
        else:
            traffic.sleepers.append(worker)

    def _work(self, own: WorkerTimes, program: Sequence[Task]) -> Iterator[_Traffic]:
        """One worker; gives the channel whose next transfer it must wait for."""
        now = copying = 0.0
        for task in program:
            start = now
            for index in task.posts:
                self._expect(now, index, is_word=True)
            for index in task.receives:
                traffic = self._traffic[index]
                number = traffic.taken
                traffic.taken += 1
                if traffic.channel.ahead is not None:
                    self._expect(now, index, is_word=True)
                while len(traffic.arrived) <= number:
                    yield traffic
                copying += self._copying(index)
                now = max(now, traffic.arrived[number])
            copying = max(0.0, copying - (now - start))
            computing = task.seconds
            if task.seconds > 0:  # else the next that computes is held up
                computing, copying = computing + copying, 0.0
            own.waiting += now - start + task.blocked
            own.busy += computing
            now += computing + task.blocked
            for index in task.sends:
                traffic = self._traffic[index]
                depth = traffic.channel.depth
                number = -1 if depth is None else len(traffic.handed) - depth
                if number >= 0:
                    while len(traffic.left) <= number:
                        yield traffic
                    waited = max(0.0, traffic.left[number] - now)
                    copying = max(0.0, copying - waited)
                    own.waiting += waited
                    now += waited
                traffic.handed.append(now)
                copying += self._copying(index)
                self._prepare(index, traffic)
            if task.ends_step:
                own.steps.append(now)
        own.end = now

    def _copying(self, index: int) -> float:
        """Seconds that a core copies a message, while its worker waits or else before it computes."""
        return self._link.core_seconds * self._traffic[index].channel.num_bytes

    def _prepare(self, index: int, traffic: _Traffic) -> None:
        """Note when messages can go that are now both handed over and wanted."""
        while traffic.ready < min(len(traffic.handed), len(traffic.posted)):
            when = max(traffic.handed[traffic.ready], traffic.posted[traffic.ready])
            traffic.ready += 1
            self._expect(when, index, is_word=False)

    def _expect(self, when: float, index: int, *, is_word: bool) -> None:
        """An event of a channel: a message can go, or a receive was posted, of which word must go.

        At the same time the message is first, since a worker sends before it asks for more.
        """
        self._count += 1
        heappush(self._events, (when, is_word, self._count, index))

    def _tell(self, when: float, index: int) -> None:
        """Let a channel's sender know that a receive was posted."""
        traffic = self._traffic[index]
        traffic.posted.append(max(when, self._wires.get(traffic.channel.back, 0.0)))
        self._prepare(index, traffic)

    def _transfer(self, when: float, traffic: _Traffic) -> list[int]:
        """Send the channel's next message; the workers that waited for it."""
        wire = traffic.channel.wire
        left = max(when, self._wires.get(wire, 0.0)) + traffic.channel.num_bytes / self._link.bandwidth
        self._wires[wire] = left
        traffic.left.append(left)
        traffic.arrived.append(left + self._link.latency)
        sleepers, traffic.sleepers = traffic.sleepers, []
        return sleepers
