"""Spike compensation: momentum SGD that knows how late its gradients come.

For momentum m and gradients that are D updates old (Kosson et al. 2020, arXiv 2003.11666):

    v ← m v + g        w ← w - lr (a v + b g)        a = m^D        b = (1 - m^D) / (1 - m)

D = 0 is plain momentum. With `nesterov` the exponent is D + 1, and D = 0 is Nesterov's momentum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from layerpar.errors import require
from layerpar.optimizers import OptimizerConfig


class SpikeSGD(torch.optim.Optimizer):
    """SGD with momentum and spike compensation.

    Args:
        parameters: What it updates.
        lr: Learning rate.
        momentum: m, in (0, 1).
        delay: D, in updates; need not be whole.
        nesterov: Count one update more, so that a delay of 0 is Nesterov's momentum.
        weight_decay: Added to gradients, times the weights.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        momentum: float,
        delay: float,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        kept = momentum ** (delay + nesterov)
        self._on_velocity, self._on_gradient = kept, (1 - kept) / (1 - momentum)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            gradients = [parameter.grad for parameter in parameters]
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
            velocities = [self._velocity(parameter) for parameter in parameters]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, gradients)
            torch._foreach_add_(parameters, velocities, alpha=-group["lr"] * self._on_velocity)
            torch._foreach_add_(parameters, gradients, alpha=-group["lr"] * self._on_gradient)

    def _velocity(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


@dataclass(kw_only=True)
class SpikeCompensated(OptimizerConfig):
    """SGD with momentum whose gradients are `delay` updates old, on average."""

    delay: float

    @staticmethod
    def of(optimizer: OptimizerConfig, *, delay: float) -> SpikeCompensated:
        """The same optimizer, compensated."""
        values = {field.name: getattr(optimizer, field.name) for field in fields(OptimizerConfig)}
        return SpikeCompensated(**values, delay=delay)

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        known = ("momentum", "nesterov", "weight_decay")
        arguments: dict[str, Any] = {name: self.arguments[name] for name in known if name in self.arguments}
        return SpikeSGD(parameters, lr=self.lr, delay=self.delay, **arguments)


def check_spike(optimizer: OptimizerConfig) -> None:
    """Refuse an optimizer that spike compensation is not defined for.

    Raises:
        UserError: with the one it is defined for.
    """
    momentum, dampening = (optimizer.arguments.get(name, 0) for name in ("momentum", "dampening"))
    require(
        optimizer.algorithm == "SGD"
        and 0 < momentum < 1
        and not dampening
        and not optimizer.arguments.get("maximize"),
        "objective.compensation=spike is defined for SGD with momentum, without dampening and maximize, "
        f"not for optimizer={optimizer.name}; try optimizer=sgd, or objective.compensation=none",
    )
