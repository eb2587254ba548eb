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
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from layerpar.errors import RefusedError
from layerpar.paths import RunDirectory
from layerpar.search_path import put_standard_library_first
from layerpar.variables import HOSTS, PARENT

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
        from layerpar import failure
        from layerpar.trainer import work

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


def import_early() -> None:
    """Import what every worker needs."""
    gc.disable()  # a second of looking for garbage that importing does not make
    import torch._dynamo  # noqa: F401  every optimizer of torch imports it when it is made

    import layerpar.trainer  # noqa: F401

    gc.freeze()
    gc.enable()


def _fail(directory: RunDirectory, error: Exception) -> None:
    from layerpar import failure, liveness

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
