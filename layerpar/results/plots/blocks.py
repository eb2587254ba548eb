"""Test accuracy against the number of blocks."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from layerpar.results.lines import GROUP
from layerpar.results.load import Results
from layerpar.results.plots import palette, style
from layerpar.results.plots.panels import SIZES, finished, mean_over_seeds, need, panels, with_series


def against_blocks(results: Results) -> Figure:
    """Final test accuracy over K, the number of blocks; serial training is the one block of K = 1.

    A panel for each data set, architecture, depth and width, a line for each layerwise way of training.
    """
    runs = finished(results.runs)
    runs = runs[runs["mode"].isin(["serial", "layerwise"]) & (runs["threads_per_worker"] == 1)]
    runs = with_series(runs, ignore=(*SIZES, "workers", "mode.blocks"))
    runs = runs.assign(blocks=runs["ranks"].map(num_blocks))
    chosen = [(name, members) for name, members in panels(runs, GROUP) if _spans(members)]
    need(len(chosen) > 0, "needs one layerwise way of training with two numbers of blocks")
    series = list(dict.fromkeys(name for _, members in chosen for name in members["series"]))
    looks = palette.looks(series)
    figure, axes = style.grid(
        "Test accuracy against number of blocks",
        style.caption(runs),
        [name for name, _ in chosen],
        ylabel="test accuracy (%)",
        handles=[palette.handle(name, looks[name]) for name in series],
    )
    for ax, (_, members) in zip(axes, chosen, strict=True):
        _draw(ax, members, looks)
    return figure


def num_blocks(ranks: list[dict[str, object]]) -> int:
    """K of a run: its workers' blocks are named from 0, as in `0` or `0-3`."""
    return 1 + max(int(str(rank["block"]).rpartition("-")[2]) for rank in ranks)


def _spans(runs: pd.DataFrame) -> bool:
    layerwise = runs[runs["mode"] == "layerwise"]
    return bool((layerwise.groupby("series")["blocks"].nunique() > 1).any())


def _draw(ax: Axes, runs: pd.DataFrame, looks: dict[str, palette.Look]) -> None:
    points = mean_over_seeds(runs, ["series", "blocks"], ["test_accuracy"])
    for name, line in points.groupby("series", sort=False):
        look, line = looks[str(name)], line.sort_values("blocks")
        accuracy, deviation = 100 * line["test_accuracy"], 100 * line["test_accuracy_std"]
        ax.errorbar(line["blocks"], accuracy, deviation, color=look.color, linestyle="none", capsize=2)
        ax.plot(
            line["blocks"],
            accuracy,
            color=look.color,
            linestyle=look.linestyle,
            marker=look.marker,
            label=str(name),
        )
    ax.xaxis.set_major_locator(FixedLocator(sorted(points["blocks"].unique())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("blocks")
