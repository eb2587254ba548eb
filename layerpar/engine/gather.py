"""Bringing a network that lies on several workers together."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor

from layerpar.architectures.base import Network
from layerpar.rendezvous import liveness


def gather_state(network: Network, owned: dict[str, Tensor], *, owner: int) -> dict[str, Tensor] | None:
    """The whole network's tensors under the names of its plain module, on the CPU of `owner`. Collective.

    Args:
        network: Whose names count.
        owned: The tensors that this rank has trained, by name.
        owner: The rank that gets them all; the others get None.
    """
    whole = gather_named({name: tensor.detach().cpu() for name, tensor in owned.items()}, owner=owner)
    return whole and {name: whole[name].clone() for name in network.plain.state_dict()}


def gather_named(owned: dict[str, Any], *, owner: int) -> dict[str, Any] | None:
    """What every rank has by name, in one dictionary on `owner`; None elsewhere. Collective."""
    mine = dist.get_rank() == owner
    parts: list[Any] | None = [None] * dist.get_world_size() if mine else None
    liveness.meet()
    dist.gather_object(owned, parts, dst=owner)
    return None if parts is None else {name: value for part in parts for name, value in part.items()}


def from_owner(value: Any, *, owner: bool) -> Any:
    """The owner's value, on every rank. Collective.

    Args:
        value: Of this rank; counts on the owner only.
        owner: Whether this rank is the owner; true on exactly one.
    """
    owners: list[Any] = [None] * dist.get_world_size()
    liveness.meet()
    dist.all_gather_object(owners, owner)
    holder = [value if owner else None]
    dist.broadcast_object_list(holder, src=owners.index(True))
    return holder[0]
