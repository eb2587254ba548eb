"""Figures of predictions; every title says that they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from layerpar.results.plots import layout, palette
from layerpar.results.plots.draw import Picture

MOST_PANELS = 4


def write(
    folder: Path, rows: pd.DataFrame, deeper: pd.DataFrame, slower: pd.DataFrame, *, caption: str
) -> list[Path]:
    """Draw all figures; the files written.

    Args:
        folder: Where to, made if it is missing.
        rows: Over workers and links.
        deeper: Over depths, workers growing with them; empty for no such figure.
        slower: Over workers and bandwidths.
        caption: What was measured, on what.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    with rc_context(layout.RC):
        figure = against(rows, "workers", panel="link", caption=caption)
        written += Picture.of("predicted_workers", figure).save(folder)
        if len(deeper):
            figure = against(deeper, "layers", panel="link", caption=caption)
            written += Picture.of("predicted_depth", figure).save(folder)
        gigabits = slower.assign(gigabits=8 * slower["bandwidth"] / 1e9)
        several = gigabits[(gigabits["workers"] > 1) | (gigabits["workers"].max() == 1)]
        figure = against(several, "gigabits", panel="workers", caption=caption)
        written += Picture.of("predicted_bandwidth", figure).save(folder)
        written += Picture.of("predicted_winner", who_wins(gigabits, caption=caption)).save(folder)
        if len(deeper):
            figure = overview(deeper, gigabits, caption=caption)
            written += Picture.of("predicted_overview", figure).save(folder)
    return written


def against(rows: pd.DataFrame, x: str, *, panel: str, caption: str) -> Figure:
    """Speed-up over workers, layers or Gbit/s; a panel for each link or number of workers.

    Crosses are predictions that do not fit into the memory of a worker.
    """
    words = {"workers": "workers", "layers": "layers, a worker for every four", "gigabits": "Gbit/s"}[x]
    drawn = rows[rows["refused"].isna()]
    chosen = _spread(list(dict.fromkeys(drawn[panel])))
    styles = palette.styles(dict(zip(drawn["way"], drawn["order"], strict=True)))
    handles = [palette.handle(name, style) for name, style in styles.items()]
    titles = [f"{value} workers" if panel == "workers" else str(value) for value in chosen]
    figure, axes = layout.grid(
        f"Predicted speed-up against {words.partition(',')[0]}",
        caption,
        titles,
        ylabel="predicted times faster than serial",
        handles=handles,
    )
    for ax, value in zip(axes, chosen, strict=True):
        members = drawn[drawn[panel] == value]
        for name, line in members.groupby("way", sort=False):
            _draw(ax, line.sort_values(x), x, styles[str(name)])
        ax.set_xlabel(words)
        _scale(ax, sorted(members[x].unique()))
    return figure


def _draw(ax: Axes, line: pd.DataFrame, x: str, style: palette.Style) -> None:
    ax.plot(line[x], line["speed_up"], color=style.color, linestyle=style.linestyle)
    fits = line["fits"].astype(bool)
    ax.plot(line[x][fits], line["speed_up"][fits], style.marker, color=style.color)
    ax.plot(line[x][~fits], line["speed_up"][~fits], "x", color=style.color)


def _scale(ax: Axes, values: Sequence[float]) -> None:
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.axhline(1, color=palette.BLACK, linewidth=1, zorder=1)
    ax.set_xticks(_spread(values, most=8))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def who_wins(rows: pd.DataFrame, *, caption: str) -> Figure:
    """Which way is the fastest that fits and trains all layers in a step, over workers and bandwidth, with
    its speed-up."""
    best = _winners(rows)
    styles = palette.styles(dict(zip(rows["way"], rows["order"], strict=True)))
    figure = layout.new_figure(
        "Predicted winner over workers and bandwidth",
        caption,
        width=max(5.0, 0.6 * rows["workers"].nunique() + 1.4),
        height=0.42 * rows["gigabits"].nunique() + 0.8,
        handles=[Patch(color=styles[name].color, label=name) for name in _names(rows, best)],
    )
    _draw_winners(figure.add_subplot(), rows, best, styles)
    return figure


def overview(deeper: pd.DataFrame, rows: pd.DataFrame, *, caption: str) -> Figure:
    """What pays where, of ways that train all layers in a step.

    Left: speed-up against depth, over the first link. Right: who wins, over workers and bandwidth.
    """
    link = deeper["link"].iloc[0]
    drawn = deeper[(deeper["trains_all"] == True) & (deeper["link"] == link)]  # noqa: E712
    best = _winners(rows)
    styles = palette.styles(dict(zip(rows["way"], rows["order"], strict=True)))
    shown = [name for name in dict.fromkeys(rows["way"]) if name in {*drawn["way"], *best["way"]}]
    figure = layout.new_figure(
        "Predicted: what pays on more workers",
        caption,
        width=10.5,
        height=3.9,
        handles=[palette.handle(name, styles[name]) for name in shown],
    )
    left, right = figure.subplots(1, 2)
    for name, line in drawn.groupby("way", sort=False):
        _draw(left, line.sort_values("layers"), "layers", styles[str(name)])
    _scale(left, sorted(drawn["layers"].unique()))
    left.set_xlabel("layers, a worker for every four")
    left.set_ylabel("predicted times faster than serial")
    left.set_title(f"deeper networks, {link}", loc="left")
    _draw_winners(right, rows, best, styles)
    right.set_title("the fastest way, and its speed-up", loc="left")
    return figure


def _winners(rows: pd.DataFrame) -> pd.DataFrame:
    possible = rows[rows["fits"].astype(bool) & (rows["trains_all"] == True)]  # noqa: E712
    return possible.loc[possible.groupby(["workers", "gigabits"])["seconds"].idxmin()]


def _names(rows: pd.DataFrame, best: pd.DataFrame) -> list[str]:
    """Of ways that win somewhere, in order."""
    return [name for name in dict.fromkeys(rows["way"]) if name in set(best["way"])]


def _draw_winners(ax: Axes, rows: pd.DataFrame, best: pd.DataFrame, styles: dict[str, palette.Style]) -> None:
    """A field for each number of workers and bandwidth, in the colour of the way that wins there."""
    workers, speeds = sorted(rows["workers"].unique()), sorted(rows["gigabits"].unique())
    names = _names(rows, best)
    grid = np.full((len(speeds), len(workers)), np.nan)
    for winner in best.to_dict("records"):
        place = workers.index(winner["workers"]), speeds.index(winner["gigabits"])
        grid[place[1], place[0]] = names.index(winner["way"])
        shown = "white" if styles[winner["way"]].color == palette.BLACK else "black"
        ax.text(*place, f"{winner['speed_up']:.3g}", ha="center", va="center", fontsize=8, color=shown)
    colors = ListedColormap([styles[name].color for name in names])
    ax.imshow(grid, origin="lower", aspect="auto", cmap=colors, vmin=-0.5, vmax=len(names) - 0.5, alpha=0.75)
    ax.grid(visible=False)
    ax.set_xticks(range(len(workers)), [str(count) for count in workers])
    ax.set_yticks(range(len(speeds)), [f"{speed:g}" for speed in speeds])
    ax.set_xlabel("workers")
    ax.set_ylabel("Gbit/s")


def _spread(values: Sequence[Any], most: int = MOST_PANELS) -> list[Any]:
    """At most so many of the values, evenly spread from the first to the last."""
    if len(values) <= most:
        return list(values)
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]
