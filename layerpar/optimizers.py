"""Optimizers and learning-rate schedules: torch's own, built alike for a whole network or for one block."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor
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
        warmup: Fraction of the run over which the rate first rises linearly to its value.
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

    def build(self, optimizer: torch.optim.Optimizer, total_steps: int) -> LRScheduler | None:
        """The scheduler to step after each optimizer step, or None where the rate never moves."""
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


@dataclass(kw_only=True)
class OptimizerConfig:
    """Any optimizer of `torch.optim`, by its name there.

    Attributes:
        name: The choice, as tables show it.
        algorithm: Class name in `torch.optim`.
        lr: Learning rate (the peak, where it is scheduled).
        arguments: Further keyword arguments of that class.
        schedule: How the rate moves over the run.
    """

    name: str
    algorithm: str
    lr: float
    arguments: dict[str, Any]
    schedule: Schedule

    def __post_init__(self) -> None:
        require(self.lr > 0, f"optimizer.lr={self.lr} is not positive; try optimizer.lr=0.1")
        algorithm = getattr(torch.optim, self.algorithm, None)
        require(
            isinstance(algorithm, type),
            f"optimizer.algorithm={self.algorithm} is no class of torch.optim; try optimizer.algorithm=SGD",
        )
        accepted = set(signature(getattr(torch.optim, self.algorithm)).parameters) - {"params", "lr", "self"}
        for name in self.arguments:
            require(
                name in accepted,
                f"optimizer.arguments.{name} is not an argument of torch.optim.{self.algorithm}; "
                f"leave out +optimizer.arguments.{name}=…",
            )

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """The optimizer for these parameters."""
        algorithm = getattr(torch.optim, self.algorithm)
        return algorithm(parameters, lr=self.lr, **self.arguments)

    def updater(self, parameters: Iterable[Tensor], total_steps: int) -> Updater:
        """The optimizer for these parameters with its schedule over `total_steps`."""
        optimizer = self.build(parameters)
        return Updater(optimizer, self.schedule.build(optimizer, total_steps))


class Updater:
    """An optimizer and its schedule, stepped together."""

    def __init__(self, optimizer: torch.optim.Optimizer, scheduler: LRScheduler | None) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler

    def step(self) -> None:
        """Update the parameters from their gradients, then forget the gradients."""
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._scheduler is not None:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """A copy that later steps leave alone."""
        scheduler = None if self._scheduler is None else self._scheduler.state_dict()
        return deepcopy({"optimizer": self._optimizer.state_dict(), "scheduler": scheduler})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._optimizer.load_state_dict(deepcopy(state["optimizer"]))
        if self._scheduler is not None:
            self._scheduler.load_state_dict(deepcopy(state["scheduler"]))
