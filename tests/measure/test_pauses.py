"""A process that was stopped for a while says for how long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

PROGRAM = """
import sys, time
from layerpar.measure.pauses import watching
pauses = []
with watching(pauses.append):
    print("ready", flush=True)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        sum(range(100_000))
print(pauses)
"""


def pauses(stop_seconds: float) -> list[float]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)
    if stop_seconds:
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(stop_seconds)
    os.kill(process.pid, signal.SIGCONT)
    shown, _ = process.communicate(timeout=60)
    return [float(number) for number in shown.strip("[]\n").split(",") if number]


def test_a_stopped_process_knows_for_how_long() -> None:
    (seconds,) = pauses(1.0)
    assert 1.0 <= seconds < 1.6


def test_going_on_without_having_been_stopped_is_no_pause() -> None:
    assert pauses(0) == []
