"""Marks what the clock cannot tell from training: that the process, or the whole machine, was stopped."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BEAT_SECONDS = 0.2


@contextmanager
def watching(count: Callable[[float], None]) -> Iterator[None]:
    """Within, call `count` with the length of every pause of this process, in seconds. Main thread only.

    A thread notes the time every `BEAT_SECONDS`. Two things are pauses, known to a beat:

    - The process was stopped (SIGSTOP, Ctrl-Z) and goes on: the system sends SIGCONT, of which the wake-up
      file descriptor tells the thread at once, though the main thread may be deep in a computation. The pause
      is the time since the last beat. The training clock went on meanwhile.
    - The machine slept: CLOCK_BOOTTIME (Linux) went on, CLOCK_MONOTONIC did not. The training clock did not
      count that time, but what ran before and after it may not compare.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handler = signal.signal(signal.SIGCONT, lambda *_: None)
    descriptor = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(reader, ended, count), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        signal.set_wakeup_fd(descriptor)
        signal.signal(signal.SIGCONT, handler)
        os.close(reader)
        os.close(writer)


def _watch(reader: int, ended: threading.Event, count: Callable[[float], None]) -> None:
    last, slept, gap = time.monotonic(), _slept(), 0.0
    while not ended.is_set():
        ready, _, _ = select.select([reader], [], [], BEAT_SECONDS)
        numbers = os.read(reader, 64) if ready else b""
        now, asleep = time.monotonic(), _slept()
        # This thread may go on before the main thread has received the signal.
        stopped = max(now - last, gap) if signal.SIGCONT in numbers else 0.0
        pause = stopped + asleep - slept
        if pause > 2 * BEAT_SECONDS:
            count(pause)
        gap, last, slept = now - last, now, asleep


def _slept() -> float:
    """Seconds that the machine has slept since it started, where the system tells."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
