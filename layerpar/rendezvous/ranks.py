"""Which worker this is among how many, and the process group they share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from layerpar.errors import UserError
from layerpar.rendezvous import liveness
from layerpar.rendezvous.liveness import Liveness
from layerpar.rendezvous.store import open_meeting
from layerpar.variables import NODE


@dataclass(frozen=True)
class Ranks:
    """One worker among all of a run.

    Attributes:
        rank: From 0.
        world_size: Number of workers.
        via_host: Messages must be copied through the CPU's memory, since gloo carries them though this worker
            computes on a GPU.
        shares_device: Another worker computes on this one's GPU.
        timeout: How long messages may take; None for torch's default.
    """

    rank: int
    world_size: int
    via_host: bool = False
    shares_device: bool = False
    timeout: timedelta | None = None


def worker_device(requested: str, local_rank: int) -> torch.device:
    """The device of this worker: its own GPU, one shared with others where there are fewer, else the CPU.

    Raises:
        UserError: `cuda` was asked for and there is none.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if requested == "cuda" and count == 0:
        raise UserError("device=cuda but no GPU is visible; try device=cpu")
    if requested == "cpu" or count == 0:
        return torch.device("cpu")
    return torch.device("cuda", local_rank % count)


def identity(device: torch.device) -> str:
    """Tells a GPU from all others, wherever they are; `cpu` for the CPU."""
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else "cpu"


def backend(devices: Sequence[str]) -> str:
    """What carries messages between workers on these devices, given by `identity`.

    nccl where every worker has a GPU of its own, with gloo beside it for what lies on the CPU; else gloo
    alone, for all of them alike.
    """
    apart = "cpu" not in devices and len(set(devices)) == len(devices)
    return "cpu:gloo,cuda:nccl" if apart else "gloo"


def this_node() -> int:
    """The number of this worker's host among those of the run, from 0."""
    return int(os.environ.get(NODE, os.environ.get("GROUP_RANK", "0")))  # torchrun's word for it


def join(device: torch.device, *, timeout_seconds: float, join_seconds: float) -> Ranks:
    """Join the other workers, as the launcher has described them in the environment. Collective.

    What carries messages follows from what all of them compute on: see `backend`.

    Args:
        device: What this worker computes on.
        timeout_seconds: How long to wait for a silent peer from then on.
        join_seconds: How long to wait for the others to come.

    Raises:
        LostPeerError: they did not come.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    meeting = open_meeting(join_seconds=join_seconds)
    rank, world_size, store = meeting.rank, meeting.world_size, meeting.store
    here = Liveness(store, rank, world_size, timeout_seconds=timeout_seconds)
    own = identity(device)
    missing = here.join(seconds=join_seconds, device=own)
    if missing:
        raise meeting.failure(f"worker {missing[0]} did not come within launcher.join_seconds={join_seconds}")
    liveness.begin(here)
    devices = here.devices()
    try:
        dist.init_process_group(
            backend(devices),
            store=dist.PrefixStore("torch", store),
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=join_seconds),
        )
        if "nccl" in backend(devices):
            dist.all_reduce(torch.zeros(1, device=device))  # connects all of them while they are all here
    except RuntimeError as error:
        raise meeting.failure("workers could not connect to each other") from error
    timeout = timedelta(seconds=timeout_seconds)
    store.set_timeout(timeout)
    _set_timeout(timeout)
    on_gpu = device.type == "cuda"
    return Ranks(
        rank,
        world_size,
        via_host=on_gpu and backend(devices) == "gloo",
        shares_device=on_gpu and devices.count(own) > 1,
        timeout=timeout,
    )


def _set_timeout(timeout: timedelta) -> None:
    """Of the default group; torch has a public function for it since 2.14 or so."""
    set_timeout = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout
    set_timeout(timeout)
