"""What several figures do with the runs before they draw: panels, series, means over seeds."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Any

import pandas as pd

from layerpar.results.groups import TASK
from layerpar.results.settings import disambiguate
from layerpar.results.verdicts import half_width

PANEL = ("architecture.depth", "architecture.width")
"""What the title of a panel says."""

FOLLOWING = ("mode.partition", "mode.replicas")
"""What follows from an axis of sizes or workers, but where it was varied for itself."""

SIZES = (*PANEL, "mode.partition")
"""What an axis of sizes or workers stands for: the network, and where it is then cut."""

AMOUNT = ("epochs", "dataset.num_train", "dataset.train_limit")
"""How much work there was; a ratio of seconds does not show it."""


def growing(runs: pd.DataFrame) -> tuple[str, ...]:
    """The settings that grow with the workers, where each worker has the same part of every batch."""
    each = runs["batch_size"] / runs["workers"]
    grows = each.nunique() == 1 and runs["batch_size"].nunique() > 1
    return ("batch_size", *AMOUNT) if grows else ()


class FigureSkippedError(Exception):
    """A figure that the runs have not the data for: what it would take."""


def need(condition: bool, reason: str) -> None:
    """Raise `FigureSkippedError(reason)` unless `condition` holds."""
    if not condition:
        raise FigureSkippedError(reason)


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that ended well."""
    done = runs[runs["status"] == "done"]
    need(len(done) > 0, "no finished run")
    return done


def with_series(
    runs: pd.DataFrame,
    *,
    keys: Sequence[str] = TASK,
    ignore: Collection[str] = PANEL,
    axis: str | None = None,
    mark_contended: bool = True,
) -> pd.DataFrame:
    """The runs in the order of modes, with a column `series`: their label, and what tells them from others
    of their panel.

    Args:
        runs: The runs of one figure.
        keys: The columns that make its panels.
        ignore: Settings that the figure shows otherwise, by its panels or its horizontal axis. Those of
            `FOLLOWING` count where they differ between runs at the same place that are alike otherwise.
        axis: The horizontal one, as a column of the runs.
        mark_contended: Add the caption's star to the names of series with a contended run.
    """
    hidden = {"seed", "target_accuracy", "dataset.name", "architecture.name", *ignore}
    names: dict[Hashable, str] = {}
    for _, alike in runs.groupby([*keys, "label"], dropna=False):
        settings = alike["settings"].tolist()
        places = [None] * len(alike) if axis is None else alike[axis].tolist()
        told = hidden - _varied(settings, places, hidden.intersection(FOLLOWING))
        named = pd.Series(
            disambiguate(alike["label"].tolist(), settings, ignore=told), index=alike.index, dtype=object
        )
        if mark_contended:
            contended = set(named[alike["contended"]])
            named = named.map({name: f"{name} *" if name in contended else name for name in named})
        names.update(named)
    named = pd.Series(names, dtype=object).reindex(runs.index)
    order = [
        (place, label, natural(name))
        for place, label, name in zip(runs["order"], runs["label"], named, strict=True)
    ]
    return runs.assign(series=named).iloc[sorted(range(len(order)), key=order.__getitem__)]


def _varied(settings: Sequence[dict[str, Any]], places: Sequence[Any], keys: Collection[str]) -> set[str]:
    """Those of the keys in which runs at one place differ that differ in nothing else but their seed."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for own, place in zip(settings, places, strict=True):
        others = sorted(item for item in own.items() if item[0] not in {"seed", *keys})
        alike.setdefault(str((place, others)), []).append(own)
    return {
        key for members in alike.values() for key in keys if len({str(own.get(key)) for own in members}) > 1
    }


def natural(name: str) -> list[tuple[bool, float | str]]:
    """Sorting key under which `4 workers` comes before `16 workers`."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), float(part) if part.isdigit() else part) for part in parts]


def orders(runs: pd.DataFrame) -> dict[str, int]:
    """The place of each series' way of training."""
    return dict(zip(runs["series"], runs["order"], strict=True))


def panels(runs: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and runs of each panel: one for each combination of these columns."""
    for values, members in runs.groupby(list(keys), dropna=False, sort=True):
        named = dict(zip(keys, values, strict=True))
        sizes = [
            f"{key} {value:g}" for key, value in named.items() if key in ("depth", "width") and value == value
        ]
        choices = [str(value) for key, value in named.items() if key in ("dataset", "architecture")]
        yield ", ".join([", ".join(choices), *sizes]), members


def mean_over_seeds(rows: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Means of `columns`, beside `…_ci95` and `contended`, in order of appearance.

    Repeats with one seed are one value, as in tables. `…_ci95` is half of the mean's 95 % confidence
    interval, 0 for a single seed.
    """
    of_seeds = rows.groupby([*by, "seed"], sort=False)[list(columns)].mean()
    grouped = of_seeds.groupby(level=list(by), sort=False)
    std, count = grouped.std(), grouped.count()
    ci95 = std.combine(count, lambda one, two: pd.Series(map(half_width, one, two), index=one.index))
    contended = rows.groupby(list(by), sort=False)["contended"].any()
    return grouped.mean().join(ci95.fillna(0.0).add_suffix("_ci95")).join(contended).reset_index()
