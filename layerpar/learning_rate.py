"""How the learning rate moves over a run: torch's schedulers, by name."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
)

from layerpar.errors import require, require_choice

SCHEDULES = ("constant", "cosine", "onecycle", "step")


@dataclass(kw_only=True)
class Schedule:
    """How the learning rate moves over a run.

    Attributes:
        name: `constant`, `cosine` (to zero), `onecycle` or `step` (x `factor` at each milestone).
        warmup: Fraction of the run over which the rate first rises linearly to its value; for `onecycle` as
            torch's `OneCycleLR` does, by a cosine from a 25th of it.
        milestones: For `step`: fractions of the run.
        factor: For `step`: what the rate is multiplied with.
    """

    name: str
    warmup: float
    milestones: list[float]
    factor: float

    def __post_init__(self) -> None:
        require_choice("optimizer.schedule.name", self.name, SCHEDULES)
        key = "optimizer.schedule.warmup"
        require(0 <= self.warmup < 1, f"{key}={self.warmup} is not a fraction of the run; try {key}=0.05")
        key = "optimizer.schedule.milestones"
        for milestone in self.milestones:
            require(
                0 < milestone < 1,
                f"{key} holds {milestone}, which is not a fraction of the run; try {key}=[0.5,0.75]",
            )
        key = "optimizer.schedule.factor"
        require(0 < self.factor < math.inf, f"{key}={self.factor} is no factor of a rate; try {key}=0.1")

    def build(
        self, optimizer: torch.optim.Optimizer, total_steps: int, *, first_step: int = 0
    ) -> LRScheduler | None:
        """The scheduler to step after each optimizer step, or None where the rate never moves.

        Args:
            optimizer: Whose rate it moves.
            total_steps: Over which it moves.
            first_step: How many of them others have taken already.
        """
        scheduler = self._from_start(optimizer, total_steps)
        if scheduler is not None:
            with warnings.catch_warnings():
                # The optimizer steps that torch misses here were another's.
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
                for _ in range(first_step):
                    scheduler.step()
        return scheduler

    def _from_start(self, optimizer: torch.optim.Optimizer, total_steps: int) -> LRScheduler | None:
        warmup = round(self.warmup * total_steps)
        rest = max(1, total_steps - warmup)
        after: LRScheduler | None
        if self.name == "onecycle":
            peak = [group["lr"] for group in optimizer.param_groups]
            share = max(self.warmup, 1 / total_steps)
            steps = total_steps + 1
            return OneCycleLR(optimizer, peak, total_steps=steps, pct_start=share, cycle_momentum=False)
        if self.name == "cosine":
            after = CosineAnnealingLR(optimizer, rest)
        elif self.name == "step":
            drops = [max(0, round(fraction * total_steps) - warmup) for fraction in self.milestones]
            after = MultiStepLR(optimizer, drops, gamma=self.factor)
        else:
            after = None
        if warmup == 0:
            return after
        rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        return rise if after is None else SequentialLR(optimizer, [rise, after], [warmup])
