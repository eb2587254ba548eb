"""A command that starts one worker, or all of them, and the process that it becomes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol


@dataclass(frozen=True)
class Command:
    """A process to be started for one worker, or for all.

    Attributes:
        words: The command line.
        environment: All of its environment.
        log: The folder of its stdout.log and stderr.log.
        rank: The worker; None where it speaks for all of them.
        host: Where the worker is, None on this machine.
        message: Written to its standard input, which then stays open: the command ends with it.
    """

    words: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    rank: int | None = None
    host: str | None = None
    message: str | None = None


class Process(Protocol):
    """As much of `subprocess.Popen` as is needed here."""

    pid: int
    stdin: IO[bytes] | None

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


Start = Callable[[Command], Process]
"""Starts a command in a process group of its own."""


@dataclass
class Running:
    """A command that was started."""

    command: Command
    process: Process

    @property
    def code(self) -> int | None:
        return self.process.poll()

    def ask_to_end(self) -> None:
        """By closing its standard input where it listens to that, else by SIGTERM."""
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()
        else:
            self.send(signal.SIGTERM)

    def send(self, number: int) -> None:
        """To the command and all that it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def start_process(command: Command) -> subprocess.Popen[bytes]:
    """Start a command line."""
    with (command.log / "stdout.log").open("wb") as out, (command.log / "stderr.log").open("wb") as err:
        process = subprocess.Popen(
            command.words,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL if command.message is None else subprocess.PIPE,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    if process.stdin is not None and command.message is not None:
        with suppress(BrokenPipeError):
            process.stdin.write(command.message.encode())
            process.stdin.flush()
    return process
