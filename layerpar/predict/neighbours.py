"""How much slower a core computes while its neighbours do: they share memory, caches and power."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def busy(count: int, work: Callable[[], object]) -> Iterator[None]:
    """Within, so many other processes do `work` again and again.

    Forked, so that they need not import or build anything: where nothing has used a GPU or more threads.
    """
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_for_ever, args=(work,), daemon=True) for _ in range(count)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which only wait
            for process in processes:
                process.start()
        yield
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


def _for_ever(work: Callable[[], object]) -> None:
    while True:
        work()
