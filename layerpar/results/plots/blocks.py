"""Test accuracy against the number of blocks."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from layerpar.results.groups import TASK
from layerpar.results.load import Runs
from layerpar.results.plots import layout, palette
from layerpar.results.plots.panels import SIZES, finished, mean_over_seeds, need, orders, panels, with_series
from layerpar.results.speedup import BASELINE


def against_blocks(loaded: Runs) -> Figure:
    """Final test accuracy over K, the number of blocks; serial training is the one block of K = 1.

    A panel for each data set, architecture, depth and width, a line for each layerwise way of training.
    """
    runs = finished(loaded.summaries)
    one_block = (runs["mode"] == BASELINE) & (runs["threads_per_worker"] == 1)
    runs = runs[runs["objective"].notna() | one_block]
    runs = with_series(runs, ignore=(*SIZES, "workers", "mode.blocks"))
    chosen = [(name, members) for name, members in panels(runs, TASK) if _spans(members)]
    need(len(chosen) > 0, "needs one layerwise way of training with two numbers of blocks")
    series = list(dict.fromkeys(name for _, members in chosen for name in members["series"]))
    styles = palette.styles({name: place for name, place in orders(runs).items() if name in series})
    figure, axes = layout.grid(
        "Test accuracy against number of blocks",
        layout.caption(runs),
        [name for name, _ in chosen],
        ylabel="test accuracy (%)",
        handles=[palette.handle(name, styles[name]) for name in series],
    )
    for ax, (_, members) in zip(axes, chosen, strict=True):
        _draw(ax, members, styles)
    return figure


def _spans(runs: pd.DataFrame) -> bool:
    layerwise = runs[runs["objective"].notna()]
    return bool((layerwise.groupby("series")["num_blocks"].nunique() > 1).any())


def _draw(ax: Axes, runs: pd.DataFrame, styles: dict[str, palette.Style]) -> None:
    points = mean_over_seeds(runs, ["series", "num_blocks"], ["test_accuracy"])
    for name, line in points.groupby("series", sort=False):
        style, line = styles[str(name)], line.sort_values("num_blocks")
        accuracy, ci95 = 100 * line["test_accuracy"], 100 * line["test_accuracy_ci95"]
        ax.errorbar(line["num_blocks"], accuracy, ci95, color=style.color, linestyle="none", capsize=2)
        ax.plot(
            line["num_blocks"],
            accuracy,
            color=style.color,
            linestyle=style.linestyle,
            marker=style.marker,
            label=str(name),
        )
    ax.xaxis.set_major_locator(FixedLocator(sorted(points["num_blocks"].unique())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("blocks")
