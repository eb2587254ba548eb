"""The losses of a segment, watched without making the device wait."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from layerpar.errors import DivergedError


class FiniteLosses:
    """The losses of a segment, on the device, and a look at them that does not wait for the device.

    Args:
        device: Where they lie.
        first_step: The optimizer step of the first.
    """

    def __init__(self, device: torch.device, *, first_step: int) -> None:
        self._device = device
        self._first_step = first_step
        self._losses: list[Tensor] = []
        self._looked = 0
        self._pending: tuple[Tensor, torch.cuda.Event | None] | None = None

    def add(self, loss: Tensor | None) -> None:
        """Of the next step; None on a rank that does not hold it."""
        if loss is not None:
            self._losses.append(loss)

    def look(self) -> None:
        """Ask whether the losses since the last look are finite, and hear of those before.

        Raises:
            DivergedError: one is not.
        """
        recent = self._losses[self._looked :]
        if not recent:
            return
        self._looked = len(self._losses)
        finite = torch.stack(recent).isfinite().all()
        if self._device.type == "cuda":
            self._hear()
            arrived = torch.cuda.Event()
            self._pending = (finite.to("cpu", non_blocking=True), arrived)
            arrived.record()
        else:
            self._pending = (finite, None)
            self._hear()

    def values(self) -> list[float]:
        """All of them.

        Raises:
            DivergedError: one is not finite.
        """
        values = torch.stack(self._losses).tolist() if self._losses else []
        for step, value in enumerate(values, start=self._first_step):
            if not math.isfinite(value):
                raise DivergedError(step, value)
        return values

    def _hear(self) -> None:
        if self._pending is None:
            return
        finite, arrived = self._pending
        if (arrived is None or arrived.query()) and not finite:
            self.values()
