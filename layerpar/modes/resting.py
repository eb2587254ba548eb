"""The engine of a worker that a phase has no work for."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from layerpar.datasets.base import Batch
from layerpar.modes.base import Place, StepResult
from layerpar.optimizers import Moments


class Resting:
    """Does nothing, as often as the working ones do something. Its worker then counts as waiting for them."""

    owner = False
    reads_images = False
    shard = slice(0, 0)
    place = Place("-", "-")

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {}

    def start(self, steps: int) -> None:
        pass

    def step(self, batch: Batch) -> StepResult:
        return StepResult(None)

    def finish(self) -> None:
        pass

    def predict(self, batch: Batch) -> Tensor | None:
        return None

    def full_state(self) -> dict[str, Tensor] | None:
        return None

    def moments(self) -> Moments | None:
        return None

    def set_moments(self, moments: Moments) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
