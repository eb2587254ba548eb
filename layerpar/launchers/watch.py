"""Commands run side by side until all have ended well, one has failed, or a signal says stop: the one watch
loop of all launchers. No process is left behind."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from layerpar.launchers.base import SHUTDOWN_SECONDS, Interrupted
from layerpar.launchers.blame import Ended, blame
from layerpar.launchers.command import Command, Running, Start, start_process
from layerpar.paths import RunDirectory
from layerpar.rendezvous import failure

POLL_SECONDS = 0.05
LAST_WORDS_SECONDS = 1
"""How long the others have to say why, once a worker has failed only for want of a peer."""

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WARNING = (signal.SIGUSR1, signal.SIGUSR2)
"""A scheduler's warning that it will end the job: the run ends at its next checkpoint."""


@dataclass
class Signals:
    """What has been received: the first signal that ends the run, the first that warns of the end."""

    ending: int | None = None
    warning: int | None = None

    def receive(self, number: int, _: FrameType | None) -> None:
        if number in ENDING and self.ending is None:
            self.ending = number
        if number in WARNING and self.warning is None:
            self.warning = number


def run_commands(
    commands: Sequence[Command],
    directory: RunDirectory,
    *,
    workers: int,
    timeout_seconds: int,
    told_by_command: Callable[[Path], Sequence[Ended]] = lambda _: (),
    start: Start = start_process,
) -> None:
    """Run all commands to their end.

    Args:
        commands: One for each worker, or one for all.
        directory: The run's.
        workers: How many workers they are.
        timeout_seconds: `launcher.timeout_seconds`, for the message.
        told_by_command: How workers ended, by the standard error of a command that speaks for all.
        start: Starts each.

    Raises:
        WorkerError: the first that failed; all others were ended.
        Interrupted: a signal arrived; all were ended.
    """
    for rank in range(workers):
        directory.log(rank).mkdir(parents=True, exist_ok=True)
        failure.forget(directory, rank)
    with _received() as signals:
        running: list[Running] = []
        try:
            for command in commands:
                command.log.mkdir(parents=True, exist_ok=True)
                running.append(Running(command, start(command)))
            _wait(running, signals, directory)
            failed = any(one.code for one in running)
            if failed:
                _wait_for_last_words(running, directory, workers)
            ended = [_ended(one) for one in running]
        finally:
            _end(running)
        if signals.ending is not None:  # it arrived while a failed run was being ended
            raise Interrupted(signals.ending)
        if failed:
            told = [end for one in ended if one.rank is None for end in told_by_command(one.log)]
            ended = told or ended
            said = {rank: failure.read(directory, rank) for rank in range(workers)}
            raise blame(ended, said, directory, timeout_seconds=timeout_seconds)


def _wait(running: Sequence[Running], signals: Signals, directory: RunDirectory) -> None:
    """Until all have ended or one has failed."""
    at_warning: set[Path] | None = None
    while True:
        if signals.ending is not None:
            raise Interrupted(signals.ending)
        if signals.warning is not None:
            whole = set(directory.whole_checkpoints())
            at_warning = whole if at_warning is None else at_warning
            if whole - at_warning:
                raise Interrupted(signals.warning)
        codes = [one.code for one in running]
        if any(codes) or None not in codes:
            return
        time.sleep(POLL_SECONDS)


def _wait_for_last_words(running: Sequence[Running], directory: RunDirectory, workers: int) -> None:
    """A worker that lost a peer is not the cause: give the others time to tell theirs."""
    deadline = time.monotonic() + LAST_WORDS_SECONDS
    while time.monotonic() < deadline and any(one.code is None for one in running):
        said = [failure.read(directory, rank) for rank in range(workers)]
        if any(words is not None and (not words.lost_peer or words.silent) for words in said):
            return
        if any(one.code is not None and one.code < 0 for one in running):
            return
        time.sleep(POLL_SECONDS)


def _ended(one: Running) -> Ended:
    return Ended(one.command.rank, one.command.host, one.code, one.command.log / "stderr.log")


def _end(running: Sequence[Running]) -> None:
    """End what still runs, gently, then not; with all that it started."""
    for one in running:
        if one.code is None:
            one.ask_to_end()
    distant = any(one.process.stdin is not None for one in running)
    deadline = time.monotonic() + (2 if distant else 1) * SHUTDOWN_SECONDS
    for one in running:
        with suppress(subprocess.TimeoutExpired):
            one.process.wait(max(0.0, deadline - time.monotonic()))
    for one in running:
        one.send(signal.SIGKILL)
        one.process.wait()
        if one.process.stdin is not None:
            with suppress(OSError):
                one.process.stdin.close()


@contextmanager
def _received() -> Iterator[Signals]:
    """Signals are noted instead of obeyed, but for those that were ignored before (by nohup): they stay so.

    After one that ends the run they go on being noted only, so that an impatient second one does not keep
    the parent from writing down how the run ended; after a warning too, which then holds for the next run of
    a sweep. `handlers_kept` is for those who live on.
    """
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (*ENDING, *WARNING)}
    earlier = [handler.__self__ for handler in before.values() if _is_ours(handler)]
    signals = Signals(warning=next((one.warning for one in earlier), None))
    watched = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in watched:
        signal.signal(number, signals.receive)
    try:
        yield signals
    finally:
        noted = (*ENDING, *WARNING) if signals.ending else WARNING if signals.warning else ()
        for number in watched:
            if number not in noted:
                signal.signal(number, before[number])


def _is_ours(handler: Any) -> bool:
    return isinstance(getattr(handler, "__self__", None), Signals)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """What signals do is afterwards what it was before, in a process that outlives its runs."""
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (*ENDING, *WARNING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
