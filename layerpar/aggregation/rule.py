"""The contract between an aggregation rule and the engine that calls it at the end of every round.

    common w^t ──► `every` optimizer steps ──► proposed ŵ ──► combine ──► common w^(t+1) ──► …

A worker calls the rule once for all the blocks it owns. So the result depends on the blocks, never on
which worker owns which.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from layerpar.errors import require_at_least

Blocks = list[list[Tensor]]
"""The trained weights of each block that a worker owns, in block order; never buffers such as running
statistics, which travel with their block and are replaced."""


class Group(Protocol):
    """Through which a rule reaches the other owners. Every method is collective."""

    def mean(self, proposed: Blocks) -> Blocks:
        """The mean over the replicas of these blocks; may overwrite `proposed`. Identity for one replica."""
        ...

    def sum(self, values: Tensor) -> Tensor:
        """Sums over all blocks of the network, the same on every owner.

        Add rows up in block order whoever owns them (gather them, then `.sum(0)`), so that the result
        does not depend on the placement.

        Args:
            values: (own blocks, n), float64 on the CPU.

        Returns:
            (n).
        """
        ...

    def loss(self, weights: Blocks) -> float:
        """The network's loss on the probe batch with every owner's weights set to those it passes.

        In evaluation mode and full precision, the same number on every owner. Leaves `weights` and the
        live weights as they are (`torch.func.functional_call`).
        """
        ...


@dataclass(frozen=True)
class Alone:
    """The group of a worker that owns all blocks of the only replica."""

    network_loss: Callable[[Blocks], float]

    def mean(self, proposed: Blocks) -> Blocks:
        return proposed

    def sum(self, values: Tensor) -> Tensor:
        return values.sum(0)

    def loss(self, weights: Blocks) -> float:
        return self.network_loss(weights)


class Rule:
    """A rule with its memory, one for each worker."""

    needs_common: ClassVar[bool] = True
    """Whether `combine` reads `common`. Where not, pass the proposal twice and keep no copy of it."""

    state: ClassVar[tuple[str, ...]] = ()
    """Attributes that a checkpoint holds."""

    def combine(self, common: Blocks, proposed: Blocks, group: Group) -> Blocks:
        """The next common weights. Collective: every owner calls it.

        Args:
            common: w^t, with which the round started: tensors apart from the live ones.
            proposed: ŵ, with which it ended; the live weights will do. Overwritten by `group.mean` only.
            group: The other owners.

        Returns:
            w^(t+1): `common` itself, overwritten, from a rule that needs it; else what `group.mean` gave.
            Copy it into the live weights where they are other tensors.
        """
        raise NotImplementedError

    def exported(self, common: Blocks) -> Blocks:
        """The weights to evaluate and to export, where the common ones are these."""
        return common

    def scalars(self) -> dict[str, float]:
        """What to log after a round."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """A copy of what the rule remembers."""
        return deepcopy({name: getattr(self, name) for name in self.state})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        for name in self.state:
            setattr(self, name, deepcopy(state[name]))


@dataclass(kw_only=True)
class Aggregation:
    """A way to aggregate. A new one is a subclass (with its rule) in one file, and one YAML.

    Attributes:
        name: The choice, as tables show it.
        every: H, optimizer steps between two aggregations; the end of an epoch ends a round too.
    """

    averages_gradients: ClassVar[bool] = False
    """Whether replicas average the gradients of every step, not the weights of every round."""

    exports_trained: ClassVar[bool] = True
    """Whether the weights to evaluate and to export are those that the optimizer works on."""

    name: str
    every: int

    def __post_init__(self) -> None:
        require_at_least("aggregation.every", self.every, 1)

    def rule(self) -> Rule:
        """A fresh rule."""
        raise NotImplementedError


def flat(blocks: Blocks) -> list[Tensor]:
    """The tensors of all blocks in one list."""
    return [tensor for block in blocks for tensor in block]


def difference(proposed: Blocks, common: Blocks) -> Blocks:
    """Δ = ŵ - w^t."""
    return [
        list(torch._foreach_sub(ends, starts)) if ends else []
        for ends, starts in zip(proposed, common, strict=True)
    ]


def inner(left: Blocks, right: Blocks) -> Tensor:
    """⟨left, right⟩ of each block, in float64 on the CPU, (blocks).

    Within a tensor the sum runs in the tensor's own precision: of float32, about six digits are right.
    """
    return torch.stack([_dot(block, other) for block, other in zip(left, right, strict=True)])


def _dot(left: list[Tensor], right: list[Tensor]) -> Tensor:
    if not left:
        return torch.zeros((), dtype=torch.float64)
    products = [torch.dot(a.flatten(), b.flatten()) for a, b in zip(left, right, strict=True)]
    return torch.stack(products).double().sum().cpu()
