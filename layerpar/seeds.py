"""Random numbers that follow from what they are for, and from nothing else."""

from __future__ import annotations

from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Any

import torch

from layerpar.errors import require


def check_seed(key: str, seed: int) -> None:
    """Refuse what torch's generators do not take, naming the override that sets `key`."""
    require(0 <= seed < 2**64, f"{key}={seed} is not between 0 and 2^64 - 1; try {key}=0")


def stream(*key: int | str) -> torch.Generator:
    """Random numbers that follow from `key` alone, on the CPU so that they are the same for every device."""
    return torch.Generator().manual_seed(stream_seed(*key))


def stream_seed(*key: int | str) -> int:
    """32 bits that follow from `key`; torch's CPU generator would use no more of a longer seed."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=4).digest(), "little")


def seed_generators(*key: int | str) -> None:
    """Let torch's global generators, from which dropout draws, follow from `key` from here on."""
    torch.manual_seed(stream_seed(*key))


def undisturbed(device: torch.device) -> AbstractContextManager[None]:
    """Within, nothing that is drawn changes what torch's global generators give afterwards, on the CPU and on
    `device`."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def random_state(device: torch.device) -> dict[str, Any]:
    """Of torch's global generators, on the CPU and on `device`."""
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"cpu": torch.get_rng_state(), "cuda": on_gpu}


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Go on from `random_state`."""
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
