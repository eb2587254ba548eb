"""The clock of a run, and what each rank counts beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch


class Stopwatch:
    """Adds up the training segments of one rank; nothing outside `start` … `stop` is counted.

    Inside a segment the rank is either busy or waiting for a peer. The clock of the run is the MAX over
    ranks of each segment, which the training loop takes.

    Attributes:
        seconds: Training seconds so far, of this rank.
        wait_seconds: The part of them spent blocked on a peer.
        sent_bytes: Bytes this rank handed over for sending during them.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0
        self.wait_seconds = 0.0
        self.sent_bytes = 0
        self._started: float | None = None

    @property
    def busy_seconds(self) -> float:
        return self.seconds - self.wait_seconds

    def start(self) -> None:
        """Begin a training segment, once the device has finished what came before."""
        synchronize(self.device)
        self._started = perf_counter()

    def stop(self) -> float:
        """End the segment, once the device has finished it; returns its seconds."""
        synchronize(self.device)
        assert self._started is not None, "stop without start"
        segment = perf_counter() - self._started
        self._started = None
        self.seconds += segment
        return segment

    def now(self) -> float:
        """Training seconds so far, the open segment included (without synchronising the device)."""
        return self.seconds + (0.0 if self._started is None else perf_counter() - self._started)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the enclosed time as waiting for a peer."""
        before = perf_counter()
        try:
            yield
        finally:
            self.count_wait(perf_counter() - before)

    def count_wait(self, seconds: float) -> None:
        """Add seconds spent blocked on a peer, if a segment is open."""
        if self._started is not None:
            self.wait_seconds += seconds

    def idle(self, seconds: float) -> None:
        """Add seconds that the run's clock went on after this rank's segment: it waited for the slowest."""
        self.seconds += seconds
        self.wait_seconds += seconds

    def count_sent(self, num_bytes: int) -> None:
        """Add bytes handed over for sending, if a segment is open."""
        if self._started is not None:
            self.sent_bytes += num_bytes


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given; nothing to do on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
