"""What tells runs from each other: the settings in which they differ, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from layerpar.results.words import counted

FIRST = ("workers", "threads_per_worker", "aggregation.name")
"""What a name tells before other settings."""


def differing(runs: Sequence[Mapping[str, Any]], *, ignore: Collection[str] = ()) -> list[str]:
    """The keys in which the settings of these runs differ.

    A key of a group counts only among runs that chose the same option of it: SGD's momentum does not tell
    SGD from Adam, the optimizer's name does.
    """
    found = []
    for key in dict.fromkeys(key for run in runs for key in run):
        if key in ignore:
            continue
        name = f"{key.partition('.')[0]}.name"
        values: dict[Any, set[Any]] = {}
        for run in runs:
            choice = run.get(name) if "." in key and key != name else None
            values.setdefault(choice, set()).add(run.get(key))
        if any(len(choices) > 1 for choices in values.values()):
            found.append(key)
    return found


def describe(run: Mapping[str, Any], keys: Iterable[str]) -> str:
    """These settings of a run in words, such as `4 workers, momentum, blocks=8`."""
    shown = sorted((key for key in keys if key in run), key=lambda key: key not in FIRST)
    return ", ".join(_words(key, run[key]) for key in shown)


def _words(key: str, value: Any) -> str:
    group, _, rest = key.partition(".")
    if key == "workers":
        return counted(value, "worker")
    if key == "threads_per_worker":
        return counted(value, "thread")
    if rest == "name" or key in ("device", "hardware"):
        return str(value)
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"{rest or group}={text}"


def disambiguate(
    labels: Sequence[str], runs: Sequence[Mapping[str, Any]], *, ignore: Collection[str]
) -> list[str]:
    """One name per run: its label, and the settings that tell it from other runs with that label."""
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for label, run in zip(labels, runs, strict=True):
        by_label.setdefault(label, []).append(run)
    keys = {label: differing(same, ignore=ignore) for label, same in by_label.items()}
    told = [describe(run, keys[label]) for label, run in zip(labels, runs, strict=True)]
    return [f"{label}, {text}" if text else label for label, text in zip(labels, told, strict=True)]


def group_key(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """What runs have in common that differ in their seed only."""
    return tuple(sorted((key, value) for key, value in settings.items() if key != "seed"))
