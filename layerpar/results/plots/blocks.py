"""Test accuracy, and predicted speed-up, against the number of blocks."""

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

PREDICTED = "predicted_block_speed_up"


def against_blocks(loaded: Runs) -> Figure:
    """Final test accuracy over K, the number of blocks; serial training is the one block of K = 1.

    A panel for each data set, architecture, depth and width, a line for each layerwise way of training. Runs
    with predictions have a panel more: how much faster than serial training each line would be, if every
    block had a worker of its own.
    """
    runs = finished(loaded.summaries)
    one_block = (runs["mode"] == BASELINE) & (runs["threads_per_worker"] == 1)
    runs = runs[runs["objective"].notna() | one_block]
    hidden = (*SIZES, "workers", "mode.blocks")
    runs = with_series(runs, ignore=hidden, axis="num_blocks", mark_contended=False)
    chosen = [(name, members) for name, members in panels(runs, TASK) if _spans(members)]
    need(len(chosen) > 0, "needs one layerwise way of training with two numbers of blocks")
    series = list(dict.fromkeys(name for _, members in chosen for name in members["series"]))
    styles = palette.styles({name: place for name, place in orders(runs).items() if name in series})
    predicted = PREDICTED in runs and bool(runs[PREDICTED].notna().any())
    also = f"prediction: a worker for every block, {runs['predicted_link'].iloc[0]}" if predicted else ""
    figure, axes = layout.grid(
        f"Test accuracy{' and predicted speed-up' * predicted} against number of blocks",
        layout.caption(runs, mark=None),
        [title for name, _ in chosen for title in ([name, also] if predicted else [name])],
        ylabel="test accuracy (%)",
        handles=[palette.handle(name, styles[name]) for name in series],
    )
    for (_, members), ax in zip(chosen, axes[:: 1 + predicted], strict=True):
        _draw(ax, members.assign(percent=100 * members["test_accuracy"]), "percent", styles)
    for (_, members), ax in zip(chosen, axes[1::2] if predicted else (), strict=False):
        _draw(ax, members[members[PREDICTED].notna()], PREDICTED, styles)
        ax.set_ylabel("predicted times faster than serial")
        ax.axhline(1, color=palette.BLACK, linewidth=1, zorder=1)
    return figure


def _spans(runs: pd.DataFrame) -> bool:
    layerwise = runs[runs["objective"].notna()]
    return bool((layerwise.groupby("series")["num_blocks"].nunique() > 1).any())


def _draw(ax: Axes, runs: pd.DataFrame, column: str, styles: dict[str, palette.Style]) -> None:
    points = mean_over_seeds(runs, ["series", "num_blocks"], [column])
    for name, line in points.groupby("series", sort=False):
        style, line = styles[str(name)], line.sort_values("num_blocks")
        blocks, values = line["num_blocks"], line[column]
        ax.errorbar(blocks, values, line[f"{column}_ci95"], color=style.color, linestyle="none", capsize=2)
        ax.plot(
            blocks, values, color=style.color, linestyle=style.linestyle, marker=style.marker, label=str(name)
        )
    ax.xaxis.set_major_locator(FixedLocator(sorted(points["num_blocks"].unique())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("blocks")
