"""How a run compares with the matching run of a baseline: speed-up, efficiency, accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import pandas as pd

from layerpar.errors import require_choice
from layerpar.results.settings import group_key
from layerpar.results.words import counted

BASELINE = "serial"
"""The mode that speed-up is measured against unless told otherwise."""

WORK_KEYS = (
    "seed",
    "epochs",
    "batch_size",
    "precision",
    "compile",
    "trace_steps",
    "device",
    "hardware",
)
WORK_GROUPS = ("dataset.", "architecture.", "launcher.")
"""With `WORK_KEYS`: what makes two runs the same work on the same machine."""

FOLLOWING = ("launcher.cpus_per_worker",)
"""Follows from the threads of a worker, which a speed-up may compare."""

GROWING = ("batch_size", "dataset.num_train", "dataset.train_limit")
"""What weak scaling lets grow with the workers."""

RULE = (
    "speed-up: train seconds of the {baseline} run with the same data set, architecture, seed, epochs, "
    "batch size, precision, compile, launcher, hardware and threads per worker ÷ its own; "
    "{baseline} runs themselves against the one with the fewest workers and threads"
)
SCALED_RULE = (
    "scaled speed-up: samples per second ÷ those of the {baseline} run whose batch is what each worker has "
    "here; the work grows with the workers (weak scaling)"
)


@dataclass(frozen=True)
class Ratio:
    """One run beside its unit, the runs of the baseline that it is measured against.

    Attributes:
        speed_up: Train seconds of the unit ÷ its own; NaN where there is no unit.
        efficiency: Speed-up per processor that it has more than the unit: 1 is ideal.
        serial_fraction: Of the work, by Karp and Flatt (1990): (1/S - 1/p) / (1 - 1/p) for the speed-up S on
            p times the unit's processors; NaN for as many.
        accuracy_difference: Test accuracy minus the unit's.
        scaled: The speed-up is a scaled one, of samples per second, against a unit with as large a batch for
            each worker; there is then no serial fraction and no difference of accuracy.
        missing: Why there is no unit, None where there is one.
        is_unit: The run is (one of) the unit.
        contended: Its own seconds or the unit's are.
    """

    speed_up: float = math.nan
    efficiency: float = math.nan
    serial_fraction: float = math.nan
    accuracy_difference: float = math.nan
    scaled: bool = field(default=False, kw_only=True)
    missing: str | None = field(default=None, kw_only=True)
    is_unit: bool = field(default=False, kw_only=True)
    contended: bool = field(default=False, kw_only=True)


def with_speed_up(runs: pd.DataFrame, *, baseline: str = BASELINE) -> pd.DataFrame:
    """The runs with the numbers of `Ratio` as columns, `speed_up_missing` (why there are none),
    `speed_up_contended`, `is_unit` and `scaled`.

    The unit of a run is the finished run of the baseline that did the same work with the same threads per
    worker. The baseline's own runs are measured against the one of them with the fewest workers and threads:
    so serial training on all cores is a rival like any other. Where the baseline was run in several ways,
    those with the same optimizer come first, then those with as many workers, then those with the fewest,
    then the fastest over all seeds. Only repeats of one way are averaged.

    Where no run of the baseline did the same work, but one on a smaller batch has as much of it for each
    worker, the speed-up is the scaled one (Gustafson 1988): the ratio of samples per second.

    Args:
        runs: As `load` gives them.
        baseline: A mode or a label.

    Raises:
        UserError: no run is of that baseline, and it is not `BASELINE`.
    """
    labels = dict.fromkeys([*runs["mode"], *runs["label"]])
    if baseline != BASELINE:
        require_choice("--baseline", baseline, labels)
    ratios = _Baseline(runs.to_dict("records"), baseline).ratios()
    numbers = ("speed_up", "efficiency", "serial_fraction", "accuracy_difference")
    return runs.assign(
        **{name: [getattr(ratio, name) for ratio in ratios] for name in numbers},
        speed_up_missing=pd.Series([ratio.missing for ratio in ratios], dtype=object, index=runs.index),
        speed_up_contended=[ratio.contended for ratio in ratios],
        is_unit=[ratio.is_unit for ratio in ratios],
        scaled=[ratio.scaled for ratio in ratios],
    )


def work(settings: dict[str, Any]) -> frozenset[tuple[str, Any]]:
    """The part of a run's settings that a speed-up compares under."""
    return frozenset(
        (key, value)
        for key, value in settings.items()
        if key in WORK_KEYS or (key.startswith(WORK_GROUPS) and key not in FOLLOWING)
    )


class _Baseline:
    """The finished runs of the baseline, by the work they did."""

    def __init__(self, runs: list[dict[Any, Any]], baseline: str) -> None:
        self._runs = runs
        self._name = baseline
        self._by_work: dict[frozenset[tuple[str, Any]], list[dict[str, Any]]] = {}
        seconds: dict[tuple[Any, ...], list[float]] = {}
        for run in runs:
            if self._is_baseline(run) and run["status"] == "done":
                self._by_work.setdefault(work(run["settings"]), []).append(run)
                seconds.setdefault(group_key(run["settings"]), []).append(run["train_seconds"])
        self._seconds = {key: fmean(values) for key, values in seconds.items()}

    def ratios(self) -> list[Ratio]:
        return [self._ratio(run) for run in self._runs]

    def _is_baseline(self, run: dict[str, Any]) -> bool:
        return self._name in (run["mode"], run["label"])

    def _ratio(self, run: dict[str, Any]) -> Ratio:
        if run["status"] != "done":
            return Ratio(missing=f"the run is {run['status']}")
        units = self._units(run, self._by_work.get(work(run["settings"]), []))
        if not units:
            return self._scaled(run)
        speed_up = fmean(unit["train_seconds"] for unit in units) / run["train_seconds"]
        more = _processors(run) / _processors(units[0])
        return Ratio(
            speed_up,
            speed_up / more,
            (1 / speed_up - 1 / more) / (1 - 1 / more) if more > 1 else math.nan,
            run["test_accuracy"] - fmean(unit["test_accuracy"] for unit in units),
            is_unit=any(unit["path"] == run["path"] for unit in units),
            contended=any(one["contended"] for one in (run, *units)),
        )

    def _scaled(self, run: dict[str, Any]) -> Ratio:
        """Against the unit of a run whose batch has grown with its workers."""
        own = _not_growing(run)
        smaller = [
            unit
            for same_work in self._by_work.values()
            for unit in same_work
            if unit["workers"] < run["workers"]
            and unit["batch_size"] * run["workers"] == run["batch_size"] * unit["workers"]
            and _not_growing(unit) == own
        ]
        units = self._units(run, smaller)
        if not units:
            return Ratio(missing=self._why_none(run))
        speed_up = run["samples_per_second"] / fmean(unit["samples_per_second"] for unit in units)
        return Ratio(
            speed_up,
            speed_up * _processors(units[0]) / _processors(run),
            scaled=True,
            contended=any(one["contended"] for one in (run, *units)),
        )

    def _units(self, run: dict[str, Any], same_work: list[dict[str, Any]]) -> list[dict[str, Any]]:
        own, optimizer = self._is_baseline(run), _optimizer(run)
        threads = run["threads_per_worker"]
        matching = [unit for unit in same_work if own or unit["threads_per_worker"] == threads]
        ranks = [
            (
                _optimizer(unit) != optimizer,
                not own and unit["workers"] != run["workers"],
                unit["workers"],
                unit["threads_per_worker"],
                self._seconds[group_key(unit["settings"])],
                str(group_key(unit["settings"])),
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
            return f"no {self._name} run with {counted(threads, 'thread')} per worker"
        differences = ({key for key, _ in own ^ other} for other in self._by_work)
        nearest = min(differences, key=lambda keys: (len(keys), sorted(keys)))
        return f"the nearest {self._name} run differs in {', '.join(sorted(nearest))}"


def _not_growing(run: dict[str, Any]) -> frozenset[tuple[str, Any]]:
    """The work of a run, but for how much of it there is."""
    return frozenset(item for item in work(run["settings"]) if item[0] not in GROWING)


def _optimizer(run: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in run["settings"].items() if key.startswith("optimizer.")}


def _processors(run: dict[str, Any]) -> int:
    """GPUs, or CPU threads, that compute at once."""
    return run["workers"] * (run["threads_per_worker"] if run["device"] == "cpu" else 1)
