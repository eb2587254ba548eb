"""A process that imports what workers need once, and forks every worker of this command from itself.

    command ── request ──> server ── fork ──> worker, a process of its own from there on
            <── number of the process; later, how it ended ──

Starting a worker costs seconds of imports; a fork costs milliseconds. The server does nothing else: it starts
no thread, opens no device, and waits for requests while workers train. It ends with the command, and its
workers with it.
"""

from __future__ import annotations

import gc
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
from typing import IO, Any

from layerpar.paths import RunDirectory
from layerpar.variables import PARENT

POLL_SECONDS = 0.02


class ForkServer:
    """The server, as the command sees it; it starts at once and is ready when it has imported.

    Args:
        environment: In which it is started; what acts at the start of a process (such as how memory is
            kept) holds for all workers.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-u", "-m", "layerpar.launchers.fork_server"],
            env={**environment, PARENT: str(os.getpid())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
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
            OSError: the server has died.
        """
        assert self._process.stdin is not None
        request = {
            "directory": str(directory.root),
            "environment": {**environment, PARENT: str(self._process.pid)},
            "log": str(log),
            "folder": str(Path.cwd()),
        }
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        while not self._started:
            if not self._read(timeout=POLL_SECONDS) and not self.alive:
                raise OSError("the process that starts workers has died")
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
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

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


def main() -> None:
    """Entry point of `python -m layerpar.launchers.fork_server`: serve until the standard input closes."""
    from layerpar import worker
    from layerpar.search_path import put_standard_library_first

    put_standard_library_first()
    worker.die_with_parent()
    replies, null = os.dup(1), os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # so that no import can speak in between
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    worker.import_early()
    running: set[int] = set()
    unread = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 512)
            _reap(running, replies)
        if 0 in ready:
            said = os.read(0, 65536)
            if not said:
                break
            *lines, unread = (unread + said).split(b"\n")
            for line in lines:
                running.add(pid := _fork(json.loads(line), closing=(0, replies, woken, wake)))
                os.write(replies, json.dumps({"pid": pid}).encode() + b"\n")
    for pid in running:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os._exit(0)


def _fork(request: dict[str, Any], *, closing: tuple[int, ...]) -> int:
    """Returns the worker's process number in the server; in the worker, never."""
    pid = os.fork()
    if pid:
        return pid
    from layerpar import worker

    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for channel in closing:
        os.close(channel)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout.log"), (2, "stderr.log")):
        log = os.open(Path(request["log"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(log, number)
        os.close(log)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    gc.enable()
    worker.work_on(RunDirectory(Path(request["directory"])))
    os._exit(1)  # never: work_on does not return


def _reap(running: set[int], replies: int) -> None:
    """Tell how workers have ended."""
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            running.discard(pid)
            code = os.waitstatus_to_exitcode(status)
            os.write(replies, json.dumps({"pid": pid, "code": code}).encode() + b"\n")


if __name__ == "__main__":
    main()
