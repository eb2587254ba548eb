"""Bringing a network that lies on several workers together."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor

from layerpar.architectures.base import Network


def gather_state(network: Network, owned: dict[str, Tensor], *, owner: int) -> dict[str, Tensor] | None:
    """The whole network's tensors under the names of its plain module, on the CPU of `owner`. Collective.

    Args:
        network: Whose names count.
        owned: The tensors that this rank has trained, by name.
        owner: The rank that gets them all; the others get None.
    """
    state = {name: tensor.detach().cpu() for name, tensor in owned.items()}
    mine = dist.get_rank() == owner
    parts: list[Any] | None = [None] * dist.get_world_size() if mine else None
    dist.gather_object(state, parts, dst=owner)
    if parts is None:
        return None
    whole = {name: tensor for part in parts for name, tensor in part.items()}
    return {name: whole[name].clone() for name in network.plain.state_dict()}
