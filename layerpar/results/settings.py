"""The settings of a run as flat dotted keys, and the names of runs that follow from them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import yaml

Settings = Mapping[str, Any]

MODES = ("serial", "sequential", "data", "pipeline", "layerwise")
"""The order in which modes are listed; others follow."""

WITHOUT_EFFECT = {
    "dataset.root",
    "dataset.verify_checksums",
    "warmup_steps",
    "log_every_steps",
    "tensorboard",
    "checkpoint_every",
}
"""Keys that change neither what is computed nor what is timed."""

FIRST = ("workers", "threads_per_worker", "aggregation.name")
"""What a name tells before other settings."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def flatten(text: str) -> dict[str, Any]:
    """`run.yaml` as dotted keys with scalar values; lists become their JSON text.

    The runs of a sweep share most of their groups word for word, so each top-level entry is parsed once.

    Raises:
        ValueError: the text is not a mapping in block style.
    """
    flat: dict[str, Any] = {}
    for section in re.split(r"^(?=[A-Za-z_])", text, flags=re.MULTILINE):
        flat |= _section(section)
    if not flat:
        raise ValueError("no keys")
    return flat


@lru_cache(maxsize=4096)
def _section(text: str) -> dict[str, Any]:
    try:
        content = yaml.load(text, _LOADER)
    except yaml.YAMLError as error:
        raise ValueError("not YAML") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError("not a mapping")
    return dict(_leaves(content, ""))


def _leaves(content: Mapping[Any, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif key != "_target_":
            yield f"{prefix}{key}", json.dumps(value) if isinstance(value, list) else value


def effective(
    flat: Settings, *, objective: str | None, aggregation: str | None, workers: int
) -> dict[str, Any]:
    """The settings that this run obeyed, out of all that were composed for it.

    A mode without an objective or an aggregation ignores those groups, and some ignore `workers`. A traced
    run is slowed down a little, so its like are traced ones.
    """
    unused = {"objective.": objective is None, "aggregation.": aggregation is None}
    prefixes = tuple(prefix for prefix, is_unused in unused.items() if is_unused)
    kept = {
        key: value
        for key, value in flat.items()
        if key not in WITHOUT_EFFECT
        and (key != "trace_steps" or value)
        and not (prefixes and key.startswith(prefixes))
    }
    return kept | {"workers": workers}


def mode_label(mode: str, *, objective: str | None, schedule: str | None, threads_per_worker: int) -> str:
    """What tables and figures call a way of training: `layerwise local`, `serial (2 threads)`."""
    if mode == "serial" and threads_per_worker > 1:
        return f"serial ({threads_per_worker} threads)"
    return " ".join(part for part in (mode, objective, schedule) if part)


def mode_order(mode: str, label: str) -> tuple[int, str]:
    """Sorting key of a line: the order of `MODES`, then the label."""
    return (MODES.index(mode) if mode in MODES else len(MODES), label)


def differing(runs: Sequence[Settings], *, ignore: Collection[str] = ()) -> list[str]:
    """The keys in which the runs differ.

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


def describe(run: Settings, keys: Iterable[str]) -> str:
    """These settings of a run in words, such as `4 workers, momentum, blocks=8`."""
    shown = sorted((key for key in keys if key in run), key=lambda key: key not in FIRST)
    return ", ".join(_words(key, run[key]) for key in shown)


def _words(key: str, value: Any) -> str:
    group, _, rest = key.partition(".")
    if key == "workers":
        return f"{value} worker{'' if value == 1 else 's'}"
    if key == "threads_per_worker":
        return f"{value} thread{'' if value == 1 else 's'}"
    if rest == "name" or key in ("device", "hardware"):
        return str(value)
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"{rest or group}={text}"


def distinguished(labels: Sequence[str], runs: Sequence[Settings], *, ignore: Collection[str]) -> list[str]:
    """One name per run: its label, and what tells it from other runs with that label."""
    by_label: dict[str, list[Settings]] = {}
    for label, run in zip(labels, runs, strict=True):
        by_label.setdefault(label, []).append(run)
    keys = {label: differing(same, ignore=ignore) for label, same in by_label.items()}
    told = [describe(run, keys[label]) for label, run in zip(labels, runs, strict=True)]
    return [f"{label}, {text}" if text else label for label, text in zip(labels, told, strict=True)]
