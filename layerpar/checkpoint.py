"""Checkpoints: what every worker needs to go on after an epoch as if it had never stopped.

checkpoint/3/          after epoch 3
  0.pt 1.pt            a file per rank, which `torch.load` reads with `weights_only=True`
  about.json           the epoch, and how long metrics.jsonl was then
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from layerpar import liveness
from layerpar.measure.records import write_json
from layerpar.paths import RunDirectory

ABOUT = "about.json"


def save(directory: RunDirectory, content: dict[str, Any], *, epoch: int, owner: bool) -> None:
    """Write a checkpoint and remove those before it. Collective; there is a whole one at any time.

    Args:
        directory: The run's.
        content: Of this rank: tensors, numbers, texts, and lists and dictionaries of them.
        epoch: Epochs done.
        owner: Whether this rank writes the records; true on exactly one.
    """
    folder = directory.checkpoints / str(epoch)
    temporary = folder.with_suffix(".tmp")
    temporary.mkdir(parents=True, exist_ok=True)
    torch.save(content, temporary / f"{dist.get_rank()}.pt")
    if owner:
        length = directory.metrics.stat().st_size
        write_json(temporary / ABOUT, {"epoch": epoch, "metrics_bytes": length})
    liveness.meet()
    dist.barrier()
    if owner:
        temporary.rename(folder)
        for other in directory.checkpoints.iterdir():
            if other != folder:
                shutil.rmtree(other)


def newest(directory: RunDirectory) -> Path | None:
    """The folder of the last whole checkpoint, None where there is none."""
    if not directory.checkpoints.is_dir():
        return None
    whole = [folder for folder in directory.checkpoints.iterdir() if folder.name.isdigit()]
    return max(whole, key=lambda folder: int(folder.name), default=None)


def load(folder: Path, rank: int) -> dict[str, Any]:
    """What that rank saved, on the devices where it lay."""
    return torch.load(folder / f"{rank}.pt", weights_only=True)


def cut_metrics(directory: RunDirectory, folder: Path) -> int:
    """Take from `metrics.jsonl` what came after the checkpoint; returns the length that is left, in bytes."""
    length = int(json.loads((folder / ABOUT).read_text())["metrics_bytes"])
    with directory.metrics.open("r+b") as file:
        file.truncate(length)
    return length


def remove(directory: RunDirectory) -> None:
    """Remove all checkpoints of a run that is done."""
    shutil.rmtree(directory.checkpoints, ignore_errors=True)
