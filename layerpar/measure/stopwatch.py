"""The clock of a run, and what each rank counts beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter, process_time
from typing import Any

import torch

from layerpar.measure.environment import memory_bytes
from layerpar.measure.trace import STEP, Span, Trace

NOTHING = nullcontext()

COUNTED = ("seconds", "wait_seconds", "exchange_seconds", "cpu_seconds", "sent_bytes", "paused_seconds")
"""What a checkpoint holds of a stopwatch."""


class Stopwatch:
    """Adds up the training segments of one rank; nothing outside `start` … `stop` is counted.

    Inside a segment the rank is busy, waiting for a peer, or exchanging: packing, copying and handing over
    messages. The clock of the run is the MAX over ranks of each segment, which the training loop takes.

    Args:
        device: What the rank computes on.

    Attributes:
        seconds: Training seconds so far, of this rank.
        wait_seconds: The part of them spent blocked on a peer.
        exchange_seconds: The part of them spent on communication without being blocked.
        cpu_seconds: Processor seconds of this process during them, all threads together.
        sent_bytes: Bytes this rank handed over for sending during them.
        paused_seconds: Seconds of segments during which this process was stopped.
        idle_memory_bytes: Memory of the process when the stopwatch was made, before data and network.
        segment_start: When the last segment began, by `perf_counter`.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0
        self.wait_seconds = 0.0
        self.exchange_seconds = 0.0
        self.cpu_seconds = 0.0
        self.sent_bytes = 0
        self.idle_memory_bytes = memory_bytes(device)
        self.paused_seconds = 0.0
        self.segment_start = 0.0
        self._cpu_start = 0.0
        self._open = False
        self._recorded = Trace(device)
        self._trace: Trace | None = None
        self._stalls: list[tuple[Any, Any]] = []

    @property
    def busy_seconds(self) -> float:
        return self.seconds - self.wait_seconds - self.exchange_seconds

    @property
    def spans(self) -> list[Span]:
        """What was recorded of the traced steps."""
        return self._recorded.spans

    def start(self) -> None:
        """Begin a training segment, once the device has finished what came before."""
        synchronize(self.device)
        self._cpu_start = process_time()
        self.segment_start = perf_counter()
        self._open = True

    def stop(self) -> float:
        """End the segment, once the device has finished it; returns its seconds."""
        synchronize(self.device)
        assert self._open, "stop without start"
        segment = perf_counter() - self.segment_start
        self._open = False
        self.seconds += segment
        self.cpu_seconds += process_time() - self._cpu_start
        self.wait_seconds += sum(begun.elapsed_time(ended) for begun, ended in self._stalls) / 1000
        self._stalls.clear()
        return segment

    def now(self) -> float:
        """Training seconds so far, the open segment included (without synchronising the device)."""
        return self.seconds + (perf_counter() - self.segment_start if self._open else 0.0)

    def step(self, number: int, *, traced: bool) -> AbstractContextManager[None]:
        """Around one optimizer step, counted from 1: records its spans if it is to be traced."""
        return self._trace_step(number) if traced else NOTHING

    def span(self, kind: str, *, late: int = 0, **where: int) -> AbstractContextManager[None]:
        """Around work of a kind of `layerpar.measure.trace`, for the timeline; counts nothing.

        Args:
            kind: forward, backward or update.
            late: How many steps ago the batch came that it works on.
            where: What it works on: `block`, or `stage` and `microbatch`.
        """
        return NOTHING if self._trace is None else self._trace.span(kind, where, late=late)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the enclosed time as waiting for a peer.

        On a GPU that is the time for which its stream stands still: nccl lets the stream wait, and this
        process goes on.
        """
        before, begun = self._border(), self._mark()
        try:
            yield
        finally:
            if begun is None:
                self.count_wait(self._border() - before)
            else:
                self._stalls.append((begun, self._mark()))

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """Count the enclosed time as exchanging; nothing in it may wait for a peer."""
        before = self._border()
        yield
        after = self._border()
        if self._open:
            self.exchange_seconds += after - before
        if self._trace is not None:
            self._trace.add("exchange", before, after, {})

    def count_wait(self, seconds: float) -> None:
        """Add seconds spent blocked on a peer until now, if a segment is open."""
        if self._open:
            self.wait_seconds += seconds
        if self._trace is not None:
            now = perf_counter()
            self._trace.add("wait", now - seconds, now, {})

    def idle(self, seconds: float) -> None:
        """Add seconds that the run's clock went on after this rank's segment: it waited for the slowest."""
        self.seconds += seconds
        self.wait_seconds += seconds

    def state_dict(self) -> dict[str, Any]:
        """What was counted so far; between segments only."""
        return {name: getattr(self, name) for name in COUNTED}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting from `state_dict`."""
        for name in COUNTED:
            setattr(self, name, state[name])

    def count_sent(self, num_bytes: int) -> None:
        """Add bytes handed over for sending, if a segment is open."""
        if self._open:
            self.sent_bytes += num_bytes

    def count_pause(self, seconds: float) -> None:
        """Add seconds during which this process was stopped, if a segment is open."""
        if self._open:
            self.paused_seconds += seconds

    @contextmanager
    def _trace_step(self, number: int) -> Iterator[None]:
        self._trace = self._recorded
        self._trace.step = number
        with self._trace.span(STEP, {}):
            yield
        self._trace = None

    def _mark(self) -> Any:
        """An event in the GPU's stream, within a segment; None on a CPU, which waits itself."""
        if self.device.type != "cuda" or not self._open:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _border(self) -> float:
        return perf_counter() if self._trace is None else self._trace.now()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given; nothing to do on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
