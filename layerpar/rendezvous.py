"""How workers find each other: the store they share, as their launcher has put it into their environment.

LAYERPAR_STORE=file:PATH    one machine: a file in a folder that only this user can read
none                        by hand, under torchrun: env://
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

from layerpar.launchers.base import STORE_VARIABLE


@dataclass(frozen=True)
class Meeting:
    """Where this worker meets the others.

    Attributes:
        store: Shared by all workers.
        rank: This worker.
        world_size: How many there are.
        keeps_store: Others cannot reach the store any more once this worker has ended.
        place: This worker's host and address, for messages; empty on one machine.
    """

    store: dist.Store
    rank: int
    world_size: int
    keeps_store: bool = False
    place: str = ""


def open_store(*, seconds: float) -> Meeting:
    """The store of this run, as the environment says.

    Args:
        seconds: How long worker 0 may take to open it.

    Raises:
        UserError: across hosts, it cannot be opened or reached.
    """
    address = os.environ.get(STORE_VARIABLE)
    if address is None:
        store, rank, world_size = next(dist.rendezvous("env://", timeout=timedelta(seconds=seconds)))
        return Meeting(store, rank, world_size)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    kind, _, rest = address.partition(":")
    assert kind == "file"
    store = dist.FileStore(rest, world_size)
    store.set_timeout(timedelta(seconds=seconds))
    return Meeting(store, rank, world_size)
