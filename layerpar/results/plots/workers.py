"""Where the time goes on every worker, and how the loss of every block falls."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from layerpar.results.groups import TASK
from layerpar.results.load import Runs
from layerpar.results.plots import layout, palette
from layerpar.results.plots.panels import finished, mean_over_seeds, need, panels, with_series

BUSY: dict[str, Any] = {"facecolor": palette.BLUE, "edgecolor": "white"}
EXCHANGING: dict[str, Any] = {"facecolor": palette.PURPLE, "edgecolor": "white", "hatch": "...."}
WAITING: dict[str, Any] = {"facecolor": palette.ORANGE, "edgecolor": "white", "hatch": "////"}

BARS = {
    "busy_seconds": ("busy", BUSY),
    "exchange_seconds": ("exchanging", EXCHANGING),
    "wait_seconds": ("waiting for a peer", WAITING),
}
"""What a worker's bar consists of."""


def where_the_time_goes(loaded: Runs) -> Figure:
    """A stacked bar per worker: seconds busy, exchanging, and waiting for a peer.

    Runs of earlier versions did not count exchanging: theirs is 0, and part of busy.
    """
    runs = with_series(finished(loaded.summaries))
    ranks = _ranks(runs)
    need(len(ranks) > 0, "needs runs that recorded their workers")
    chosen = list(panels(ranks, TASK))
    bars = [len(members.groupby(["series", "rank"])) for _, members in chosen]
    handles = [Patch(label=label, **style) for label, style in BARS.values()]
    caption = layout.caption(runs, spread=False)
    names = [_name(str(name), 0, 2) for name in ranks["series"].unique()]
    figure, axes = layout.rows(
        "Where the time goes", caption, bars, bar_height=0.22, names=names, handles=handles
    )
    for ax, (name, members) in zip(axes, chosen, strict=True):
        ax.set_title(name, loc="left")
        _draw_workers(ax, mean_over_seeds(members, ["series", "rank"], list(BARS)))
    axes[-1].set_xlabel("train seconds")
    return figure


def _ranks(runs: pd.DataFrame) -> pd.DataFrame:
    rows = (
        runs[[*TASK, "seed", "series", "contended", "ranks"]]
        .explode("ranks")
        .dropna(subset="ranks")
        .reset_index(drop=True)
    )
    measured = pd.DataFrame(rows["ranks"].tolist(), index=rows.index)
    if len(measured):
        measured["exchange_seconds"] = measured.get("exchange_seconds", pd.Series(index=rows.index)).fillna(
            0.0
        )
    return rows.drop(columns="ranks").join(measured)


def _draw_workers(ax: Axes, means: pd.DataFrame) -> None:
    places = range(len(means))
    end = pd.Series(0.0, index=means.index)
    for column, (label, style) in BARS.items():
        ax.barh(places, means[column], left=end, height=0.75, label=label, **style)
        end += means[column]
    size = means.groupby("series")["rank"].transform("size")
    layout.name_bars(ax, [_name(*bar) for bar in zip(means["series"], means["rank"], size, strict=True)])
    ax.set_xlim(0, 1.05 * end.max())


def _name(series: str, rank: int, num_workers: int) -> str:
    if num_workers == 1:
        return series
    return f"{series} · worker {rank}" if rank == 0 else f"worker {rank}"


def block_loss(loaded: Runs) -> Figure:
    """The loss that each block minimises, over epochs; a panel for each way of training that has blocks."""
    columns = {
        column: int(found.group(1))
        for column in loaded.evaluations.columns
        if (found := re.fullmatch(r"block/(\d+)/loss", column))
    }
    need(len(columns) > 0, "needs a run that logs a loss per block, such as mode=layerwise")
    runs = with_series(finished(loaded.summaries), mark_contended=False)
    rows = runs[["path", "seed", "series", "contended", *TASK]].merge(
        loaded.evaluations[["path", "epoch", *columns]].dropna(subset=list(columns), how="all"), on="path"
    )
    need(len(rows) > 0, "needs a finished run that logs a loss per block, such as mode=layerwise")
    chosen = list(panels(rows, [*TASK, "series"]))
    titles = [f"{name}\n{members['series'].iloc[0]}" for name, members in chosen]
    caption = layout.caption(runs[runs["path"].isin(rows["path"])], spread=False, mark=None)
    blocks = sorted(columns.values())
    styles = _block_styles(blocks)
    handles = [palette.handle(f"block {block}", styles[block]) for block in blocks]
    figure, axes = layout.grid(
        "Loss of each block", caption, titles, ylabel="loss of the block", handles=handles
    )
    for ax, (_, members) in zip(axes, chosen, strict=True):
        for column, block in sorted(columns.items(), key=lambda item: item[1]):
            curve = mean_over_seeds(members, ["epoch"], [column]).dropna(subset=column)
            style = styles[block]
            ax.plot(
                curve["epoch"],
                curve[column],
                color=style.color,
                linestyle=style.linestyle,
                marker=style.marker,
                markevery=max(1, len(curve) // 8),
                label=f"block {block}",
            )
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlim(left=0)
    return figure


def _block_styles(blocks: list[int]) -> dict[int, palette.Style]:
    """From dark to light in order of depth, also for colour-blind eyes and in grey print."""
    shades = colormaps["viridis"]
    most = max(1, len(blocks) - 1)
    return {
        block: palette.Style(
            _hex(shades(0.9 * number / most)), palette.MARKERS[number % 8], palette.DASHES[number % 4]
        )
        for number, block in enumerate(blocks)
    }


def _hex(shade: tuple[float, float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in shade[:3])
