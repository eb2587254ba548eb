"""Optimizers: torch's own, built alike for a whole network or for one block."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from inspect import Parameter, signature
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from layerpar.errors import UserError, require
from layerpar.learning_rate import Schedule

CARRIED = ("SGD", "Adam", "AdamW")
"""Algorithms whose moments go over to the next phase: those that begin with zeros."""

OptimizerState = dict[str, dict[str, Any]]
"""What an optimizer remembers of each parameter (momentum, Adam's moments), by the parameter's name."""


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
        require(0 < self.lr < inf, f"optimizer.lr={self.lr} is not positive and finite; try optimizer.lr=0.1")
        algorithm = getattr(torch.optim, self.algorithm, torch.optim.Optimizer)
        is_one = isinstance(algorithm, type) and issubclass(algorithm, torch.optim.Optimizer)
        require(
            is_one and algorithm is not torch.optim.Optimizer,
            f"optimizer.algorithm={self.algorithm} is no optimizer of torch.optim; "
            "try optimizer.algorithm=SGD",
        )
        reason = _unusable(algorithm)
        require(
            reason is None,
            f"optimizer.algorithm={self.algorithm} {reason}; try optimizer.algorithm=SGD",
        )
        accepted = dict(signature(algorithm).parameters)
        for name, value in self.arguments.items():
            require(
                name in accepted and name not in ("params", "lr"),
                f"optimizer.arguments.{name} is not an argument of torch.optim.{self.algorithm}; "
                f"leave it out, or take it out of the YAML's by ~optimizer.arguments.{name}",
            )
            default = accepted[name].default
            require(
                _is_like(value, default),
                f"optimizer.arguments.{name}={value} is of another type than torch.optim.{self.algorithm} "
                f"takes; try optimizer.arguments.{name}={_as_override(default)}",
            )

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """torch's optimizer for these parameters.

        Raises:
            UserError: it does not take these arguments or these parameters.
        """
        try:
            return getattr(torch.optim, self.algorithm)(parameters, lr=self.lr, **self.arguments)
        except (TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"optimizer: torch.optim.{self.algorithm} refuses arguments or parameters ({reason}); "
                "try optimizer=sgd"
            ) from error

    def updater(self, parameters: Iterable[Tensor], total_steps: int, *, first_step: int = 0) -> Updater:
        """The optimizer for these parameters with its schedule over `total_steps`, from `first_step` on."""
        return Updater(self.build(parameters), self.schedule, total_steps, first_step=first_step)

    def inherits(self, before: OptimizerConfig) -> bool:
        """Whether it can go on with the other's moments: the same but for learning rate and schedule."""
        same = (self.algorithm, self.arguments) == (before.algorithm, before.arguments)
        return same and self.algorithm in CARRIED


class Updater:
    """An optimizer and its schedule, stepped together."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, schedule: Schedule, total_steps: int, *, first_step: int
    ) -> None:
        self._optimizer = optimizer
        self._schedule = schedule
        self._total_steps = total_steps
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._step = first_step
        self._scheduler = schedule.build(optimizer, total_steps, first_step=first_step)

    def step(self) -> None:
        """Update the parameters from their gradients, then forget the gradients."""
        for parameter in self._parameters():
            if parameter.grad is not None and not _same_layout(parameter, parameter.grad):
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._step += 1
        if self._scheduler is not None:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """A copy that later steps leave alone."""
        return deepcopy({"optimizer": self._optimizer.state_dict(), "step": self._step})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`, at the rate that this run's schedule has there."""
        self._optimizer.load_state_dict(deepcopy(state["optimizer"]))
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate
            group.pop("initial_lr", None)
        self._step = state["step"]
        self._scheduler = self._schedule.build(self._optimizer, self._total_steps, first_step=self._step)

    def optimizer_state(self, named: Iterable[tuple[str, Tensor]]) -> OptimizerState:
        """A copy, on the CPU, of the moments of those of these parameters that are this optimizer's."""
        names = {id(parameter): name for name, parameter in named}
        state = self._optimizer.state_dict()["state"]
        return {
            names[id(parameter)]: _on_cpu(state[index])
            for index, parameter in enumerate(self._parameters())
            if index in state and id(parameter) in names
        }

    def set_optimizer_state(self, named: Iterable[tuple[str, Tensor]], moments: OptimizerState) -> None:
        """Go on from `moments`; parameters that they do not know, such as a head's, begin with zeros."""
        if not moments:
            return
        names = {id(parameter): name for name, parameter in named}
        pattern = next(iter(moments.values()))
        state = {}
        for index, parameter in enumerate(self._parameters()):
            known = moments.get(names.get(id(parameter), ""))
            state[index] = deepcopy(known) if known is not None else _zeros(pattern, parameter)
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": state})

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]


def _is_like(value: Any, default: Any) -> bool:
    """Whether an argument has the type that its default has; where that is None, anything may be right."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        same_length = isinstance(value, list | tuple) and len(value) == len(default)
        return same_length and all(map(_is_like, value, default))
    if isinstance(default, int | float | Tensor):
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    return True


def _as_override(default: Any) -> str:
    return str(list(default) if isinstance(default, tuple) else default).lower().replace(" ", "")


def _unusable(algorithm: type[torch.optim.Optimizer]) -> str | None:
    """Why no mode can train with this optimizer; None if they can."""
    closure = signature(algorithm.step).parameters.get("closure")
    if closure is not None and closure.default is Parameter.empty:
        return "computes the loss anew within a step, by a closure, which no mode offers"
    if algorithm is torch.optim.SparseAdam:
        return "takes sparse gradients only, and those of all architectures are dense"
    return None


def _same_layout(parameter: Tensor, gradient: Tensor) -> bool:
    """Whether both lie alike in memory; a fused optimizer walks through them side by side."""
    if parameter.stride() == gradient.stride():
        return True
    places = zip(parameter.shape, parameter.stride(), gradient.stride(), strict=True)
    return all(size == 1 or one == other for size, one, other in places)


def _on_cpu(state: dict[str, Any]) -> dict[str, Any]:
    """A copy that any worker can read, whatever GPUs it has; `load_state_dict` takes it to the parameters."""
    return {
        key: value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else deepcopy(value)
        for key, value in state.items()
    }


def _zeros(pattern: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
    """OptimizerState of `parameter` before its first step, with the entries that another parameter's have."""
    return {
        key: torch.zeros_like(value) if key == "step" else torch.zeros_like(parameter)
        for key, value in pattern.items()
    }
