"""Which worker this is among how many, and the process group they share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from layerpar import liveness
from layerpar.errors import UserError
from layerpar.liveness import Liveness
from layerpar.rendezvous import open_meeting
from layerpar.variables import NODE


@dataclass(frozen=True)
class Ranks:
    """One worker among all of a run.

    Attributes:
        rank: From 0.
        world_size: Number of workers.
        via_host: Messages must be copied through the CPU's memory, since workers share a GPU and gloo
            carries them.
        timeout: How long messages may take; None for torch's default.
    """

    rank: int
    world_size: int
    via_host: bool = False
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


def shares_device(device: torch.device, local_world_size: int) -> bool:
    """Whether several workers of this machine compute on one GPU."""
    return device.type == "cuda" and local_world_size > torch.cuda.device_count()


def this_node() -> int:
    """The number of this worker's host among those of the run, from 0."""
    return int(os.environ.get(NODE, os.environ.get("GROUP_RANK", "0")))  # torchrun's word for it


def join(device: torch.device, *, timeout_seconds: float, join_seconds: float) -> Ranks:
    """Join the other workers, as the launcher has described them in the environment. Collective.

    gloo on the CPU and where workers share a GPU (their tensors are then copied through the CPU); nccl
    beside it where every worker has a GPU of its own.

    Args:
        device: What this worker computes on.
        timeout_seconds: How long to wait for a silent peer from then on.
        join_seconds: How long to wait for the others to come.

    Raises:
        LostPeerError: they did not come.
    """
    shared = shares_device(device, int(os.environ["LOCAL_WORLD_SIZE"]))
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" and not shared else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    meeting = open_meeting(join_seconds=join_seconds)
    rank, world_size, store = meeting.rank, meeting.world_size, meeting.store
    here = Liveness(store, rank, world_size, timeout_seconds=timeout_seconds)
    missing = here.join(seconds=join_seconds)
    if missing:
        raise meeting.failure(f"worker {missing[0]} did not come within launcher.join_seconds={join_seconds}")
    liveness.begin(here)
    try:
        dist.init_process_group(
            backend,
            store=dist.PrefixStore("torch", store),
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=join_seconds),
        )
    except RuntimeError as error:
        raise meeting.failure("workers could not connect to each other") from error
    timeout = timedelta(seconds=timeout_seconds)
    store.set_timeout(timeout)
    _set_timeout(timeout)
    return Ranks(rank, world_size, via_host=shared, timeout=timeout)


def _set_timeout(timeout: timedelta) -> None:
    """Of the default group; torch has a public function for it since 2.14 or so."""
    set_timeout = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout
    set_timeout(timeout)
