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


def work(settings: dict[str, Any]) -> frozenset[tuple[str, Any]]:
    """The part of a run's settings that a speed-up compares under."""
    prefixes = ("dataset.", "architecture.")
    return frozenset(
        item for item in settings.items() if item[0] in WORK_KEYS or item[0].startswith(prefixes)
    )


class _Baseline:
    """The finished runs of the baseline, by the work they did."""

    def __init__(self, runs: list[dict[Any, Any]], baseline: str) -> None:
        self._runs = runs
        self._name = baseline
        self._by_work: dict[frozenset[tuple[str, Any]], list[dict[str, Any]]] = {}
        for run in runs:
            if self._is_baseline(run) and run["status"] == "done":
                self._by_work.setdefault(work(run["settings"]), []).append(run)

    def ratios(self) -> list[Ratio]:
        return [self._ratio(run) for run in self._runs]

    def _is_baseline(self, run: dict[str, Any]) -> bool:
        return self._name in (run["mode"], run["label"])

    def _ratio(self, run: dict[str, Any]) -> Ratio:
        if run["status"] != "done":
            return Ratio(math.nan, f"the run is {run['status']}")
        units = self._units(run)
        if not units:
            return Ratio(math.nan, self._why_none(run))
        seconds = sum(unit["train_seconds"] for unit in units) / len(units)
        is_unit = any(unit["path"] == run["path"] for unit in units)
        return Ratio(seconds / run["train_seconds"], is_unit=is_unit)

    def _units(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        same_work = self._by_work.get(work(run["settings"]), [])
        own, optimizer = self._is_baseline(run), _optimizer(run)
        threads = run["threads_per_worker"]
        matching = [unit for unit in same_work if own or unit["threads_per_worker"] == threads]
        ranks = [
            (
                _optimizer(unit) != optimizer,
                not own and unit["workers"] != run["workers"],
                unit["workers"],
                unit["threads_per_worker"],
            )
            for unit in matching
        ]
        return [unit for unit, rank in zip(matching, ranks, strict=True) if rank == min(ranks)]

    def _why_none(self, run: dict[str, Any]) -> str:
        if not self._by_work:
            return f"no finished {self._name} run"
        own = work(run["settings"])
        if own in self._by_work:
            threads = run["threads_per_worker"]
            return f"no {self._name} run with {threads} thread{'' if threads == 1 else 's'} per worker"
        differences = ({key for key, _ in own ^ other} for other in self._by_work)
        nearest = min(differences, key=lambda keys: (len(keys), sorted(keys)))
        return f"the nearest {self._name} run differs in {', '.join(sorted(nearest))}"


def _optimizer(run: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in run["settings"].items() if key.startswith("optimizer.")}
