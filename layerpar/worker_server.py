"""Imports what workers need once, and forks every worker of a command from itself.

`layerpar.launchers.fork_server` starts it and asks. It starts no thread, opens no device, and waits for
requests while workers train.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from layerpar import worker
from layerpar.paths import RunDirectory
from layerpar.search_path import put_standard_library_first


def main() -> None:
    """Entry point of `python -m layerpar.worker_server`: serve until the standard input closes."""
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
                request = json.loads(line)
                _import_for(request["directory"])
                running.add(pid := _fork(request, closing=(replies, woken, wake)))
                os.write(replies, json.dumps({"pid": pid}).encode() + b"\n")
    for pid in running:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os._exit(0)


@cache
def _import_for(directory: str) -> None:
    """Import what the run's data set reads itself with, where it is one of layerpar's own.

    What is wrong with the run, the worker will say. Nothing of a user's own is imported: it may do what no
    process may do before it forks.
    """
    from hydra.utils import get_class
    from yaml import safe_load

    with suppress(Exception):
        target = safe_load(RunDirectory(Path(directory)).run_yaml.read_text())["dataset"]["_target_"]
        if target.startswith("layerpar."):
            for name in getattr(get_class(target), "slow_imports", ()):
                import_module(name)
    gc.freeze()


def _fork(request: dict[str, Any], *, closing: tuple[int, ...]) -> int:
    """Returns the worker's process number in the server; in the worker, never."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for channel in closing:
        os.close(channel)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
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
