"""Which worker this is among how many, and the process group they share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from layerpar.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """One worker among all of a run.

    Attributes:
        rank: From 0.
        world_size: Number of workers.
        via_host: Messages must be copied through the CPU's memory, since workers share a GPU and gloo
            carries them.
    """

    rank: int
    world_size: int
    via_host: bool = False


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


def join(device: torch.device, *, timeout_seconds: float) -> Ranks:
    """Join the process group that torchrun's environment variables describe. Collective.

    gloo on the CPU and where workers share a GPU (their tensors are then via_host through the CPU);
    nccl beside it where every worker has a GPU of its own.
    """
    shared = shares_device(device, int(os.environ["LOCAL_WORLD_SIZE"]))
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" and not shared else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))
    return Ranks(dist.get_rank(), dist.get_world_size(), via_host=shared)
