"""Speed-up against depth, parameters, workers and the link between nodes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from layerpar.results.load import Runs
from layerpar.results.plots import layout, palette
from layerpar.results.plots.panels import (
    AMOUNT,
    SIZES,
    finished,
    mean_over_seeds,
    need,
    orders,
    panels,
    with_series,
)
from layerpar.results.speedup import with_speed_up
from layerpar.results.words import compact

WORDS = {
    "num_parameters": "numbers of parameters",
    "depth": "depths",
    "workers": "numbers of workers",
    "bandwidth_gigabits": "links between nodes",
}
"""What a horizontal axis counts."""

UNIT = Line2D([], [], color=palette.BLACK, linewidth=1, label="serial (the unit)")
IDEAL = Line2D([], [], color=palette.GREY, linewidth=1, linestyle="dotted", label="ideal: one per worker")


def against_depth(loaded: Runs) -> Figure:
    """Speed-up over depth; a panel for each data set, architecture and width."""
    panel = ("dataset", "architecture", "width")
    figure, axes, _ = _speed_up(loaded, "depth", panel, (*SIZES, *AMOUNT), title="Speed-up against depth")
    for ax in axes:
        ax.set_xlabel("depth")
    return figure


def against_parameters(loaded: Runs) -> Figure:
    """Speed-up over the number of parameters; a panel for each data set and architecture.

    Where depth and width both vary, a line per width: one through all of them would go to and fro.
    """
    panel = ("dataset", "architecture")
    sizes = loaded.summaries.groupby(list(panel))[["depth", "width"]].nunique()
    both_vary = bool((sizes > 1).all(axis=1).any())
    hidden = (
        *AMOUNT,
        "architecture.depth",
        "mode.partition",
        *(() if both_vary else ("architecture.width",)),
    )
    figure, axes, _ = _speed_up(
        loaded, "num_parameters", panel, hidden, title="Speed-up against number of parameters"
    )
    for ax in axes:
        ax.set_xlabel("parameters")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda count, _: compact(count)))
    return figure


def against_workers(loaded: Runs, *, scaled: bool = False) -> Figure:
    """Speed-up over workers with the ideal line; a panel for each data set, architecture, depth and width.

    Args:
        loaded: The runs.
        scaled: Of weak scaling, where the work grows with the workers.
    """
    panel = ("dataset", "architecture", "depth", "width")
    hidden = ("workers", "mode.replicas", *SIZES, *(("batch_size", *AMOUNT) if scaled else ()))
    title = "Scaled speed-up against workers" if scaled else "Speed-up against workers"
    figure, axes, points = _speed_up(loaded, "workers", panel, hidden, title=title, ideal=True, scaled=scaled)
    for ax, drawn in zip(axes, points, strict=True):
        most = drawn["workers"].max()
        ax.plot([1, most], [1, most], color=palette.GREY, linewidth=1, linestyle="dotted", zorder=1)
        ax.xaxis.set_major_locator(FixedLocator([1, *sorted(drawn["workers"].unique())]))
        ax.set_xlabel("workers")
    return figure


def against_bandwidth(loaded: Runs) -> Figure:
    """Speed-up over the measured bandwidth between nodes; a panel for each data set, architecture, depth
    and width. A link is what runs with the same launcher's settings share; also those of one worker, to which
    it makes no difference.
    """
    runs = loaded.summaries
    links = runs["settings"].map(
        lambda own: str(sorted(item for item in own.items() if item[0].startswith("launcher.")))
    )
    keys = {key for own in runs["settings"] for key in own if key.startswith("launcher.")}
    bandwidth = runs["bandwidth_gigabits"].astype(float).groupby(links).transform("mean")
    panel = ("dataset", "architecture", "depth", "width")
    figure, axes, _ = _speed_up(
        replace(loaded, summaries=runs.assign(bandwidth_gigabits=bandwidth)),
        "bandwidth_gigabits",
        panel,
        (*SIZES, *AMOUNT, *keys),
        title="Speed-up against the bandwidth of the link",
    )
    for ax in axes:
        ax.set_xlabel("Gbit/s between nodes, measured")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    return figure


def _speed_up(
    loaded: Runs,
    x: str,
    keys: Sequence[str],
    hidden: Collection[str],
    *,
    title: str,
    ideal: bool = False,
    scaled: bool = False,
) -> tuple[Figure, list[Axes], list[pd.DataFrame]]:
    """The figure, its panels, and the points in each."""
    runs = with_speed_up(finished(loaded.summaries))
    runs = with_series(runs, keys=keys, ignore=hidden, axis=x, mark_contended=False)
    own = (runs["scaled"] == scaled) | (scaled & (runs["workers"] == 1))
    measured = runs[runs["speed_up"].notna() & runs[x].notna() & ~runs["is_unit"] & own]
    need(len(measured) > 0, "no run has a matching serial run")
    measured = measured.assign(contended=measured["speed_up_contended"])
    chosen = [(name, points) for name, points in _points(measured, x, keys) if _spans(points, x)]
    words = WORDS[x]
    need(len(chosen) > 0, f"needs one way of training with two {words}, and matching serial runs")
    caption = layout.caption(measured, mark="hollow")
    series = list(dict.fromkeys(name for _, points in chosen for name in points["series"]))
    styles = palette.styles({name: place for name, place in orders(measured).items() if name in series})
    handles = [UNIT, *([IDEAL] if ideal else []), *(palette.handle(name, styles[name]) for name in series)]
    handles += [palette.HOLLOW] if any(points["contended"].any() for _, points in chosen) else []
    titles = [name for name, _ in chosen]
    ylabel = "times the samples per second of serial" if scaled else "times faster than serial"
    figure, axes = layout.grid(title, caption, titles, ylabel=ylabel, handles=handles)
    top = max((points["speed_up"] + points["speed_up_ci95"]).max() for _, points in chosen)
    top = max(top, *(points[x].max() for _, points in chosen)) if ideal else top
    for ax, (_, points) in zip(axes, chosen, strict=True):
        _draw(ax, points, x, styles)
        ax.set_ylim(0, 1.1 * max(1.0, top))
    return figure, axes, [points for _, points in chosen]


def _points(runs: pd.DataFrame, x: str, keys: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    found = []
    for name, members in panels(runs, keys):
        means = mean_over_seeds(members, ["series", x], ["speed_up"])
        found.append((name, means.astype({x: float})))
    return found


def _spans(points: pd.DataFrame, x: str) -> bool:
    return bool((points.groupby("series")[x].nunique() > 1).any())


def _draw(ax: Axes, points: pd.DataFrame, x: str, styles: dict[str, palette.Style]) -> None:
    ax.axhline(1, color=palette.BLACK, linewidth=1, zorder=1)
    for name, line in points.groupby("series", sort=False):
        style = styles[str(name)]
        line = line.sort_values(x)
        ax.errorbar(
            line[x],
            line["speed_up"],
            line["speed_up_ci95"],
            color=style.color,
            linestyle=style.linestyle,
            capsize=2,
        )
        palette.draw_points(
            ax, line[x], line["speed_up"], style, contended=line["contended"], label=str(name)
        )
    ticks = sorted(points[x].unique())
    logarithmic = x != "workers" and ticks[-1] / ticks[0] > 4
    if logarithmic:
        ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(apart(ticks, logarithmic=logarithmic)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def apart(ticks: Sequence[float], *, logarithmic: bool) -> list[float]:
    """The ticks, without those so near to the one before that their labels would overlap."""
    places = [math.log(tick) if logarithmic else tick for tick in ticks]
    least = (places[-1] - places[0]) / 9
    kept = [0]
    for index, place in enumerate(places):
        if place - places[kept[-1]] > least:
            kept.append(index)
    return [ticks[index] for index in kept]
