"""Reading one run directory."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from layerpar.measure.status import ALIVE, current_status, is_locked
from layerpar.paths import RunDirectory
from layerpar.results.files import NUMBERS, UnreadableError, check_summary, read_json, read_text

IDENTITY = (
    "label",
    "order",
    "mode",
    "objective",
    "aggregation",
    "dataset",
    "architecture",
    "depth",
    "width",
    "workers",
    "replicas",
    "threads_per_worker",
    "seed",
    "epochs",
    "batch_size",
)
"""The keys of `summary.json` that say what the run is; they stand there from its start."""


def read_run(root: Path) -> dict[str, Any]:
    """One run as a row: the keys of `summary.json` and what follows from it and the other files.

    A target that was never reached has an infinite time where the run ended or diverged. A run that was
    begun and that no process works on any more is `stopped`.

    Raises:
        UnreadableError: a file is corrupt or missing.
    """
    files = RunDirectory(root)
    status = read_json(files.status)
    state = status.get("status")
    if not isinstance(state, str):
        raise UnreadableError(f"{files.status.name} holds no status")
    if not files.run_yaml.exists():
        refused = f"refused before it started ({status.get('message')})"
        raise UnreadableError(refused if state == "refused" else f"{files.run_yaml.name} is missing")
    done = state == "done"
    if done and not files.summary.exists():
        raise UnreadableError(f"{files.summary.name} is missing though the run is done")
    summary = check_summary(read_json(files.summary), files.summary.name, finished=done)
    missing = [key for key in IDENTITY if key not in summary]
    if missing:
        raise UnreadableError(f"{files.summary.name} has no {', '.join(missing)}")
    if done and not files.environment.exists():
        raise UnreadableError(f"{files.environment.name} is missing though the run is done")
    environment = read_json(files.environment) if files.environment.exists() else {}
    if state in ALIVE and not is_locked(files):
        state = current_status(files)["status"]
    settings, ranks = summary["settings"], summary.get("ranks") or []
    return {
        **{key: summary[key] for key in IDENTITY},
        **{key: summary.get(key) for key in NUMBERS},
        "status": state,
        "time_to_target_seconds": _time_to_target(summary, state),
        "contended": bool(summary.get("contended") or summary.get("paused_seconds")),
        "ranks": ranks,
        **_over_ranks(ranks, summary.get("steps")),
        **_work(summary),
        "precision": settings.get("precision"),
        "device": summary.get("device") or _device(environment),
        "hardware": _hardware(environment),
        **_between_nodes(environment),
        "message": status.get("message"),
        "path": str(root),
        "settings": settings,
    }


def read_events(root: Path, *, epochs: int | None) -> list[dict[str, Any]]:
    """The evaluations and the starts of phases in `metrics.jsonl`, in order; none where the file is missing.

    The last line of a run that was stopped may be cut off, and is then left out.

    Args:
        root: The run's directory.
        epochs: That a finished run must have evaluated; None for a run without an end.

    Raises:
        UnreadableError: a line is corrupt, or evaluations of a finished run are missing.
    """
    path = RunDirectory(root).metrics
    if not path.exists() and epochs is None:
        return []
    lines = read_text(path).splitlines()
    events: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if '"evaluate"' not in line and '"phase"' not in line:
            continue
        try:
            events.append(json.loads(line) | {"path": str(root)})
        except (ValueError, TypeError) as error:
            if number < len(lines) or epochs is not None:
                raise UnreadableError(f"{path.name} line {number} is corrupt") from error
    last = max((event.get("epoch", 0) for event in events if event.get("event") == "evaluate"), default=0)
    if epochs is not None and last != epochs:
        raise UnreadableError(f"{path.name} ends with epoch {last} though the run of {epochs} is done")
    return events


def _time_to_target(summary: dict[str, Any], status: str) -> float:
    if summary.get("target_accuracy") is None or status not in ("done", "diverged"):
        return math.nan
    seconds = summary.get("time_to_target_seconds")
    return math.inf if seconds is None else float(seconds)


def _work(summary: dict[str, Any]) -> dict[str, float | None]:
    """What a method computes for an update, and for a sample."""
    evaluations, updates, steps = (
        summary.get(key) for key in ("gradient_evaluations", "num_updates", "steps")
    )
    if not (evaluations and updates and steps):
        return {"gradients_per_update": None, "relative_work": None}
    return {
        "gradients_per_update": evaluations / updates,
        "relative_work": evaluations / (steps * summary["batch_size"]),
    }


OVER_RANKS = (
    "wait_fraction",
    "compute_to_communication",
    "cpu_seconds",
    "sent_bytes",
    "sent_bytes_per_step",
    "peak_memory_bytes",
    "memory_above_idle_bytes",
    "flops_per_step",
)


def _over_ranks(ranks: list[dict[str, Any]], steps: int | None) -> dict[str, float | None]:
    """What all workers did together, and the memory of the one that took most."""
    if not ranks:
        return dict.fromkeys(OVER_RANKS)

    def total(key: str) -> float:
        return sum(rank.get(key) or 0 for rank in ranks)

    waited, exchanged, busy = (total(f"{kind}_seconds") for kind in ("wait", "exchange", "busy"))
    seconds = waited + exchanged + busy
    sent = total("sent_bytes")
    above = [(rank["peak_memory_bytes"] or 0) - (rank.get("idle_memory_bytes") or 0) for rank in ranks]
    return {
        "wait_fraction": waited / seconds if seconds else None,
        "compute_to_communication": busy / (waited + exchanged) if sent and waited + exchanged else None,
        "cpu_seconds": total("cpu_seconds"),
        "sent_bytes": sent,
        "sent_bytes_per_step": sent / steps if steps else None,
        "peak_memory_bytes": max(rank["peak_memory_bytes"] or 0 for rank in ranks),
        "memory_above_idle_bytes": max(above),
        "flops_per_step": total("flops") / steps if steps and total("flops") else None,
    }


def _between_nodes(environment: dict[str, Any]) -> dict[str, float | None]:
    """How many nodes there were and, of several, the link between them; None where nobody said so."""
    nodes = 1 + len(environment.get("other_nodes") or []) if environment else None
    link = (environment.get("link") or {}) if nodes != 1 else {}
    return {"nodes": nodes, **{key: link.get(key) for key in ("latency_microseconds", "bandwidth_gigabits")}}


def _device(environment: dict[str, Any]) -> str | None:
    known = str(environment.get("device")).partition(":")[0]
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
