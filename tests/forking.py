"""Processes forked from one that has imported what workers and commands need: seconds less for each."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        "torch._dynamo",
        "torch.distributed.pipelining",
        "layerpar.comparison",
        "layerpar.resume",
        "layerpar.results.show_sweep",
        "layerpar.trainer",
        "layerpar.worker_server",
        "sklearn.datasets",
        "sklearn.model_selection",
    ]
)
SERVER = b"forked_server"
"""What the system calls a forked server of workers, and its workers; at most 15 bytes."""
PR_SET_NAME = 15
StartServer = Callable[[Mapping[str, str], IO[bytes]], subprocess.Popen[bytes]]


def heed_signals() -> None:
    """Let Ctrl-C and a hang-up end this process, even where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class ForkedCommand:
    """`layerpar ARGUMENTS`, a process of its own, with as much of `subprocess.Popen` as tests use."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._folder = TemporaryDirectory()
        self._process = context.Process(
            target=_command, args=(arguments, dict(os.environ), self._folder.name)
        )
        self._process.start()
        self.args = arguments
        self.pid = self._process.pid
        self._said: tuple[str, str] | None = None

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Output and errors, once it has ended. Raises `subprocess.TimeoutExpired` where it has not."""
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        if self._said is None:
            with self._folder as folder:
                self._said = Path(folder, "output").read_text(), Path(folder, "errors").read_text()
        return self._said


def _command(arguments: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
    from layerpar import cli
    from layerpar.launchers import fork_server

    os.setsid()
    same_path = environment.get("PYTHONPATH") == os.environ.get("PYTHONPATH")
    os.environ.clear()
    os.environ.update(environment)
    heed_signals()
    for number, name in ((1, "output"), (2, "errors")):
        file = os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    if same_path:
        spare = SpareServer(fork_server.start_server)
        fork_server.start_server = spare.start
    sys.argv = ["layerpar", *arguments]
    cli.main()


class SpareServer:
    """The server of a forked command's workers, forked before it is asked for and before there are threads.

    It has as much of `subprocess.Popen` as its command uses. Where another one is needed, because it has
    died, that is executed as usual.

    Args:
        execute: Starts a server as a command does.
    """

    def __init__(self, execute: StartServer) -> None:
        self._execute = execute
        self._started = False
        self._code: int | None = None
        (asked, ask), (told, tell) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(ask)
            os.close(told)
            _serve(asked, tell)
        os.close(asked)
        os.close(tell)
        self.stdin = os.fdopen(ask, "wb")
        self.stdout = os.fdopen(told, "rb")

    def start(
        self, environment: Mapping[str, str], errors: IO[bytes]
    ) -> SpareServer | subprocess.Popen[bytes]:
        if self._started:
            return self._execute(environment, errors)
        self._started = True
        said = {"environment": dict(environment), "errors": f"/proc/{os.getpid()}/fd/{errors.fileno()}"}
        self.stdin.write(json.dumps(said).encode() + b"\n")
        self.stdin.flush()
        return self

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        return self._wait(0)

    def _wait(self, how: int) -> int | None:
        if self._code is None:
            ended, status = os.waitpid(self.pid, how)
            self._code = os.waitstatus_to_exitcode(status) if ended else None
        return self._code


def _serve(asked: int, tell: int) -> None:
    """Be the server, once it is known in which environment; nothing, where that is never said."""
    from layerpar import worker_server

    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_NAME, SERVER)
    os.dup2(asked, 0)
    os.dup2(tell, 1)
    os.close(asked)
    os.close(tell)
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            os._exit(0)
        line += byte
    said = json.loads(line)
    errors = os.open(said["errors"], os.O_WRONLY)
    os.dup2(errors, 2)
    os.close(errors)
    os.environ.clear()
    os.environ.update(said["environment"])
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    worker_server.main()
