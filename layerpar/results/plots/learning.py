"""How it learns: test accuracy and loss against time and epochs, and the time to a target."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from layerpar.results.groups import TASK
from layerpar.results.load import Runs
from layerpar.results.plots import layout, palette
from layerpar.results.plots.panels import finished, mean_over_seeds, need, orders, panels, with_series
from layerpar.results.verdicts import half_width
from layerpar.results.words import number

TARGET = Line2D([], [], color=palette.GREY, linewidth=1, linestyle="dashed", label="target")


@dataclass(frozen=True)
class Measure:
    """What a curve shows.

    Attributes:
        column: Of the evaluations.
        unit: In brackets behind its name.
        scale: What it is multiplied with.
        most: What it cannot exceed then; nor can it be below 0.
    """

    column: str
    unit: str = ""
    scale: float = 1.0
    most: float = math.inf


AXES = {
    "train_seconds": "train seconds",
    "gradient_evaluations": "gradient evaluations of all workers, by their operations",
}

ACCURACY = Measure("accuracy", " (%)", 100, 100)
LOSS = Measure("loss")


def accuracy_against_time(loaded: Runs) -> Figure:
    """Test accuracy over train seconds; a panel for each data set, architecture, depth and width."""
    return _curves(loaded, ACCURACY, "train_seconds", words="training time")


def accuracy_against_epoch(loaded: Runs) -> Figure:
    """Test accuracy over epochs; a panel for each data set, architecture, depth and width."""
    return _curves(loaded, ACCURACY, "epoch", words="epochs")


def loss_against_time(loaded: Runs) -> Figure:
    """Test loss over train seconds; panels as of accuracy."""
    return _curves(loaded, LOSS, "train_seconds", words="training time")


def loss_against_epoch(loaded: Runs) -> Figure:
    """Test loss over epochs; panels as of accuracy."""
    return _curves(loaded, LOSS, "epoch", words="epochs")


def loss_against_gradient_evaluations(loaded: Runs) -> Figure:
    """Test loss over gradient evaluations of all workers; panels as of accuracy.

    Ways of training whose work was not counted are left out.
    """
    counted = loaded.evaluations.get("gradient_evaluations", pd.Series(dtype=float)).notna()
    need(bool(counted.any()), "needs a run whose work was counted, such as mode=serial")
    known = set(loaded.evaluations.loc[counted, "path"])
    runs = loaded.summaries
    chosen = replace(
        loaded, summaries=runs[runs["path"].isin(known)], evaluations=loaded.evaluations[counted]
    )
    return _curves(chosen, LOSS, "gradient_evaluations", words="gradient evaluations")


def _curves(loaded: Runs, measure: Measure, x: str, *, words: str) -> Figure:
    timed = x == "train_seconds"
    runs = with_series(finished(loaded.summaries), mark_contended=timed)
    need(evaluations_per_run(loaded) > 1, "needs a run with two evaluations")
    chosen = list(panels(runs, TASK))
    series = list(dict.fromkeys(runs["series"]))
    styles = palette.styles(orders(runs))
    handles = [palette.handle(name, styles[name]) for name in series]
    handles += [TARGET] if measure is ACCURACY and runs["target_accuracy"].notna().any() else []
    titles = [title for title, _ in chosen]
    name = measured(measure, loaded)
    figure, axes = layout.grid(
        f"{name.capitalize()} against {words}",
        layout.caption(runs, mark="*" if timed else None),
        titles,
        ylabel=f"{name}{measure.unit}",
        handles=handles,
    )
    for ax, (_, members) in zip(axes, chosen, strict=True):
        draw_curves(ax, members, loaded.evaluations, x, measure, styles)
        _draw_borders(ax, members, loaded.phases, x, styles)
        ax.set_xlabel(AXES.get(x, x))
        if x == "epoch":
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def measured(measure: Measure, loaded: Runs) -> str:
    """What it is called: `test accuracy` or `validation accuracy`, where all runs are scored alike."""
    splits = loaded.evaluations["split"].unique()
    return f"{splits[0]} {measure.column}" if len(splits) == 1 else measure.column


def evaluations_per_run(loaded: Runs) -> int:
    """Of the run that has most."""
    return int(loaded.evaluations["path"].value_counts().max()) if len(loaded.evaluations) else 0


def draw_curves(
    ax: Axes,
    runs: pd.DataFrame,
    evaluations: pd.DataFrame,
    x: str,
    measure: Measure,
    styles: dict[str, palette.Style],
) -> None:
    """The mean of every series, with a band of its 95 % interval over seeds, and the target accuracy."""
    wanted = dict.fromkeys(["path", "step", "epoch", "train_seconds", x, measure.column])
    measured = evaluations[list(wanted)]
    rows = runs[["path", "seed", "series", "contended"]].merge(measured, on="path")
    columns = list(dict.fromkeys([x, measure.column]))
    for name, curve in mean_over_seeds(rows, ["series", "step"], columns).groupby("series", sort=False):
        style, mean = styles[str(name)], measure.scale * curve[measure.column]
        ax.plot(
            curve[x],
            mean,
            color=style.color,
            linestyle=style.linestyle,
            marker=style.marker,
            markevery=max(1, len(curve) // 8),
            label=str(name),
        )
        band = measure.scale * curve[f"{measure.column}_ci95"]
        if band.any():
            low, high = (mean - band).clip(lower=0), (mean + band).clip(upper=measure.most)
            ax.fill_between(curve[x], low, high, color=style.color, alpha=0.15, linewidth=0)
    for target in runs["target_accuracy"].dropna().unique() if measure is ACCURACY else ():
        ax.axhline(100 * target, color=palette.GREY, linewidth=1, linestyle="dashed", zorder=1)
    ax.set_xlim(left=0)


def _draw_borders(
    ax: Axes, runs: pd.DataFrame, phases: pd.DataFrame, x: str, styles: dict[str, palette.Style]
) -> None:
    """A thin line where each phase but the first begins, with its name where a rising curve is not.

    Series write their names at several heights in turn; borders that several share are drawn once.
    """
    starts = runs[["path", "seed", "series", "contended"]].merge(
        phases.reindex(columns=["path", "name", *dict.fromkeys(["epoch", x])])
    )
    starts = starts[(starts["epoch"] > 0) & starts[x].notna()]
    means = mean_over_seeds(starts, ["series", "name"], [x]).drop_duplicates(["name", x])
    risen = 0.3 * ax.get_xlim()[1]
    for order, (series, borders) in enumerate(means.groupby("series", sort=False)):
        for name, place in zip(borders["name"], borders[x], strict=True):
            color = styles[str(series)].color
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


def time_to_target(loaded: Runs) -> Figure:
    """A bar per way of training: train seconds to the target, or that it was never reached.

    Runs that diverged have not reached it either.
    """
    runs = loaded.summaries[loaded.summaries["time_to_target_seconds"].notna()]
    need(len(runs) > 0, "needs runs with a target_accuracy")
    need(bool(runs["time_to_target_seconds"].map(math.isfinite).any()), "no run reached its target_accuracy")
    keys = [*TASK, "target_accuracy"]
    runs = with_series(runs, keys=keys)
    chosen = list(panels(runs, keys))
    styles = palette.styles(orders(runs))
    bars = [members["series"].nunique() for _, members in chosen]
    caption = f"{layout.caption(runs)} · bars: means over the seeds that reached it"
    figure, axes = layout.rows(
        "Time to target accuracy", caption, bars, bar_height=0.27, names=runs["series"].unique()
    )
    for ax, (name, members) in zip(axes, chosen, strict=True):
        ax.set_title(f"{name}: {members['target_accuracy'].iloc[0]:.2%}", loc="left")
        _draw_times(ax, members, styles)
    axes[-1].set_xlabel("train seconds to the target")
    return figure


def _draw_times(ax: Axes, runs: pd.DataFrame, styles: dict[str, palette.Style]) -> None:
    longest = runs["time_to_target_seconds"].where(runs["time_to_target_seconds"] < math.inf).max()
    longest = 1.0 if math.isnan(longest) else longest
    ends: list[float] = []
    names = list(dict.fromkeys(runs["series"]))
    for place, name in enumerate(names):
        times = runs[runs["series"] == name].groupby("seed")["time_to_target_seconds"].mean()
        reached = times[times < math.inf]
        mean = reached.mean() if len(reached) else 0.0
        ci95 = half_width(reached.std(), len(reached)) if len(reached) > 1 else 0.0
        whole = len(reached) == len(times)
        ax.barh(
            place,
            mean,
            xerr=ci95 or None,
            color=styles[name].color,
            alpha=1.0 if whole else 0.4,
            height=0.65,
            capsize=2,
            label=name,
        )
        text = f"{number(mean)} s" if whole else f"∞: {len(reached)} of {len(times)} reached it"
        ends.append(mean + ci95)
        ax.text(ends[-1] + 0.02 * longest, place, text, va="center", fontsize=8)
    layout.name_bars(ax, names)
    ax.set_xlim(0, 1.35 * max(longest, *ends))
