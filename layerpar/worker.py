"""One worker: everything it needs is in one run directory.

    torchrun --nproc-per-node 2 -m layerpar.worker RUN_DIR

repeats by hand what `layerpar train` starts.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from pathlib import Path

from layerpar.paths import RunDirectory

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Entry point of `python -m layerpar.worker RUN_DIR`, started by torchrun's agent."""
    _die_with_parent()
    gc.disable()  # half a second of looking for garbage that importing does not make
    from torch.distributed.elastic.multiprocessing.errors import record

    from layerpar.trainer import work

    gc.freeze()
    gc.enable()
    record(work)(RunDirectory(Path(sys.argv[1])))
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through the interpreter's end: a thread of gloo that still holds a tensor may abort the process.
    os._exit(0)


def _die_with_parent() -> None:
    """Leave interrupting to the parent, and never outlive it (Linux can tell the kernel so)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
