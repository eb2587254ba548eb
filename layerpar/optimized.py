"""The one number of a run that a search goes by; for runs that have not ended well, the worst there is."""

from __future__ import annotations

import json
import math

from layerpar.paths import RunDirectory


def direction(metric: str | None) -> str:
    """`maximize` or `minimize`, in the words of Hydra's sweepers.

    Accuracies and samples per second want to be large, and `optimized_metric=null` is an accuracy; seconds
    and losses want to be small.
    """
    large = metric is None or metric.endswith("accuracy") or metric == "samples_per_second"
    return "maximize" if large else "minimize"


def value(directory: RunDirectory, metric: str | None, *, done: bool) -> float:
    """What a search is told of a run.

    Args:
        directory: The run's.
        metric: A number of `summary.json`; None for the validation accuracy, or the test accuracy where
            nothing was held out.
        done: Whether the run has ended well. One that has failed, diverged or was refused counts as the worst
            there is, so that a search keeps away from its settings: 0 where larger is better, else infinity.

    Returns:
        Infinity also where a target was never reached.
    """
    worst = 0.0 if direction(metric) == "maximize" else math.inf
    if not done:
        return worst
    summary = json.loads(directory.summary.read_text())
    if metric is None:
        metric = "validation_accuracy" if summary["validation_accuracy"] is not None else "test_accuracy"
    return worst if summary[metric] is None else float(summary[metric])
