"""Mix the last rounds so that their steps cancel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from layerpar.aggregation.rule import Aggregation, Blocks, Group, Rule, difference, inner
from layerpar.errors import require, require_at_least


def mixing_weights(gram: Tensor, regularisation: float) -> Tensor:
    """The weights c, Σ c_i = 1, that minimise ‖Σ c_i Δ_i‖² + λ Σ c_i² ‖Δ_i‖², oldest round first.

    The penalty is relative to each ‖Δ_i‖, so scaling all of them, or one of them with its weight the other
    way, changes nothing. Where the minimum is not unique (some Δ_i is zero) the newest round counts alone.

    Args:
        gram: ⟨Δ_i, Δ_j⟩, float64, (problems, rounds, rounds).
        regularisation: λ >= 0.

    Returns:
        (problems, rounds).
    """
    problems, rounds, _ = gram.shape
    unit = gram.diagonal(dim1=-2, dim2=-1).rsqrt()
    constraint = unit / unit.amax(-1, keepdim=True)
    # Stationarity of the Lagrangian in c_i ‖Δ_i‖, bordered by the constraint on their sum.
    system = gram.new_zeros(problems, rounds + 1, rounds + 1)
    system[:, :rounds, :rounds] = gram * unit[:, :, None] * unit[:, None, :]
    system[:, :rounds, :rounds] += regularisation * torch.eye(rounds, dtype=gram.dtype)
    system[:, :rounds, rounds] = system[:, rounds, :rounds] = constraint
    right = gram.new_zeros(problems, rounds + 1)
    right[:, rounds] = 1
    solution, failed = torch.linalg.solve_ex(system, right)
    weights = solution[:, :rounds] * unit
    weights = weights / weights.sum(-1, keepdim=True)
    newest = torch.eye(rounds, dtype=gram.dtype)[-1]
    usable = weights.isfinite().all(-1) & (failed == 0)
    return torch.where(usable[:, None], weights, newest)


class AndersonRule(Rule):
    state = ("points", "deltas", "gram", "weights")

    def __init__(self, setting: Anderson) -> None:
        self._setting = setting
        self.points: list[Blocks] = []  # w_i + alpha Δ_i of each round kept, oldest first
        self.deltas: list[Blocks] = []
        self.gram = torch.empty(0)  # (1 or own blocks, rounds, rounds)
        self.weights = torch.empty(0)  # (1 or own blocks, rounds)

    @torch.no_grad()
    def combine(self, common: Blocks, proposed: Blocks, group: Group) -> Blocks:
        proposed = group.mean(proposed)
        delta = difference(proposed, common)
        self.points.append(
            [
                list(torch._foreach_lerp(starts, ends, self._setting.alpha)) if starts else []
                for starts, ends in zip(common, proposed, strict=True)
            ]
        )
        self.deltas.append(delta)
        products = torch.stack([inner(delta, earlier) for earlier in self.deltas], dim=1)
        self.gram = _bordered(self.gram, group.sum(products)[None] if self._setting.joint else products)
        self.weights = mixing_weights(self.gram, self._setting.regularisation)
        self._mix_into(common)
        self._forget()
        return common

    def _mix_into(self, common: Blocks) -> None:
        for block, (tensors, weights) in enumerate(
            zip(common, self.weights.expand(len(common), -1).tolist(), strict=True)
        ):
            if not tensors:
                continue
            torch._foreach_zero_(tensors)
            for point, weight in zip(self.points, weights, strict=True):
                torch._foreach_add_(tensors, point[block], alpha=weight)

    def _forget(self) -> None:
        surplus = max(0, len(self.points) - self._setting.memory)
        del self.points[:surplus], self.deltas[:surplus]
        self.gram = self.gram[:, surplus:, surplus:]

    def scalars(self) -> dict[str, float]:
        """The mixing weights of this worker's first block, `mixing/0` being the newest round's."""
        newest_first = self.weights[0].flip(0).tolist() if len(self.weights) else []
        return {f"mixing/{age}": weight for age, weight in enumerate(newest_first)}


@dataclass(kw_only=True)
class Anderson(Aggregation):
    """w^(t+1) = Σ c_i (w_i + alpha Δ_i) over this round and the last m, with c making Σ c_i Δ_i small.

    Type-II Anderson acceleration (Anderson 1965; Walker & Ni 2011, SIAM J. Numer. Anal. 49(4)) in the
    regularised form of Scieur, d'Aspremont & Bach (2016, arXiv 1606.04133). m = 0 is `damped`.
    Memory: 2 m copies of the weights.

    Attributes:
        memory: m, earlier rounds that are mixed in.
        alpha: In (0, 1].
        regularisation: λ >= 0, relative to ‖Δ_i‖²; the noisier the steps, the larger.
        joint: One set of weights for all blocks, from joint inner products; else one for each block.
    """

    memory: int
    alpha: float
    regularisation: float
    joint: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("aggregation.memory", self.memory, 0)
        require(
            0 < self.alpha <= 1, f"aggregation.alpha={self.alpha} is not in (0, 1]; try aggregation.alpha=1.0"
        )
        require(
            0 <= self.regularisation < math.inf,
            f"aggregation.regularisation={self.regularisation} is negative; "
            f"try aggregation.regularisation=0.01",
        )

    def rule(self) -> Rule:
        return AndersonRule(self)


def _bordered(gram: Tensor, products: Tensor) -> Tensor:
    """`gram` with `products` (problems, rounds) as its new last row and column."""
    problems, rounds = products.shape
    larger = products.new_empty(problems, rounds, rounds)
    if rounds > 1:
        larger[:, :-1, :-1] = gram
    larger[:, -1, :] = products
    larger[:, :, -1] = products
    return larger
