"""layerpar from Python, as in a notebook: what the commands do, with data frames and figures as results.

    import layerpar

    runs = layerpar.compare("dataset=digits", "epochs=2")    # the same runs as the command makes
    runs = layerpar.load("outputs")                          # or those that are there
    runs.summaries                                           # a row per run: see `Runs`
    runs.evaluations                                         # a row per evaluation
    layerpar.plot(runs, "accuracy_vs_time")                  # a matplotlib figure

Imports no torch until a run begins.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from layerpar.errors import require_choice
from layerpar.results.groups import summarise as _summarise
from layerpar.results.load import Runs
from layerpar.results.load import load as _load
from layerpar.results.speedup import BASELINE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLACES = ("hydra.run.dir=", "hydra.sweep.dir=")


def train(*overrides: str) -> Runs:
    """Do what `layerpar train OVERRIDES` does, and load what it leaves; with `-m` among them, a sweep.

    Runs that end badly are rows too.

    Raises:
        UserError: a mistake in what was asked for.
    """
    from layerpar import app

    return _run(app.train, overrides)


def compare(*overrides: str) -> Runs:
    """Do what `layerpar compare OVERRIDES` does, and load what it leaves.

    Runs that end badly are rows too.

    Raises:
        UserError: a mistake in what was asked for.
    """
    from layerpar import comparison

    return _run(comparison.compare, overrides)


def load(*directories: str | Path) -> Runs:
    """All runs at or below these directories.

    Raises:
        UserError: a directory does not exist, or no run could be read.
    """
    return _load([Path(directory) for directory in directories])


def summarise(runs: Runs, *, baseline: str = BASELINE) -> pd.DataFrame:
    """A row per group of runs that differ in their seed only; see `layerpar.results.groups.summarise`.

    Raises:
        UserError: no run is of that baseline.
    """
    return _summarise(runs, baseline=baseline)


def plot(runs: Runs, name: str) -> Figure:
    """One figure; `layerpar.results.plots.draw.FIGURES` lists them by name.

    Raises:
        UserError: there is no figure of that name.
        FigureSkippedError: the runs have not its data.
    """
    from layerpar.results.plots.draw import FIGURES, picture

    require_choice("name", name, FIGURES)
    return picture(runs, name).figure


def _run(command: Callable[..., int], overrides: tuple[str, ...]) -> Runs:
    """Carry out a command in a directory that is known, and load it."""
    given = [override for override in overrides if override.startswith(PLACES)]
    root = Path(given[-1].partition("=")[2].strip("'\"")) if given else _new_directory()
    places = [] if given else [f"{place}{root.as_posix()}" for place in PLACES]
    from layerpar.launchers.watch import handlers_kept

    arguments = sys.argv
    try:
        with handlers_kept():
            command([*overrides, *places], started=time.time())
    finally:
        sys.argv = arguments
    return _load([root])


def _new_directory() -> Path:
    """Below `outputs`, named by the time, as the commands do; never one that is there."""
    now = datetime.now()
    while (root := Path("outputs") / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S-%f}").exists():
        now = datetime.now()
    return root
