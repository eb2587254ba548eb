"""Accept a joint step only as far as the network's true loss follows its linear model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from layerpar.aggregation.rule import Aggregation, Blocks, Group, Rule, difference, flat, inner
from layerpar.errors import require

SLOPE_FRACTION = 1 / 32
"""Of the step, over which the slope is measured: short against the curvature, long against rounding."""


class TrustRegionRule(Rule):
    state = ("radius", "accepted", "rounds")

    def __init__(self, setting: TrustRegion) -> None:
        self._setting = setting
        self.radius = setting.radius
        self.accepted = 0
        self.rounds = 0

    @torch.no_grad()
    def combine(self, common: Blocks, proposed: Blocks, group: Group) -> Blocks:
        proposed = group.mean(proposed)
        step = difference(proposed, common)
        length = math.sqrt(group.sum(inner(step, step)[:, None]).item())
        if length == 0:
            return common
        self.rounds += 1
        if not math.isfinite(length):
            self.radius *= self._setting.shrink
            return common
        scale = min(1.0, self.radius / length)
        before = group.loss(common)
        near = group.loss(_along(common, step, scale * SLOPE_FRACTION))
        trial = proposed if scale == 1 else _along(common, step, scale)
        predicted = (before - near) / SLOPE_FRACTION
        actual = before - group.loss(trial)
        if not (predicted > 0 and actual >= self._setting.accept * predicted):
            self.radius = self._setting.shrink * min(self.radius, length)
            return common
        self.accepted += 1
        if scale < 1 and actual > self._setting.expand * predicted:
            self.radius *= self._setting.grow
        if flat(common):
            torch._foreach_copy_(flat(common), flat(trial))
        return common

    def scalars(self) -> dict[str, float]:
        """The fraction of rounds whose step was accepted, and the radius of the next one."""
        return {"accepted_fraction": self.accepted / max(1, self.rounds), "radius": self.radius}


@dataclass(kw_only=True)
class TrustRegion(Aggregation):
    """The step Δ over all blocks, cut to the radius δ, if the loss on a probe batch falls as predicted.

    With s = Δ min(1, δ / ‖Δ‖), the norm being over all blocks jointly, and L the probe loss:

        actual = L(w^t) - L(w^t + s)        predicted = -⟨∇L(w^t), s⟩ ≈ (L(w^t) - L(w^t + s/32)) · 32

        predicted ≤ 0 or actual < accept · predicted     w^(t+1) = w^t,      δ ← shrink · min(δ, ‖Δ‖)
        otherwise                                        w^(t+1) = w^t + s,  and
        actual > expand · predicted and ‖Δ‖ > δ                              δ ← grow · δ

    So an accepted step never increases the probe loss. The constants and the first-order model are those
    of DD4ML, the code of APTS (Cruz Alegría et al. 2025, arXiv 2512.14286; arXiv 2312.13677). Its gradient
    of the whole network is replaced by a difference along the step, which needs forwards only: three a
    round. DD4ML bounds δ on both sides instead of measuring it against ‖Δ‖, as Nocedal & Wright do
    (Numerical Optimization, algorithm 4.1): else a first δ far from ‖Δ‖ would take effect for many rounds.

    Attributes:
        radius: δ of the first round, in units of the weights.
        accept: Least actual / predicted of an accepted step.
        expand: Least actual / predicted above which the radius grows.
        grow: Factor of a growing radius.
        shrink: Factor of a shrinking radius.
    """

    radius: float
    accept: float
    expand: float
    grow: float
    shrink: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 < self.radius < math.inf,
            f"aggregation.radius={self.radius} is not positive; try aggregation.radius=1.0",
        )
        require(
            0 < self.accept <= self.expand,
            f"aggregation.accept={self.accept} is not between 0 and aggregation.expand={self.expand}; "
            f"try aggregation.accept=0.25 aggregation.expand=0.75",
        )
        require(
            1 <= self.grow < math.inf,
            f"aggregation.grow={self.grow} makes the radius smaller; try aggregation.grow=1.2",
        )
        require(
            0 < self.shrink < 1,
            f"aggregation.shrink={self.shrink} is not in (0, 1); try aggregation.shrink=0.9",
        )

    def rule(self) -> Rule:
        return TrustRegionRule(self)


def _along(common: Blocks, step: Blocks, scale: float) -> Blocks:
    """w^t + scale · Δ."""
    return [
        list(torch._foreach_add(starts, ways, alpha=scale)) if starts else []
        for starts, ways in zip(common, step, strict=True)
    ]
