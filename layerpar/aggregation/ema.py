"""An exponential average beside the trained weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from layerpar.aggregation.rule import Aggregation, Blocks, Group, Rule, flat
from layerpar.errors import require


class EMARule(Rule):
    needs_common = False
    state = ("average",)

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self.average: Blocks | None = None

    @torch.no_grad()
    def combine(self, common: Blocks, proposed: Blocks, group: Group) -> Blocks:
        proposed = group.mean(proposed)
        if self.average is None:
            self.average = [[tensor.detach().clone() for tensor in block] for block in proposed]
        elif flat(proposed):
            torch._foreach_lerp_(flat(self.average), flat(proposed), 1 - self._decay)
        return proposed

    def exported(self, common: Blocks) -> Blocks:
        return common if self.average is None else self.average


@dataclass(kw_only=True)
class EMA(Aggregation):
    """Go on from ŵ; evaluate and export a ← d a + (1 - d) ŵ (Polyak & Juditsky 1992, exponentially weighted).

    The average starts at the first round's ŵ, so after T rounds it is
    d^(T-1) ŵ_1 + (1 - d) Σ_(t=2..T) d^(T-t) ŵ_t. Running statistics of BatchNorm are the trained network's.

    Attributes:
        decay: d in [0, 1), per round; 1 / (1 - d) rounds count.
    """

    exports_trained = False

    decay: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 <= self.decay < 1,
            f"aggregation.decay={self.decay} is not in [0, 1); try aggregation.decay=0.9",
        )

    def rule(self) -> Rule:
        return EMARule(self.decay)
