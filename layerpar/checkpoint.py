"""Checkpoints: what every worker needs to go on after an epoch as if it had never stopped.

checkpoint/3/          after epoch 3; the one before it stays until the next is whole
  0.pt 1.pt            a file per rank, which `torch.load` reads with `weights_only=True`
  about.json           whose it is, the checksum of every file, and how long metrics.jsonl was then
"""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from layerpar.config import RunConfig
from layerpar.errors import UserError
from layerpar.measure.writing import checksum, sync_directory, write_json, write_tensors
from layerpar.paths import RunDirectory
from layerpar.rendezvous import liveness

ABOUT = "about.json"
KEPT = 2
"""How many checkpoints of a run there are: the last, and the one that helps where it is damaged."""


def identity(config: RunConfig) -> str:
    """Tells checkpoints of this run from all others: a digest of its settings.

    Left out is what may differ after `layerpar resume` (epochs, workers and how they are started), and where
    numbers go.
    """
    settings = asdict(config)
    for part in (settings, *(phase["config"] for phase in settings["phases"])):
        del part["workers"], part["launcher"], part["logger"]
    del settings["epochs"]
    return sha256(json.dumps(settings, sort_keys=True, default=_plain).encode()).hexdigest()


def digest_of(about: dict[str, Any]) -> str:
    """SHA-256 of a checkpoint's table of contents, without this entry of it."""
    return sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else str(value)


def save(directory: RunDirectory, content: dict[str, Any], *, of: str, epoch: int, owner: bool) -> None:
    """Write a checkpoint and remove those before the last two. Collective; there is a whole one at any time.

    Args:
        directory: The run's.
        content: Of this rank: tensors, numbers, texts, and lists and dictionaries of them.
        of: The run's `identity`.
        epoch: Epochs done.
        owner: Whether this rank writes the records; true on exactly one.

    Raises:
        OSError: a file cannot be written; names it.
    """
    folder = directory.checkpoints / str(epoch)
    temporary = folder.with_suffix(".tmp")
    temporary.mkdir(parents=True, exist_ok=True)
    name = f"{dist.get_rank()}.pt"
    written: list[Any] = [None] * dist.get_world_size()
    digest = write_tensors(temporary / name, content)
    liveness.meet()
    dist.all_gather_object(written, (name, digest))
    if owner:
        length = directory.metrics.stat().st_size
        about = {"run": of, "epoch": epoch, "metrics_bytes": length, "files": dict(written)}
        write_json(temporary / ABOUT, about | {"checksum": digest_of(about)})
        if folder.exists():  # damaged, else it would have been gone on from
            shutil.rmtree(folder)
        temporary.rename(folder)
        sync_directory(directory.checkpoints)
        for older in directory.whole_checkpoints()[:-KEPT]:
            shutil.rmtree(older)


def newest(directory: RunDirectory) -> Path | None:
    """The folder of the last checkpoint, None where there is none."""
    return next(reversed(directory.whole_checkpoints()), None)


def verify(folder: Path, *, of: str, rank: int | None = None) -> None:
    """Make sure that a checkpoint is whole and this run's.

    Args:
        folder: The checkpoint's.
        of: The run's `identity`.
        rank: Look at this rank's file only; None for all.

    Raises:
        UserError: it is damaged, incomplete or another run's; names the file and what helps.
    """
    files = _about(folder, of)["files"]
    names = files if rank is None else [f"{rank}.pt"]
    for path in (folder / name for name in names):
        if not path.is_file():
            raise UserError(_refusal(path, "is missing"))
        if checksum(path) != files.get(path.name):
            raise UserError(_refusal(path, "is damaged"))


def _about(folder: Path, of: str) -> dict[str, Any]:
    path = folder / ABOUT
    try:
        about = json.loads(path.read_text())
        said, run = about.pop("checksum"), about["run"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(_refusal(path, "cannot be read")) from error
    if said != digest_of(about):
        raise UserError(_refusal(path, "is damaged"))
    if run != of:
        raise UserError(_refusal(path, "is of a run with other settings than run.yaml"))
    return about


def load(folder: Path, rank: int, world_size: int, *, of: str, device: torch.device) -> dict[str, Any]:
    """What that rank needs to go on: what lay on a GPU on `device`, the rest on the CPU.

    Args:
        folder: The checkpoint's.
        rank: This worker.
        world_size: How many there are. Where it is not as many as there were, the mode keeps its state by
            block (see `Mode.cannot_move`), and this rank gets all blocks.
        of: The run's `identity`.
        device: This worker's.

    Raises:
        UserError: a file is damaged or another run's.
    """
    num_files = len(_about(folder, of)["files"])
    as_before = num_files == world_size
    verify(folder, of=of, rank=rank if as_before else None)
    if as_before:
        return _read(folder / f"{rank}.pt", device)
    parts = [_read(folder / f"{number}.pt", device) for number in range(num_files)]
    blocks = {key: state for part in parts for key, state in part["engine"].get("blocks", {}).items()}
    if rank < len(parts):
        own = parts[rank]
    else:
        own = parts[0] | {"stopwatch": _waited(parts[0]["stopwatch"])}
        progress = own["progress"]
        progress["assignments"] = [("-", "-") for _ in progress["assignments"]]
        progress["peak_memory_bytes"] = 0
        progress["flops"] = progress["flops"] and 0.0  # None stays: the whole run's are not known
    return own | {"engine": parts[0]["engine"] | {"blocks": blocks}}


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    return torch.load(path, weights_only=True, map_location=partial(place, device))


def place(device: torch.device, storage: Any, location: str) -> Any:
    """Where a loaded storage goes: what lay on any GPU to `device`, the rest stays on the CPU."""
    return storage.to(device=device) if location.startswith("cuda") else storage


def _waited(stopwatch: dict[str, float]) -> dict[str, float]:
    """Of a worker that was not there yet."""
    return dict.fromkeys(stopwatch, 0) | dict.fromkeys(("seconds", "wait_seconds"), stopwatch["seconds"])


def cut_metrics(directory: RunDirectory, folder: Path) -> int:
    """Take from `metrics.jsonl` what came after the checkpoint; returns the length that is left, in bytes."""
    length = int(json.loads((folder / ABOUT).read_text())["metrics_bytes"])
    with directory.metrics.open("r+b") as file:
        file.truncate(length)
    return length


def remove(directory: RunDirectory) -> None:
    """Remove all checkpoints of a run that is done."""
    shutil.rmtree(directory.checkpoints, ignore_errors=True)


def clear_unfinished(directory: RunDirectory) -> None:
    """Remove what was being written when a run stopped; nobody may be running it."""
    for pattern in ("*.tmp", "checkpoint/*.tmp"):
        for path in directory.root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _refusal(path: Path, reason: str) -> str:
    """One line about a checkpoint that is of no use: what is wrong with it, and what helps."""
    folder = path.parent
    root = folder.parent.parent
    older = [other for other in RunDirectory(root).whole_checkpoints() if int(other.name) < int(folder.name)]
    if not older:
        again = f"rm -r {shlex.quote(str(folder))} and the same command again, which begins anew"
        return f"{path} {reason} and there is no older checkpoint; try {again}"
    command = f"rm -r {shlex.quote(str(folder))}; layerpar resume {shlex.quote(str(root))}"
    return f"{path} {reason}; to go on after epoch {older[-1].name}, try {command}"
