"""One worker: everything it needs is in one run directory.

    torchrun --nproc-per-node 2 -m layerpar.worker RUN_DIR

repeats by hand what `layerpar train` starts.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from layerpar.errors import DivergedError, RefusedError, UserError, require
from layerpar.paths import RunDirectory
from layerpar.search_path import put_standard_library_first
from layerpar.variables import HOSTS, PARENT, STARTED

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Entry point of `python -m layerpar.worker RUN_DIR`."""
    put_standard_library_first()
    work_on(RunDirectory(Path(sys.argv[1]).absolute()))


def work_on(directory: RunDirectory) -> NoReturn:
    """Be the worker that the environment describes, and end the process."""
    die_with_parent()
    code = 0
    try:
        import_early()
        from layerpar.rendezvous import failure

        failure.forget(directory, failure.rank_of_this_process())
        work(directory)
    except Exception as error:
        _fail(directory, error)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through the interpreter's end: a thread of gloo that still holds a tensor may abort the process,
    # and one that waits for a peer may keep it.
    os._exit(code)


def work(directory: RunDirectory) -> None:
    """Do what the directory's `run.yaml` says, as one of its workers. Collective.

    Raises:
        UserError: the run is done or there is none, or there are not as many workers as it wants.
    """
    import torch
    import torch.distributed as dist

    from layerpar.check import check_node
    from layerpar.config import load
    from layerpar.measure.status import read_status, write_status
    from layerpar.rendezvous import liveness
    from layerpar.trainer import run

    require(
        directory.run_yaml.is_file(),
        f"{directory.root} holds no {directory.run_yaml.name}; try a directory that layerpar train has made",
    )
    config = load(directory.run_yaml)
    done = directory.status.exists() and read_status(directory)["status"] == "done"
    if done:
        raise RefusedError(f"{directory.root} is done; try another directory with a copy of its run.yaml")
    num_workers = config.num_workers
    if os.environ.get("WORLD_SIZE") != str(num_workers):
        advice = f"try torchrun --nproc-per-node {num_workers}"
        raise RefusedError(f"run.yaml wants {num_workers} workers; {advice}")
    torch.set_num_threads(config.threads_per_worker)
    if not config.launcher.uses_this_machine:
        check_node(config)
    started = float(os.environ.get(STARTED, time.time()))
    with nullcontext() if PARENT in os.environ else _by_hand(directory):
        try:
            run(config, directory, started=started)
        except DivergedError as error:
            write_status(directory, "diverged", message=str(error), step=error.step)
            raise
    liveness.leave()
    dist.destroy_process_group()


@contextmanager
def _by_hand(directory: RunDirectory) -> Iterator[None]:
    """What the parent does for a run, where there is none: the first worker holds its lock.

    Raises:
        RefusedError: another process runs it.
    """
    from layerpar import checkpoint
    from layerpar.measure.status import exclusive_lock

    if os.environ["RANK"] != "0":
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(directory))
        except UserError as error:
            raise RefusedError(str(error)) from None
        checkpoint.clear_unfinished(directory)
        if checkpoint.newest(directory) is None:
            directory.metrics.unlink(missing_ok=True)  # of an attempt that is begun anew
        yield


def import_early() -> None:
    """Import what every worker needs."""
    gc.disable()  # a second of looking for garbage that importing does not make
    import torch._dynamo  # noqa: F401  every optimizer of torch imports it when it is made

    import layerpar.trainer  # noqa: F401

    gc.freeze()
    gc.enable()


def _fail(directory: RunDirectory, error: Exception) -> None:
    from layerpar.rendezvous import failure, liveness

    failure.show(error)
    words = failure.explain(error, silent=liveness.silent())
    if HOSTS in os.environ:
        words = replace(words, host=platform.node())
    if directory.root.is_dir() and not isinstance(error, RefusedError):
        failure.record(directory, words, rank=failure.rank_of_this_process(), watched=PARENT in os.environ)


def die_with_parent() -> None:
    """Leave interrupting to the parent, and never outlive it (Linux can tell the kernel so)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = int(os.environ.get(PARENT, "0"))
    if parent and os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)


if __name__ == "__main__":
    main()
