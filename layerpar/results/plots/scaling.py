"""What more workers bring and cost: efficiency, communication and memory against their number."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from layerpar.results.groups import TASK
from layerpar.results.load import Runs
from layerpar.results.plots import layout, palette
from layerpar.results.plots.panels import (
    SIZES,
    finished,
    growing,
    mean_over_seeds,
    need,
    orders,
    panels,
    with_series,
)
from layerpar.results.speedup import with_speed_up
from layerpar.results.words import MEBIBYTE


def efficiency(loaded: Runs, *, scaled: bool = False) -> Figure:
    """Speed-up per processor over workers, in per cent; a panel per task.

    Args:
        loaded: The runs.
        scaled: Of weak scaling, where the work grows with the workers.
    """
    runs = with_speed_up(finished(loaded.summaries))
    runs = runs.assign(contended=runs["speed_up_contended"])
    runs = runs[(runs["scaled"] == scaled) | (scaled & (runs["workers"] == 1))]
    kind = "scaled speed-up" if scaled else "speed-up"
    return _against_workers(
        replace(loaded, summaries=runs),
        "efficiency",
        title=f"Efficiency against workers: {'weak' if scaled else 'strong'} scaling",
        ylabel=f"{kind} per processor (%)",
        scale=100,
    )


def communication(loaded: Runs) -> Figure:
    """Mebibytes that all workers send in a step, over workers; a panel per task."""
    return _against_workers(
        loaded,
        "sent_bytes_per_step",
        timed=False,
        title="Communication against workers",
        ylabel="MiB sent per step",
        scale=1 / MEBIBYTE,
    )


def compute_to_communication(loaded: Runs) -> Figure:
    """Seconds of computing for each second of exchanging and waiting, over workers; a panel per task."""
    return _against_workers(
        loaded,
        "compute_to_communication",
        title="Computing against communication",
        ylabel="busy ÷ (exchanging + waiting)",
    )


def memory(loaded: Runs) -> Figure:
    """Peak mebibytes of the worker that takes most, above those of an idle one, over workers."""
    return _against_workers(
        loaded,
        "memory_above_idle_bytes",
        timed=False,
        title="Memory of a worker against workers",
        ylabel="peak MiB above an idle worker",
        scale=1 / MEBIBYTE,
    )


def _against_workers(
    loaded: Runs, measure: str, *, title: str, ylabel: str, scale: float = 1.0, timed: bool = True
) -> Figure:
    runs = finished(loaded.summaries)
    runs = runs[runs[measure].notna()]
    hidden = ("workers", "mode.replicas", *SIZES, *growing(runs))
    runs = with_series(runs, ignore=hidden, axis="workers", mark_contended=False)
    runs = runs if timed else runs.assign(contended=False)
    chosen = [(name, members) for name, members in panels(runs, TASK) if _spans(members)]
    need(len(chosen) > 0, "needs one way of training with two numbers of workers")
    drawn = pd.concat([members for _, members in chosen])
    styles = palette.styles(orders(drawn))
    handles = [palette.handle(name, style) for name, style in styles.items()]
    handles += [palette.HOLLOW] if drawn["contended"].any() else []
    titles = [name for name, _ in chosen]
    caption = layout.caption(drawn, mark="hollow")
    figure, axes = layout.grid(title, caption, titles, ylabel=ylabel, handles=handles)
    for ax, (_, members) in zip(axes, chosen, strict=True):
        means = mean_over_seeds(members.astype({measure: float}), ["series", "workers"], [measure])
        for name, line in means.groupby("series", sort=False):
            style, line = styles[str(name)], line.sort_values("workers")
            place, mean, ci95 = line["workers"], scale * line[measure], scale * line[f"{measure}_ci95"]
            ax.errorbar(place, mean, ci95, color=style.color, linestyle=style.linestyle, capsize=2)
            palette.draw_points(ax, place, mean, style, contended=line["contended"], label=str(name))
        ax.xaxis.set_major_locator(FixedLocator(sorted(means["workers"].unique())))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("workers")
        ax.set_ylim(bottom=0)
    return figure


def _spans(runs: pd.DataFrame) -> bool:
    return bool((runs.groupby("series")["workers"].nunique() > 1).any())
