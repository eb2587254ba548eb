"""Processes forked from one that has imported what workers and commands need: seconds less for each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        "torch._dynamo",
        "torch.distributed.pipelining",
        "layerpar.comparison",
        "layerpar.resume",
        "layerpar.results.show_sweep",
        "layerpar.trainer",
        "sklearn.datasets",
        "sklearn.model_selection",
    ]
)


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

    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    heed_signals()
    for number, name in ((1, "output"), (2, "errors")):
        file = os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["layerpar", *arguments]
    cli.main()
