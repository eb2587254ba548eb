"""Random numbers that follow from what they are for, and from nothing else."""

from __future__ import annotations

from hashlib import blake2b

import torch


def stream(*key: int | str) -> torch.Generator:
    """Random numbers that follow from `key` alone, on the CPU so that they are the same for every device."""
    return torch.Generator().manual_seed(stream_seed(*key))


def stream_seed(*key: int | str) -> int:
    """32 bits that follow from `key`; torch's CPU generator would use no more of a longer seed."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=4).digest(), "little")
