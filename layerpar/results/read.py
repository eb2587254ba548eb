"""Reading one run directory."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from layerpar.paths import RunDirectory
from layerpar.results.files import NUMBERS, UnreadableError, check_summary, read_json, read_text
from layerpar.results.phased import phase_names, phases_label, without_unused
from layerpar.results.settings import effective, flatten, mode_label

IDENTITY = (
    "mode",
    "objective",
    "aggregation",
    "dataset",
    "architecture",
    "depth",
    "workers",
    "replicas",
    "device",
    "threads_per_worker",
    "seed",
    "epochs",
    "batch_size",
)
"""The keys of `summary.json` that say what the run was."""


def read_run(root: Path) -> dict[str, Any]:
    """One run as a row: the keys of `summary.json` and what follows from it and the other files.

    Never reached targets are infinite where the run ended or diverged. A run without `summary.json` (one
    that still goes, or was killed) is told by `run.yaml`.

    Raises:
        UnreadableError: a file is corrupt or missing.
    """
    files = RunDirectory(root)
    status = read_json(files.status)
    state = status.get("status")
    if not isinstance(state, str):
        raise UnreadableError(f"{files.status.name} holds no status")
    if state == "refused" and not files.run_yaml.exists():
        raise UnreadableError(f"refused before it started ({status.get('message')})")
    try:
        flat = flatten(read_text(files.run_yaml))
        composed = _composed(flat)
    except (ValueError, KeyError) as error:
        raise UnreadableError(f"{files.run_yaml.name} is corrupt ({error})") from error
    if files.summary.exists():
        summary = check_summary(read_json(files.summary), files.summary.name, finished=state == "done")
    elif state == "done":
        raise UnreadableError(f"{files.summary.name} is missing though the run is done")
    else:
        summary = {}
    environment = read_json(files.environment) if files.environment.exists() else {}
    identity = composed | {
        key: summary[key] for key in IDENTITY if key in summary and summary[key] is not None
    }
    if summary:
        identity |= {"objective": summary.get("objective"), "aggregation": summary.get("aggregation")}
    return {
        "status": state,
        **identity,
        **{key: summary.get(key) for key in NUMBERS},
        "target_accuracy": flat.get("target_accuracy"),
        "time_to_target_seconds": _time_to_target(summary, flat.get("target_accuracy"), state),
        "contended": bool(summary.get("contended")),
        "ranks": summary.get("ranks") or [],
        **_over_ranks(summary.get("ranks") or [], summary.get("steps")),
        "label": phases_label(flat)
        or mode_label(
            identity["mode"],
            objective=identity["objective"],
            schedule=flat.get("mode.schedule"),
            threads_per_worker=identity["threads_per_worker"],
        ),
        "width": flat.get("architecture.width"),
        "precision": flat.get("precision"),
        "device": identity["device"] or _device(environment, flat),
        "hardware": _hardware(environment),
        "message": status.get("message"),
        "path": str(root),
        "settings": _settings(flat, identity),
    }


def read_events(root: Path, *, finished: bool) -> list[dict[str, Any]]:
    """The evaluations and the starts of phases in `metrics.jsonl`, in order; none where the file is missing.

    The last line of a run that was stopped may be cut off, and is then left out.

    Raises:
        UnreadableError: another line is corrupt.
    """
    path = RunDirectory(root).metrics
    if not path.exists():
        return []
    lines = read_text(path).splitlines()
    events = []
    for number, line in enumerate(lines, start=1):
        if '"evaluate"' not in line and '"phase"' not in line:
            continue
        try:
            events.append(json.loads(line) | {"path": str(root)})
        except ValueError as error:
            if number < len(lines) or finished:
                raise UnreadableError(f"{path.name} line {number} is corrupt") from error
    return events


def _settings(flat: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    asked = {key: value for key, value in flat.items() if key != "device"}
    by_phase = "by phase" if phase_names(flat) else None
    return effective(
        without_unused(asked),
        objective=by_phase or identity["objective"],
        aggregation=by_phase or identity["aggregation"],
        workers=identity["workers"],
    )


def _composed(flat: dict[str, Any]) -> dict[str, Any]:
    """What the run is as far as its configuration tells."""
    mode = "phases" if phase_names(flat) else flat["mode.name"]
    return {
        "mode": mode,
        "objective": flat.get("objective.name") if mode == "layerwise" else None,
        "aggregation": flat.get("aggregation.name") if mode == "layerwise" else None,
        "dataset": flat["dataset.name"],
        "architecture": flat["architecture.name"],
        "depth": flat["architecture.depth"],
        "workers": 1 if mode in ("serial", "sequential") else flat["workers"],
        "replicas": flat.get("mode.replicas", 1),
        "device": None,
        **{key: flat[key] for key in ("threads_per_worker", "seed", "epochs", "batch_size")},
    }


def _time_to_target(summary: dict[str, Any], target: float | None, status: str) -> float:
    if target is None or status not in ("done", "diverged"):
        return math.nan
    seconds = summary.get("time_to_target_seconds")
    return math.inf if seconds is None else float(seconds)


def _over_ranks(ranks: list[dict[str, Any]], steps: int | None) -> dict[str, float | None]:
    """What all workers did together: the share of their time spent waiting, bytes sent, the largest peak."""
    if not ranks:
        return dict.fromkeys(("wait_fraction", "sent_bytes", "sent_bytes_per_step", "peak_memory_bytes"))
    waited = sum(rank["wait_seconds"] or 0 for rank in ranks)
    total = waited + sum((rank["busy_seconds"] or 0) + (rank.get("exchange_seconds") or 0) for rank in ranks)
    sent = sum(rank["sent_bytes"] or 0 for rank in ranks)
    return {
        "wait_fraction": waited / total if total else None,
        "sent_bytes": sent,
        "sent_bytes_per_step": sent / steps if steps else None,
        "peak_memory_bytes": max(rank["peak_memory_bytes"] or 0 for rank in ranks),
    }


def _device(environment: dict[str, Any], flat: dict[str, Any]) -> str | None:
    known = str(environment.get("device") or flat.get("device")).partition(":")[0]
    return known if known in ("cpu", "cuda") else None


def _hardware(environment: dict[str, Any]) -> str | None:
    """The GPUs where the run used them, else the processor and its cores."""
    gpus, cpu, cores = (environment.get(key) for key in ("gpus", "cpu", "cores"))
    if gpus and str(environment.get("device", "cuda")).startswith("cuda"):
        return f"{len(gpus)} x {gpus[0]}"
    if not cpu:
        return None
    plain = re.sub(r"\((R|TM|r|tm)\)|\bCPU\b|@.*", " ", str(cpu))
    return " ".join(plain.split()) + (f", {cores} cores" if cores else "")
