"""A process that imports what workers need once, and forks every worker of this command from itself.

    command ── request ──> server ── fork ──> worker, a process of its own from there on
            <── number of the process; later, how it ended ──

Starting a worker costs seconds of imports; a fork costs milliseconds. `layerpar.worker_server` is the server.
It ends with the command, and its workers with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from layerpar.launchers.base import WorkerError
from layerpar.launchers.blame import last_line
from layerpar.paths import RunDirectory
from layerpar.variables import PARENT

POLL_SECONDS = 0.02


def start_server(environment: Mapping[str, str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Its process, which listens to its standard input and answers on its standard output."""
    return subprocess.Popen(
        [sys.executable, "-P", "-u", "-m", "layerpar.worker_server"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
    )


class ForkServer:
    """The server, as the command sees it; it starts at once and is ready when it has imported.

    Args:
        environment: In which it is started; what acts at the start of a process (such as how memory is
            kept) holds for all workers.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._errors = TemporaryFile()  # noqa: SIM115  as long-lived as the server
        self._process = start_server({**environment, PARENT: str(os.getpid())}, self._errors)
        self._unread = b""
        self._started: list[int] = []
        self._codes: dict[int, int] = {}

    @property
    def alive(self) -> bool:
        """Whether it still serves."""
        return self._process.poll() is None

    def fork(self, directory: RunDirectory, environment: Mapping[str, str], log: Path) -> ForkedWorker:
        """Start a worker.

        Args:
            directory: The run's.
            environment: All of the worker's; its parent is the server.
            log: The folder of its stdout.log and stderr.log, which exists.

        Raises:
            WorkerError: the server has died, as where an import fails.
        """
        assert self._process.stdin is not None
        request = {
            "directory": str(directory.root),
            "environment": {**environment, PARENT: str(self._process.pid)},
            "log": str(log),
            "folder": str(Path.cwd()),
        }
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        while not self._started:
            if not self._read(timeout=POLL_SECONDS) and not self.alive:
                raise self._died(log / "stderr.log")
        return ForkedWorker(self, self._started.pop(0))

    def code(self, pid: int) -> int | None:
        """How a worker ended, negative for a signal; None while it runs."""
        self._read(timeout=0)
        if pid not in self._codes and not self.alive:
            self._read(timeout=0)
            return self._codes.get(pid, -signal.SIGKILL)  # its workers die with it
        return self._codes.get(pid)

    def close(self) -> None:
        """End it, and what runs of its workers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _died(self, log: Path) -> WorkerError:
        """Why no worker could be started, in the server's last words; all of them are in the log."""
        self._errors.seek(0)
        log.write_bytes(self._errors.read())
        return WorkerError(None, f"could not start workers: {last_line(log) or 'killed'}", str(log))

    def _read(self, *, timeout: float) -> bool:
        """Take in what it has said; returns whether it has said anything."""
        assert self._process.stdout is not None
        channel = self._process.stdout.fileno()
        if not select.select([channel], [], [], timeout)[0]:
            return False
        said = os.read(channel, 65536)
        *lines, self._unread = (self._unread + said).split(b"\n")
        for line in lines:
            word: dict[str, int] = json.loads(line)
            if "code" in word:
                self._codes[word["pid"]] = word["code"]
            else:
                self._codes.pop(word["pid"], None)  # the system hands numbers out again
                self._started.append(word["pid"])
        return bool(said)


class ForkedWorker:
    """A worker, with as much of `subprocess.Popen` as the watch loop needs."""

    stdin: IO[bytes] | None = None

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid

    def poll(self) -> int | None:
        return self._server.code(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """Raises `subprocess.TimeoutExpired` where it still runs after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(["layerpar.worker"], timeout or 0.0)
            time.sleep(POLL_SECONDS)
        return code
