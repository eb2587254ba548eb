"""Test accuracy against time and epochs, and the time to a target."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from layerpar.results.cells import number
from layerpar.results.lines import GROUP
from layerpar.results.load import Results
from layerpar.results.plots import palette, style
from layerpar.results.plots.panels import finished, mean_over_seeds, need, panels, with_series

TARGET = Line2D([], [], color=palette.GREY, linewidth=1, linestyle="dashed", label="target")


def against_time(results: Results) -> Figure:
    """Test accuracy over train seconds; a panel for each data set, architecture, depth and width."""
    return _curves(
        results, "train_seconds", title="Test accuracy against training time", words="train seconds"
    )


def against_epoch(results: Results) -> Figure:
    """Test accuracy over epochs; a panel for each data set, architecture, depth and width."""
    return _curves(results, "epoch", title="Test accuracy against epochs", words="epoch")


def _curves(results: Results, x: str, *, title: str, words: str) -> Figure:
    runs = with_series(finished(results.runs))
    need(evaluations_per_run(results) > 1, "needs a run with two evaluations")
    chosen = list(panels(runs, GROUP))
    series = list(dict.fromkeys(runs["series"]))
    looks = palette.looks(series)
    handles = [palette.handle(name, looks[name]) for name in series]
    handles += [TARGET] if runs["target_accuracy"].notna().any() else []
    titles = [name for name, _ in chosen]
    figure, axes = style.grid(title, style.caption(runs), titles, ylabel="test accuracy (%)", handles=handles)
    for ax, (_, members) in zip(axes, chosen, strict=True):
        draw_curves(ax, members, results.evaluations, x, looks)
        _draw_borders(ax, members, results.phases, x, looks)
        ax.set_xlabel(words)
        if x == "epoch":
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def evaluations_per_run(results: Results) -> int:
    """Of the run that has most."""
    return int(results.evaluations["path"].value_counts().max()) if len(results.evaluations) else 0


def draw_curves(
    ax: Axes, runs: pd.DataFrame, evaluations: pd.DataFrame, x: str, looks: dict[str, palette.Look]
) -> None:
    """Mean test accuracy of every series, with a band of one deviation over seeds, and the target."""
    measured = evaluations[["path", "step", "epoch", "train_seconds", "test_accuracy"]]
    rows = runs[["path", "series", "contended"]].merge(measured, on="path")
    columns = list(dict.fromkeys([x, "test_accuracy"]))
    for name, curve in mean_over_seeds(rows, ["series", "step"], columns).groupby("series", sort=False):
        look, accuracy = looks[str(name)], 100 * curve["test_accuracy"]
        ax.plot(
            curve[x],
            accuracy,
            color=look.color,
            linestyle=look.linestyle,
            marker=look.marker,
            markevery=max(1, len(curve) // 8),
            label=str(name),
        )
        band = 100 * curve["test_accuracy_std"]
        if band.any():
            ax.fill_between(
                curve[x], accuracy - band, accuracy + band, color=look.color, alpha=0.15, linewidth=0
            )
    for target in runs["target_accuracy"].dropna().unique():
        ax.axhline(100 * target, color=palette.GREY, linewidth=1, linestyle="dashed", zorder=1)
    ax.set_xlim(left=0)


def _draw_borders(
    ax: Axes, runs: pd.DataFrame, phases: pd.DataFrame, x: str, looks: dict[str, palette.Look]
) -> None:
    """A thin line where each phase but the first begins, with its name where a rising curve is not.

    Series write their names at several heights in turn; borders that several share are drawn once.
    """
    starts = runs[["path", "series", "contended"]].merge(phases[["path", "name", "epoch", "train_seconds"]])
    starts = starts[starts["epoch"] > 0]
    means = mean_over_seeds(starts, ["series", "name"], [x]).drop_duplicates(["name", x])
    risen = 0.3 * ax.get_xlim()[1]
    for order, (series, borders) in enumerate(means.groupby("series", sort=False)):
        for name, place in zip(borders["name"], borders[x], strict=True):
            color = looks[str(series)].color
            ax.axvline(place, color=color, linewidth=0.8, linestyle="dotted", zorder=1, label=str(name))
            late = place > risen
            height = 0.02 + 0.25 * (order % 3)
            ax.annotate(
                str(name),
                (place, height if late else 1 - height),
                xycoords=("data", "axes fraction"),
                xytext=(-2, 0),
                textcoords="offset points",
                ha="right",
                va="bottom" if late else "top",
                rotation=90,
                fontsize=7,
                color=color,
            )


def time_to_target(results: Results) -> Figure:
    """A bar per way of training: train seconds to the target, or that it was never reached."""
    runs = finished(results.runs)
    runs = runs[runs["time_to_target_seconds"].notna()]
    need(len(runs) > 0, "needs runs with a target_accuracy")
    need(bool(runs["time_to_target_seconds"].map(math.isfinite).any()), "no run reached its target_accuracy")
    runs = with_series(runs)
    chosen = list(panels(runs, [*GROUP, "target_accuracy"]))
    looks = palette.looks(dict.fromkeys(runs["series"]))
    bars = [members["series"].nunique() for _, members in chosen]
    figure, axes = style.rows("Time to target accuracy", style.caption(runs), bars, bar_height=0.27)
    for ax, (name, members) in zip(axes, chosen, strict=True):
        ax.set_title(f"{name}: {members['target_accuracy'].iloc[0]:.2%}", loc="left")
        _draw_times(ax, members, looks)
    axes[-1].set_xlabel("train seconds to the target (mean over the seeds that reached it)")
    return figure


def _draw_times(ax: Axes, runs: pd.DataFrame, looks: dict[str, palette.Look]) -> None:
    longest = runs["time_to_target_seconds"].where(runs["time_to_target_seconds"] < math.inf).max()
    longest = 1.0 if math.isnan(longest) else longest
    names = list(dict.fromkeys(runs["series"]))
    for place, name in enumerate(names):
        times = runs.loc[runs["series"] == name, "time_to_target_seconds"]
        reached = times[times < math.inf]
        mean = reached.mean() if len(reached) else 0.0
        deviation = reached.std() if len(reached) > 1 else 0.0
        whole = len(reached) == len(times)
        ax.barh(
            place,
            mean,
            xerr=deviation or None,
            color=looks[name].color,
            alpha=1.0 if whole else 0.4,
            height=0.65,
            capsize=2,
            label=name,
        )
        text = f"{number(mean)} s" if whole else f"∞: {len(reached)} of {len(times)} reached it"
        ax.text(mean + deviation + 0.02 * longest, place, text, va="center", fontsize=8)
    style.name_bars(ax, names)
    ax.set_xlim(0, 1.35 * longest)
