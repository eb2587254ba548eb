"""The memory of a worker: what it holds at once, apart from the program itself and its libraries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Memory:
    """Bytes of the worker that needs most.

    Attributes:
        weights: Of all layers that the worker holds.
        gradients: Of the weights that it trains.
        optimizer: What its optimizer remembers.
        activations: What forwards keep for backwards that are still to come.
        stash: Copies of weights that backwards under way still need.
    """

    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    activations: float = 0.0
    stash: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations + self.stash


def training(num_bytes: float, optimizer_state: float, *, activations: float, stash: float = 0.0) -> Memory:
    """Of a worker that trains all the weights it holds.

    Args:
        num_bytes: Of its weights.
        optimizer_state: Bytes that the optimizer remembers per byte of them.
        activations: Bytes kept for backwards.
        stash: Bytes of copies of weights.
    """
    return Memory(num_bytes, num_bytes, num_bytes * optimizer_state, activations, stash)
