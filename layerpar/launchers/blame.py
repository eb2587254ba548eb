"""Which worker is the cause of a failed run, from how all of them ended: a function of records."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from layerpar.launchers.base import WorkerError
from layerpar.paths import RunDirectory
from layerpar.rendezvous.failure import Failure

WATCHDOG = "Watchdog caught collective operation timeout"
"""What torch's thread that watches nccl says before it ends its process."""


@dataclass(frozen=True)
class Ended:
    """How a command stood when the first of a run had failed, and before the others were ended.

    Attributes:
        rank: The worker; None where it spoke for all.
        host: Where.
        code: Exit code, negative for a signal; None if it still ran.
        log: Its standard error.
    """

    rank: int | None
    host: str | None
    code: int | None
    log: Path


def blame(
    ended: Sequence[Ended],
    said: Mapping[int, Failure | None],
    directory: RunDirectory,
    *,
    timeout_seconds: int,
) -> WorkerError:
    """The cause: a worker's own error, else a silence that others tell of, else a kill, else whatever else.

    A worker that only lost a peer is named last of all.

    Args:
        ended: How the commands ended.
        said: What the workers said, by rank.
        directory: The run's.
        timeout_seconds: `launcher.timeout_seconds`, for the message.
    """
    hosts = {rank: words.host for rank, words in said.items() if words is not None}
    hosts |= {one.rank: one.host for one in ended if one.rank is not None}

    def error(rank: int, cause: str) -> WorkerError:
        return WorkerError(rank, cause, str(directory.log(rank) / "stderr.log"), host=hosts.get(rank))

    failures = {rank: words for rank, words in said.items() if words is not None}
    for one in ended:
        if one.rank is not None and one.rank not in failures and _ended_by_watchdog(one, directory):
            failures[one.rank] = Failure("waited for another worker in vain", lost_peer=True, timed_out=True)
    for rank, words in failures.items():
        if not words.lost_peer:
            return error(rank, f"failed: {words.message}")
    silent_ones = [one for one in ended if one.rank is not None and one.rank not in failures]
    named = sorted({rank for words in failures.values() for rank in words.silent})
    for one in silent_ones:
        if one.rank is not None and one.code and not named:  # else it was ended for its silence
            return error(one.rank, _end_of(one))
    if not named and any(words.timed_out for words in failures.values()):
        named = [one.rank for one in silent_ones if one.rank is not None and one.code is None]
    if named:
        return error(
            named[0],
            f"gave no sign of life for launcher.timeout_seconds={timeout_seconds}; "
            "raise it if a step really takes longer",
        )
    if failures:
        rank, words = next(iter(failures.items()))
        return error(rank, f"failed: {words.message}")
    first = next(one for one in ended if one.code)
    if first.rank is None:
        return WorkerError(None, _end_of(first), str(first.log))
    return error(first.rank, _end_of(first))


def _ended_by_watchdog(one: Ended, directory: RunDirectory) -> bool:
    """Whether torch has aborted a worker that waited for a message by nccl, without asking Python."""
    if one.code not in (-signal.SIGABRT, 128 + signal.SIGABRT):
        return False
    logs = {one.log, directory.log(one.rank) / "stderr.log"} if one.rank is not None else {one.log}
    return any(WATCHDOG in log.read_text(errors="replace") for log in logs if log.exists())


def _end_of(one: Ended) -> str:
    """How a command ended that left no word of its own: its signal, or the last line of its log."""
    assert one.code is not None
    number = -one.code if one.code < 0 else one.code - 128
    if number in set(signal.Signals):
        return f"was killed by {signal.Signals(number).name}"
    last = last_line(one.log)
    return f"ended with exit code {one.code}" + (f": {last}" if last else "")


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    told = [line.strip() for line in lines if re.search(r"\w", line)]
    return told[-1] if told else ""
