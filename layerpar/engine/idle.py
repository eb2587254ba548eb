"""The engine of a worker that a phase has no work for."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from layerpar.datasets.base import Batch
from layerpar.engine.contract import Assignment, StepResult
from layerpar.optimizers import OptimizerState


class IdleEngine:
    """Does nothing, as often as the working ones do something. Its worker then counts as waiting for them."""

    owner = False
    reads_images = False
    shard = slice(0, 0)
    assignment = Assignment("-", "-")

    def __init__(self) -> None:
        self.decisions: dict[str, Any] = {}

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

    def optimizer_state(self) -> OptimizerState | None:
        return None

    def set_optimizer_state(self, moments: OptimizerState) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
