"""What finished blocks make of the training images, kept so that they need not run again."""

from __future__ import annotations

import torch
from torch import Tensor

from layerpar.measure.environment import available_memory_bytes
from layerpar.transport.links import Wire


class Features:
    """Activations of the training set, filled in as batches come by.

    Args:
        wire: How one activation is laid out.
        num_samples: Of the training set.
        device: Where they are kept.
    """

    def __init__(self, wire: Wire, num_samples: int, device: torch.device) -> None:
        self._wire = wire
        self._device = device
        self._rows = wire.buffer(num_samples, device)
        self._held = torch.zeros(num_samples, dtype=torch.bool)

    def hold(self, indices: Tensor) -> bool:
        """Whether all of these samples are here."""
        return bool(self._held[indices].all())

    def take(self, indices: Tensor) -> Tensor:
        """The activations of these samples, as `put` got them."""
        return self._wire.unpack(self._rows[indices.to(self._device)], self._device)

    def put(self, indices: Tensor, activations: Tensor) -> None:
        """Keep the activations of these samples."""
        self._rows[indices.to(self._device)] = self._wire.pack(activations)
        self._held[indices] = True


def worth_keeping(wires: list[Wire], num_samples: int, device: torch.device) -> list[bool]:
    """Which blocks' inputs to keep: as many as fit into half of the memory, two at a time.

    Args:
        wires: Of the input of every block but the first, whose inputs are the images.
        num_samples: Of the training set.
        device: Where they would be kept.
    """
    if device.type == "cuda":
        limit = torch.cuda.mem_get_info(device)[0] // 2
    else:
        limit = available_memory_bytes() // 2
    kept: list[bool] = []
    before = 0  # a block's cache is filled from that of the block before
    for wire in wires:
        size = num_samples * torch.Size(wire.shape).numel() * wire.dtype.itemsize
        kept.append(before + size <= limit)
        before = size if kept[-1] else 0
    return kept
