"""Speed-up: how many times faster than the matching run of a baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from layerpar.errors import require_choice

WORK_KEYS = ("seed", "epochs", "batch_size", "precision", "device", "hardware")
"""With every key of `dataset` and `architecture`: what makes two runs the same work on the same machine."""

RULE = (
    "speed-up: train seconds of the {baseline} run with the same data set, architecture, seed, epochs, "
    "batch size, precision, hardware and threads per worker ÷ its own; "
    "{baseline} runs themselves against the one with the fewest workers and threads"
)


@dataclass(frozen=True)
class Ratio:
    """One run's speed-up.

    Attributes:
        value: The speed-up, NaN where there is none.
        missing: Why there is none, None where there is one.
        is_unit: The run is (one of) what it is measured against.
    """

    value: float
    missing: str | None = None
    is_unit: bool = False


def with_speed_up(runs: pd.DataFrame, *, baseline: str = "serial") -> pd.DataFrame:
    """The runs with columns `speed_up`, `speed_up_missing` (the reason, where it is NaN) and `is_unit`.

    The unit of a run is the finished run of the baseline that did the same work (`WORK_KEYS`) with the same
    threads per worker. The baseline's own runs are measured against the one of them with the fewest workers
    and threads: so serial training on all cores is a rival like any other. Where several match, those with
    the same optimizer come first, then those with as many workers, then those with the fewest; the mean of
    what is left is the unit.

    Args:
        runs: As `load` gives them.
        baseline: A mode or a label.

    Raises:
        UserError: no run is of that baseline, and it is not serial.
    """
    labels = dict.fromkeys([*runs["mode"], *runs["label"]])
    if baseline != "serial":
        require_choice("--baseline", baseline, labels)
    ratios = _Baseline(runs.to_dict("records"), baseline).ratios()
    return runs.assign(
        speed_up=[ratio.value for ratio in ratios],
        speed_up_missing=pd.Series([ratio.missing for ratio in ratios], dtype=object, index=runs.index),
        is_unit=[ratio.is_unit for ratio in ratios],
    )


def work(settings: dict[str, Any]) -> dict[str, Any]:
    """The part of a run's settings that a speed-up compares under."""
    return {
        key: value
        for key, value in settings.items()
        if key in WORK_KEYS or key.startswith(("dataset.", "architecture."))
    }


class _Baseline:
    """The finished runs of the baseline, by the work they did."""

    def __init__(self, runs: list[dict[str, Any]], baseline: str) -> None:
        self._runs = runs
        self._name = baseline
        self._works = [work(run["settings"]) for run in runs]
        self._by_work: dict[frozenset[Any], list[dict[str, Any]]] = {}
        for run, own in zip(runs, self._works, strict=True):
            if self._is_baseline(run) and run["status"] == "done":
                self._by_work.setdefault(frozenset(own.items()), []).append(run)
        self._nearest: dict[frozenset[Any], str] = {}

    def ratios(self) -> list[Ratio]:
        return [self._ratio(run, own) for run, own in zip(self._runs, self._works, strict=True)]

    def _is_baseline(self, run: dict[str, Any]) -> bool:
        return self._name in (run["mode"], run["label"])

    def _ratio(self, run: dict[str, Any], own: dict[str, Any]) -> Ratio:
        if run["status"] != "done":
            return Ratio(math.nan, f"the run is {run['status']}")
        same_work = self._by_work.get(frozenset(own.items()), [])
        units = self._units(run, same_work)
        if not units:
            return Ratio(math.nan, self._why_none(run, own, same_work))
        seconds = sum(unit["train_seconds"] for unit in units) / len(units)
        return Ratio(
            seconds / run["train_seconds"], is_unit=any(unit["path"] == run["path"] for unit in units)
        )

    def _units(self, run: dict[str, Any], same_work: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self._is_baseline(run):
            ranks = {unit["path"]: (unit["workers"], unit["threads_per_worker"]) for unit in same_work}
        else:
            same_work = [
                unit for unit in same_work if unit["threads_per_worker"] == run["threads_per_worker"]
            ]
            optimizer = _optimizer(run)
            ranks = {
                unit["path"]: (
                    _optimizer(unit) != optimizer,
                    unit["workers"] != run["workers"],
                    unit["workers"],
                )
                for unit in same_work
            }
        best = min(ranks.values(), default=None)
        return [unit for unit in same_work if ranks[unit["path"]] == best]

    def _why_none(self, run: dict[str, Any], own: dict[str, Any], same_work: list[dict[str, Any]]) -> str:
        if not self._by_work:
            return f"no finished {self._name} run"
        if same_work:
            threads = run["threads_per_worker"]
            return f"no {self._name} run with {threads} thread{'' if threads == 1 else 's'} per worker"
        key = frozenset(own.items())
        if key not in self._nearest:
            differences = [
                sorted({name for name, _ in key.symmetric_difference(other)}) for other in self._by_work
            ]
            self._nearest[key] = ", ".join(min(differences, key=len))
        return f"the nearest {self._name} run differs in {self._nearest[key]}"


def _optimizer(run: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in run["settings"].items() if key.startswith("optimizer.")}
