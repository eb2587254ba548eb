"""Rules in which every weight looks at itself only: no communication beyond the mean over replicas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from layerpar.aggregation.rule import Aggregation, Blocks, Group, Rule, difference, flat
from layerpar.errors import require


class ReplaceRule(Rule):
    needs_common = False

    def combine(self, common: Blocks, proposed: Blocks, group: Group) -> Blocks:
        return proposed


@dataclass(kw_only=True)
class Replace(Aggregation):
    """w^(t+1) = ŵ: each block's only owner is right. Costs nothing.

    Where weights are exchanged once a round, `every` says how long a round is. It takes no mean over
    replicas: theirs are kept equal by averaging gradients in every step, or use `average`.
    """

    averages_gradients = True

    def rule(self) -> Rule:
        return ReplaceRule()


class AverageRule(Rule):
    needs_common = False

    def combine(self, common: Blocks, proposed: Blocks, group: Group) -> Blocks:
        return group.mean(proposed)


@dataclass(kw_only=True)
class Average(Aggregation):
    """w^(t+1) = mean of ŵ over the replicas of a block: local SGD (Stich 2019, arXiv 1805.09767).

    Every rule but `replace` starts with this mean.
    """

    def rule(self) -> Rule:
        return AverageRule()


class DampedRule(Rule):
    def __init__(self, alpha: float) -> None:
        self._alpha = alpha

    @torch.no_grad()
    def combine(self, common: Blocks, proposed: Blocks, group: Group) -> Blocks:
        _approach(common, group.mean(proposed), self._alpha)
        return common


@dataclass(kw_only=True)
class Damped(Aggregation):
    """w^(t+1) = w^t + alpha Δ. alpha = 1 is `replace` (the mean, where there are
    replicas); alpha = 1/K is Jacobi averaging of K blocks.

    Attributes:
        alpha: In (0, 1].
    """

    alpha: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 < self.alpha <= 1, f"aggregation.alpha={self.alpha} is not in (0, 1]; try aggregation.alpha=0.5"
        )

    def rule(self) -> Rule:
        return DampedRule(self.alpha)


class MomentumRule(Rule):
    state = ("velocity",)

    def __init__(self, alpha: float, beta: float, *, nesterov: bool) -> None:
        self._alpha, self._beta, self._nesterov = alpha, beta, nesterov
        self.velocity: Blocks | None = None

    @torch.no_grad()
    def combine(self, common: Blocks, proposed: Blocks, group: Group) -> Blocks:
        proposed = group.mean(proposed)
        delta = difference(proposed, common)
        # Both kinds are a damped step and alpha beta times a velocity, the last round's or this one's; so
        # β = 0 is `damped` to the last bit.
        _approach(common, proposed, self._alpha)
        if not self._nesterov:
            self._push(common)
        self._accelerate(delta)
        if self._nesterov:
            self._push(common)
        return common

    def _push(self, common: Blocks) -> None:
        if self.velocity is not None and flat(common):
            torch._foreach_add_(flat(common), flat(self.velocity), alpha=self._alpha * self._beta)

    def _accelerate(self, delta: Blocks) -> None:
        if self.velocity is None:
            self.velocity = delta
        elif flat(delta):
            torch._foreach_mul_(flat(self.velocity), self._beta)
            torch._foreach_add_(flat(self.velocity), flat(delta))


@dataclass(kw_only=True)
class Momentum(Aggregation):
    """Outer momentum: v ← β v + Δ, w^(t+1) = w^t + alpha v, or alpha (Δ + β v) with Nesterov.

    SlowMo (Wang et al. 2020, arXiv 1910.00643) without, DiLoCo (Douillard et al. 2023, arXiv 2311.08105)
    with Nesterov. SlowMo also divides Δ by the learning rate of the round and multiplies it back: the same
    where the rate is constant.

    Attributes:
        alpha: Positive, the outer learning rate.
        beta: In [0, 1).
        nesterov: Look ahead along the velocity.
    """

    alpha: float
    beta: float
    nesterov: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 < self.alpha < math.inf,
            f"aggregation.alpha={self.alpha} is not positive; try aggregation.alpha=0.7",
        )
        require(
            0 <= self.beta < 1, f"aggregation.beta={self.beta} is not in [0, 1); try aggregation.beta=0.5"
        )

    def rule(self) -> Rule:
        return MomentumRule(self.alpha, self.beta, nesterov=self.nesterov)


def _approach(common: Blocks, proposed: Blocks, alpha: float) -> None:
    """Move `common` by `alpha` of the way to `proposed`; by 1 it arrives there to the last bit."""
    if flat(common):
        torch._foreach_lerp_(flat(common), flat(proposed), alpha)
