"""Run directories as layerpar writes them, with made-up measurements that obey a plain model of each mode."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from layerpar.paths import RunDirectory

MEBIBYTE = 2**20
ENVIRONMENT = {
    "python": "3.12.3",
    "platform": "Linux",
    "hostname": "laptop",
    "cpu": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
    "cores": 2,
    "memory_bytes": 8 * 2**30,
    "device": "cpu",
    "gpus": [],
    "cuda": None,
    "versions": {"torch": "2.10.0"},
}
MODES: dict[str, dict[str, Any]] = {
    "serial": {"name": "serial", "microbatches": 1},
    "sequential": {"name": "sequential", "blocks": 2, "cache": True},
    "data": {"name": "data", "bucket_mebibytes": 25},
    "pipeline": {"name": "pipeline", "schedule": "1f1b", "microbatches": 4, "partition": "balanced"},
    "layerwise": {
        "name": "layerwise",
        "blocks": "workers",
        "partition": "balanced",
        "exchange": "activations",
    },
}
ORDER = {"serial": 0, "sequential": 2, "data": 3, "pipeline": 4, "layerwise": 5}
EFFICIENCY = {"serial": 1.0, "sequential": 1.1, "data": 0.55, "pipeline": 0.62, "layerwise": 0.93}
ACCURACY = {"serial": 0.973, "sequential": 0.941, "data": 0.973, "pipeline": 0.972, "layerwise": 0.966}


def config(mode: str = "serial", **changes: Any) -> dict[str, Any]:
    """A composed configuration; `changes` are dotted keys with `__` for the dot."""
    single = mode in ("serial", "sequential")
    content: dict[str, Any] = {
        "dataset": {"name": "digits", "root": "data/digits", "train_limit": None},
        "architecture": {"name": "mlp", "depth": 8, "width": 1024, "norm": "layer", "residual": False},
        "mode": dict(MODES[mode]),
        "objective": {"name": "local", "head": "linear"},
        "aggregation": {"name": "replace", "every": 1},
        "optimizer": {"name": "sgd", "lr": 0.05, "schedule": {"name": "cosine", "milestones": [0.5, 0.75]}},
        "launcher": {"name": "local", "timeout_seconds": 600},
        "seed": 0,
        "workers": 1 if single else 2,
        "epochs": 5,
        "batch_size": 128,
        "device": "auto",
        "precision": "fp32",
        "compile": False,
        "threads_per_worker": 1,
        "target_accuracy": 0.95,
        "warmup_steps": 5,
        "log_every_steps": 10,
        "trace_steps": 0,
    }
    for key, value in changes.items():
        *groups, last = key.split("__")
        place = content
        for group in groups:
            place = place[group]
        place[last] = value
    return content


def label(content: dict[str, Any]) -> str:
    """What `layerpar.modes` calls that run."""
    mode, threads = content["mode"]["name"], content["threads_per_worker"]
    if mode == "serial" and threads > 1:
        return f"serial ({threads} threads)"
    more = {"pipeline": content["mode"].get("schedule"), "layerwise": content["objective"]["name"]}.get(mode)
    return f"{mode} {more}" if more else mode


def settings(content: dict[str, Any]) -> dict[str, Any]:
    """The settings that take effect in that run, flat."""
    mode = content["mode"]["name"]
    unused = {"device", "warmup_steps", "log_every_steps"}
    unused |= set() if mode == "layerwise" else {"objective"}
    unused |= set() if mode in ("layerwise", "data") else {"aggregation"}
    flat = dict(_leaves({key: value for key, value in content.items() if key not in unused}))
    single = mode in ("serial", "sequential")
    without_effect = ("dataset.root", "launcher.timeout_seconds")
    flat = {key: value for key, value in flat.items() if key not in without_effect}
    return flat | {"workers": 1 if single else content["workers"]}


def _leaves(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value) if isinstance(value, list) else value


def summary(content: dict[str, Any], **measured: Any) -> dict[str, Any]:
    """`summary.json` of that run; `measured` replaces what the model says."""
    mode, depth, width = (
        content["mode"]["name"],
        content["architecture"]["depth"],
        content["architecture"]["width"],
    )
    local = content["objective"]["name"] == "local"
    layerwise, single = mode == "layerwise", mode in ("serial", "sequential")
    workers, threads, seed = (
        1 if single else content["workers"],
        content["threads_per_worker"],
        content["seed"],
    )
    steps = content["epochs"] * 100
    parameters = 64 * width + (depth - 1) * width * width + 10 * width
    unit = 2e-9 * parameters * content["batch_size"] * steps / 100 + 0.2
    gain = (
        EFFICIENCY[mode] * workers if workers > 1 else 1 / EFFICIENCY[mode] if mode == "sequential" else 1.0
    )
    if layerwise:
        gain *= min(1.0, 0.8 + 0.05 * math.log2(depth)) * (1.0 if local else 0.9)
    seconds = unit / gain / threads**0.8 * (1 + 0.02 * math.sin(7 * seed + depth))
    accuracy = (
        ACCURACY[mode] + 0.002 * math.sin(3 * seed + len(mode)) + (0.004 if layerwise and not local else 0)
    )
    waiting = {"serial": 0.0, "sequential": 0.0, "data": 0.4, "pipeline": 0.35, "layerwise": 0.05}[mode]
    exchanging = {"pipeline": 0.01, "layerwise": 0.03}.get(mode, 0.0)
    sent = {"data": 4 * parameters, "pipeline": 4 * 128 * width, "layerwise": 2 * 128 * width}.get(
        mode, 0
    ) * steps
    target = content["target_accuracy"]
    work = {"sequential": None, "layerwise": 1.05 if local else 1.0}.get(mode, 1.0)
    samples = steps * content["batch_size"]
    ranks = [
        {
            "rank": rank,
            "block": str(rank) if layerwise else "0",
            "layers": f"{rank * depth // workers}-{(rank + 1) * depth // workers}",
            "busy_seconds": seconds * (1 - waiting - exchanging),
            "wait_seconds": seconds * waiting,
            "exchange_seconds": seconds * exchanging,
            "cpu_seconds": seconds * (1 - waiting) * threads,
            "sent_bytes": sent,
            "peak_memory_bytes": (300 + rank) * MEBIBYTE,
            "idle_memory_bytes": 250 * MEBIBYTE,
            "paused_seconds": 0.0,
            "flops": None if work is None else 6.0 * parameters * work * samples / workers,
            "predicted_step_seconds": 0.9 * seconds / steps if mode in ("pipeline", "layerwise") else None,
        }
        for rank in range(workers)
    ]
    return {
        "status": "done",
        "label": label(content),
        "order": ORDER[mode] + (threads > 1 if mode == "serial" else layerwise and not local),
        "mode": mode,
        "objective": content["objective"]["name"] if layerwise else None,
        "aggregation": content["aggregation"]["name"] if layerwise or mode == "data" else None,
        "dataset": content["dataset"]["name"],
        "architecture": content["architecture"]["name"],
        "depth": depth,
        "width": width,
        "num_blocks": 1 if mode in ("serial", "data") else 2,
        "num_parameters": parameters,
        "workers": workers,
        "replicas": workers if mode == "data" else 1,
        "device": "cpu",
        "threads_per_worker": threads,
        "seed": seed,
        "epochs": content["epochs"],
        "batch_size": content["batch_size"],
        "train_seconds": seconds,
        "samples_per_second": steps * content["batch_size"] / seconds,
        "test_accuracy": accuracy,
        "best_test_accuracy": accuracy,
        "test_loss": 0.1,
        "target_accuracy": target,
        "time_to_target_seconds": 0.8 * seconds if target is not None and accuracy >= target else None,
        "steps": steps,
        "samples_per_update": content["batch_size"],
        "gradient_evaluations": None if work is None else work * samples,
        "num_updates": None if work is None else steps,
        "start_seconds": 3.2,
        "contended": workers * threads > 2,
        "paused_seconds": 0.0,
        "ranks": ranks,
        "phases": [],
        "settings": settings(content),
    } | measured


def metrics(result: dict[str, Any], content: dict[str, Any]) -> list[dict[str, Any]]:
    """`metrics.jsonl`: two training lines and one evaluation per epoch, and the start of every phase."""
    epochs, steps, work = content["epochs"], result["steps"], result["gradient_evaluations"]
    lines: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        begun = 0
        for name, phase in content.get("phases", {}).items():
            if begun == epoch - 1:
                before = result["train_seconds"] * begun / epochs
                at = {"epoch": begun, "train_seconds": before, "gradient_evaluations": None}
                lines.append({"event": "phase", "name": name, **at})
            begun += phase["epochs"]
        step, seconds = steps * epoch // epochs, result["train_seconds"] * epoch / epochs
        common = {
            "epoch": epoch,
            "train_loss": 2.3 * 0.5**epoch,
            "samples_per_second": result["samples_per_second"],
        }
        lines += [{"event": "train", "step": step, "train_seconds": seconds, **common}] * 2
        learned = (
            (1 - 0.4**epoch)
            / (1 - 0.4**epochs)
            * (1 - 0.03 * math.sin(7 * result["seed"] + epoch) / epoch**2)
        )
        blocks = {}
        if result["objective"] is not None:
            blocks = {
                f"block/{rank['rank']}/loss": (1.2 - 0.2 * rank["rank"]) * 0.6**epoch
                for rank in result["ranks"]
            }
        lines.append(
            {
                "event": "evaluate",
                "step": step,
                "train_seconds": seconds,
                "gradient_evaluations": work and work * epoch / epochs,
                "test_accuracy": 0.1 + (result["test_accuracy"] - 0.1) * learned,
                "test_loss": 2.3 * 0.4**epoch,
                **common,
                **blocks,
            }
        )
    return lines


def write_run(
    root: Path, mode: str = "serial", *, measured: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """A finished run's directory."""
    content = config(mode, **changes)
    result = summary(content, **(measured or {}))
    files = RunDirectory(root)
    root.mkdir(parents=True)
    files.run_yaml.write_text(yaml.safe_dump(content, sort_keys=False))
    files.status.write_text(json.dumps({"status": "done", "phase": None, "message": None}))
    files.environment.write_text(json.dumps(ENVIRONMENT))
    files.summary.write_text(json.dumps(result, indent=2))
    files.metrics.write_text("".join(json.dumps(line) + "\n" for line in metrics(result, content)))
    return root


def write_ended(root: Path, mode: str, *, status: str, message: str | None = None, **changes: Any) -> Path:
    """A run that ended badly: it measured nothing, and says why."""
    write_run(root, mode, **changes)
    files = RunDirectory(root)
    result = json.loads(files.summary.read_text())
    kept = (
        "label",
        "order",
        "settings",
        "width",
        "mode",
        "objective",
        "aggregation",
        "dataset",
        "architecture",
        "depth",
        "workers",
        "replicas",
    )
    kept += ("threads_per_worker", "seed", "epochs", "batch_size", "target_accuracy")
    empty = {key: result[key] if key in kept else None for key in result} | {"status": status, "ranks": []}
    files.summary.write_text(json.dumps(empty))
    files.status.write_text(json.dumps({"status": status, "phase": None, "message": message}))
    files.environment.unlink()
    return root


def write_comparison(root: Path, *, seeds: int = 1, **changes: Any) -> Path:
    """What `layerpar compare` leaves: every mode on the same work, serial also with all cores."""
    for seed in range(seeds):
        write_run(root / f"serial-{seed}", seed=seed, **changes)
        write_run(root / f"serial-all-{seed}", seed=seed, **({"threads_per_worker": 2} | changes))
        for mode in ("sequential", "data", "pipeline", "layerwise"):
            write_run(root / f"{mode}-{seed}", mode, seed=seed, **changes)
        delayed = {"objective__name": "delayed", "objective__head": "none"}
        write_run(root / f"delayed-{seed}", "layerwise", seed=seed, **(delayed | changes))
    return root
