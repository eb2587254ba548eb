"""Runs a command for as long as its own standard input stays open: it never outlives who asked for it.

    echo '{"words": ["sleep", "9"], "environment": {}, "folder": "/"}' | python -m layerpar.launchers.tether

The first line says what to run. On another host, where no signal arrives, a connection that is gone closes
the standard input, and the command is ended with all that it started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from layerpar.launchers.base import SHUTDOWN_SECONDS
from layerpar.variables import PARENT

POLL_SECONDS = 0.05


def tether_command() -> list[str]:
    """The command line that runs this module."""
    return [sys.executable, "-P", "-m", "layerpar.launchers.tether"]


def tether_message(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """What the tether reads: run `words` in this folder, with `environment` beside its own."""
    return json.dumps({"words": words, "environment": dict(environment), "folder": str(Path.cwd())}) + "\n"


def main() -> None:
    """Entry point; the exit code is the command's, 128 + n where signal n killed it."""
    asked = json.loads(sys.stdin.readline())
    gone = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: gone.set())
    environment = os.environ | asked["environment"] | {PARENT: str(os.getpid())}
    process = subprocess.Popen(
        asked["words"],
        env=environment,
        cwd=asked["folder"],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    threading.Thread(target=_wait_for_end_of_input, args=(gone,), daemon=True).start()
    while process.poll() is None and not gone.wait(POLL_SECONDS):
        pass
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(SHUTDOWN_SECONDS)
    _signal(process, signal.SIGKILL)
    code = process.wait()
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)  # a thread still reads


def _wait_for_end_of_input(gone: threading.Event) -> None:
    sys.stdin.read()
    gone.set()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    main()
