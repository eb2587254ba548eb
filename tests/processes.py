"""Commands as a user starts them, watched from outside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from forking import SERVER, ForkedCommand, heed_signals

from layerpar.paths import RunDirectory

SMALL = (
    "dataset=synthetic",
    "dataset.shape=[1,8,8]",
    "dataset.test_limit=128",
    "architecture.width=32",
    "architecture.depth=3",
    "dataset.train_limit=256",
    "batch_size=64",
    "device=cpu",
)
ENDLESS = (*SMALL, "epochs=100000", "workers=2")
Started = ForkedCommand | subprocess.Popen[str]
PATIENCE_SECONDS = 120
LISTEN = "0A"
SERVER_MODULE = "layerpar.worker_server"
"""In the command line of a worker that was forked from a server that was executed."""


def start(*arguments: str, before: Sequence[str] = (), **environment: str) -> Started:
    """`layerpar ARGUMENTS`, which Ctrl-C and a hang-up end even where the tests run in the background.

    It is executed, as by a user's shell, where it follows another command or has an environment of its own.
    """
    if not before and not environment:
        return ForkedCommand(arguments)
    return subprocess.Popen(
        [*before, sys.executable, "-m", "layerpar.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | environment,
        preexec_fn=heed_signals,
    )


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def is_training(directory: RunDirectory) -> bool:
    return directory.metrics.exists() and '"train"' in directory.metrics.read_text()


def workers_of(root: Path) -> list[int]:
    """Process numbers of the workers that live on this directory or below it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
            output = os.readlink(path.parent / "fd" / "1")
            forked = is_forked(path.parent)
        except OSError:
            continue
        of_run = [output] if forked else words if "layerpar.worker" in words else []
        if any(word.startswith(f"{root}") for word in of_run):
            found.append(int(path.parent.name))
    return found


def is_forked(process: Path) -> bool:
    """Whether it was forked on this machine, so that its output goes to its log: by its folder in /proc."""
    words = (process / "cmdline").read_bytes().decode()
    return SERVER_MODULE in words or (process / "comm").read_bytes().strip() == SERVER


def listening(numbers: Iterable[int]) -> list[str]:
    """The addresses on which processes listen for connections."""
    found = []
    for number in numbers:
        sockets = set()
        for path in Path(f"/proc/{number}/fd").iterdir():
            with suppress(OSError):
                sockets.add(os.readlink(path))
        for name in ("tcp", "tcp6"):
            for line in Path(f"/proc/{number}/net/{name}").read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == LISTEN and f"socket:[{rest[5]}]" in sockets:
                    found.append(_address(local.partition(":")[0]))
    return found


def _address(hexadecimal: str) -> str:
    """Of /proc/net/tcp: words of 32 bits, each in the machine's byte order."""
    words = [int(hexadecimal[start : start + 8], 16) for start in range(0, len(hexadecimal), 8)]
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def ended(process: Started, root: Path) -> tuple[int, str, str]:
    """Exit code and output, once the command has ended; it may leave no worker behind."""
    output, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert not workers_of(root)
    return process.returncode, output, error


def ended_at_once(process: Started, root: Path) -> tuple[int, str, str]:
    """The same for a command that was told to stop, or lost a worker, just now: workers have five seconds.

    The command itself then still writes tables and figures of what is done.
    """
    before = time.monotonic()
    wait_until(lambda: not workers_of(root))
    assert time.monotonic() - before < 5
    return ended(process, root)


def assert_over(
    process: Started,
    directory: RunDirectory,
    words: str,
    *,
    seconds: float,
    code: int = 1,
    status: str = "failed",
) -> None:
    """The run ends within so many seconds, says why, and leaves no worker anywhere."""
    before = time.monotonic()
    found, _, error = ended(process, directory.root)
    assert time.monotonic() - before < seconds
    assert found == code
    assert words in error
    assert status_of(directory)["status"] == status


def status_of(directory: RunDirectory) -> dict[str, Any]:
    return json.loads(directory.status.read_text())


@contextmanager
def killed_in_the_end(process: Started) -> Iterator[None]:
    """Whatever happens within, the command is gone afterwards."""
    try:
        yield
    finally:
        process.kill()
        process.communicate()


@contextmanager
def training(process: Started, root: Path) -> Iterator[RunDirectory]:
    """A run that has begun to train; killed when the block ends."""
    with killed_in_the_end(process):
        yield begun(process, root)


def begun(process: Started, root: Path) -> RunDirectory:
    """A run, as soon as it trains."""
    directory = RunDirectory(root)
    wait_until(lambda: is_training(directory) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return directory


@contextmanager
def endless(root: Path, *overrides: str) -> Iterator[tuple[Started, RunDirectory]]:
    """A run that is training and would go on for hours."""
    process = start("train", f"hydra.run.dir={root}", *ENDLESS, *overrides)
    with training(process, root) as directory:
        yield process, directory


def rank_of(number: int) -> str:
    """The rank of a worker, by its process number; empty for what only starts workers."""
    if is_forked(Path(f"/proc/{number}")):
        return Path(os.readlink(f"/proc/{number}/fd/1")).parent.name
    variables = Path(f"/proc/{number}/environ").read_bytes().decode().split("\0")
    return next((value.partition("=")[2] for value in variables if value.startswith("RANK=")), "")
