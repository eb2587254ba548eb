"""One picture of a comparison: how long each way of training takes, and how it learns meanwhile."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerpar.results.cells import number
from layerpar.results.lines import GROUP
from layerpar.results.load import Results
from layerpar.results.plots import palette, style
from layerpar.results.plots.accuracy import TARGET, draw_curves, evaluations_per_run
from layerpar.results.plots.panels import finished, mean_over_seeds, need, panels, with_series
from layerpar.results.speedup import with_speed_up


def comparison(results: Results) -> Figure:
    """Left: train seconds, with the speed-up beside every bar. Right: test accuracy over train seconds."""
    runs = with_speed_up(with_series(finished(results.runs)))
    groups = list(panels(runs, GROUP))
    need(
        len(groups) == 1,
        "needs runs of one data set and architecture; the other figures have a panel for each",
    )
    names = list(dict.fromkeys(runs["series"]))
    need(len(names) > 1, "needs two ways of training")
    need(evaluations_per_run(results) > 1, "needs a run with two evaluations")
    looks = palette.looks(names)
    title, _ = groups[0]
    handles = [palette.handle(name, looks[name]) for name in names]
    handles += [TARGET] if runs["target_accuracy"].notna().any() else []
    height = max(3.6, 0.35 * len(names) + 1)
    figure = style.new_figure(
        f"Training {title}", style.caption(runs), width=10.5, height=height, handles=handles
    )
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    _draw_bars(left, runs, looks)
    draw_curves(right, runs, results.evaluations, "train_seconds", looks)
    right.set_xlabel("train seconds")
    right.set_ylabel("test accuracy (%)")
    right.set_title("how it learns", loc="left")
    return figure


def _draw_bars(ax: Axes, runs: pd.DataFrame, looks: dict[str, palette.Look]) -> None:
    bars = mean_over_seeds(runs, ["series"], ["train_seconds", "speed_up"]).sort_values("train_seconds")
    longest = bars["train_seconds"].max()
    for place, bar in enumerate(bars.to_dict("records")):
        mean, deviation = bar["train_seconds"], bar["train_seconds_std"]
        name = str(bar["series"])
        ax.barh(
            place, mean, xerr=deviation or None, height=0.65, capsize=2, color=looks[name].color, label=name
        )
        text = f"{number(mean)} s" + ("" if pd.isna(bar["speed_up"]) else f"  {number(bar['speed_up'])}x")
        ax.text(mean + deviation + 0.02 * longest, place, text, va="center", fontsize=8)
    style.name_bars(ax, bars["series"].tolist())
    ax.set_xlim(0, 1.35 * longest)
    ax.set_xlabel("train seconds")
    ax.set_title("how long it takes, and speed-up over serial", loc="left")
