"""One picture of a comparison: how long each way of training takes, and how it learns meanwhile."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerpar.results.groups import TASK
from layerpar.results.load import Runs
from layerpar.results.plots import layout, palette
from layerpar.results.plots.learning import ACCURACY, TARGET, draw_curves, evaluations_per_run, measured
from layerpar.results.plots.panels import finished, mean_over_seeds, need, orders, panels, with_series
from layerpar.results.speedup import with_speed_up
from layerpar.results.words import number


def comparison(loaded: Runs) -> Figure:
    """Left: train seconds, with the speed-up beside every bar. Right: test accuracy over train seconds."""
    runs = with_series(with_speed_up(finished(loaded.summaries)))
    groups = list(panels(runs, TASK))
    need(
        len(groups) == 1,
        "needs runs of one data set and architecture; the other figures have a panel for each",
    )
    names = list(dict.fromkeys(runs["series"]))
    need(len(names) > 1, "needs two ways of training")
    need(evaluations_per_run(loaded) > 1, "needs a run with two evaluations")
    styles = palette.styles(orders(runs))
    title, _ = groups[0]
    handles = [palette.handle(name, styles[name]) for name in names]
    handles += [TARGET] if runs["target_accuracy"].notna().any() else []
    height = max(3.6, 0.35 * len(names) + 1)
    width = max(5.25, layout.beside_names(names)) + 5.25
    figure = layout.new_figure(
        f"Training {title}", layout.caption(runs), width=width, height=height, handles=handles
    )
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    _draw_bars(left, runs, styles)
    draw_curves(right, runs, loaded.evaluations, "train_seconds", ACCURACY, styles)
    right.set_xlabel("train seconds")
    right.set_ylabel(f"{measured(ACCURACY, loaded)}{ACCURACY.unit}")
    right.set_title("how it learns", loc="left")
    return figure


def _draw_bars(ax: Axes, runs: pd.DataFrame, styles: dict[str, palette.Style]) -> None:
    bars = mean_over_seeds(runs, ["series"], ["train_seconds", "speed_up"]).sort_values("train_seconds")
    scaled = set(runs.loc[runs["scaled"], "series"])
    starred = set(runs.loc[runs["speed_up_contended"] & ~runs["contended"], "series"])
    longest = (bars["train_seconds"] + bars["train_seconds_ci95"]).max()
    for place, bar in enumerate(bars.to_dict("records")):
        mean, ci95 = bar["train_seconds"], bar["train_seconds_ci95"]
        name = str(bar["series"])
        ax.barh(place, mean, xerr=ci95 or None, height=0.65, capsize=2, color=styles[name].color, label=name)
        text = f"{number(mean)} s" + ("" if pd.isna(bar["speed_up"]) else f"  {number(bar['speed_up'])}x")
        text += " scaled" * (name in scaled) + " *" * (name in starred)
        ax.text(mean + ci95 + 0.02 * longest, place, text, va="center", fontsize=8)
    layout.name_bars(ax, bars["series"].tolist())
    ax.set_xlim(0, 1.35 * longest)
    ax.set_xlabel("train seconds")
    ax.set_title("how long it takes, and speed-up over serial", loc="left")
