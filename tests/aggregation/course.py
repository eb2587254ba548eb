"""Small blocks, rounds of proposals, and the groups of owners that the rules are tried in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Barrier

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from layerpar.aggregation import Aggregation, Alone, Blocks, Group, Rule
from layerpar.aggregation.anderson import Anderson
from layerpar.aggregation.elementwise import Average, Damped, Momentum, Replace
from layerpar.aggregation.ema import EMA
from layerpar.aggregation.trust_region import TrustRegion

SHAPES = [[(3, 2), (2,)], [], [(4,)]]  # of three blocks, the second without weights
SEEDS = st.integers(0, 2**32 - 1)


def draw(generator: torch.Generator) -> Blocks:
    return [
        [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in block] for block in SHAPES
    ]


def proposals(seed: int, rounds: int) -> list[Blocks]:
    generator = torch.Generator().manual_seed(seed)
    return [draw(generator) for _ in range(rounds)]


def mapped(function: Callable[..., Tensor], *blocks: Blocks) -> Blocks:
    return [
        [function(*tensors) for tensors in zip(*block, strict=True)] for block in zip(*blocks, strict=True)
    ]


def copied(blocks: Blocks) -> Blocks:
    return mapped(torch.clone, blocks)


def vector(blocks: Blocks) -> Tensor:
    return torch.cat([tensor.flatten() for block in blocks for tensor in block])


def identical(left: Blocks, right: Blocks) -> bool:
    return torch.equal(vector(left), vector(right))


def bowl(weights: Blocks) -> float:
    """A loss with its minimum at one, steeper in some directions than in others."""
    away = vector(weights) - 1
    return float((away.square() * torch.arange(1, len(away) + 1)).sum())


ALONE = Alone(bowl)


def replace() -> Replace:
    return Replace(name="replace", every=1)


def average() -> Average:
    return Average(name="average", every=1)


def damped(alpha: float) -> Damped:
    return Damped(name="damped", every=1, alpha=alpha)


def momentum(alpha: float, beta: float, *, nesterov: bool = False) -> Momentum:
    return Momentum(name="momentum", every=1, alpha=alpha, beta=beta, nesterov=nesterov)


def trust_region(radius: float) -> TrustRegion:
    return TrustRegion(
        name="trust_region", every=1, radius=radius, accept=0.25, expand=0.75, grow=1.2, shrink=0.9
    )


def anderson(
    memory: int, *, alpha: float = 1.0, regularisation: float = 1e-12, joint: bool = True
) -> Anderson:
    return Anderson(
        name="anderson", every=1, memory=memory, alpha=alpha, regularisation=regularisation, joint=joint
    )


def ema(decay: float) -> EMA:
    return EMA(name="ema", every=1, decay=decay)


EVERY_RULE = [
    replace(),
    average(),
    damped(0.3),
    momentum(0.7, 0.9),
    momentum(0.7, 0.9, nesterov=True),
    trust_region(2.0),
    anderson(2),
    anderson(2, joint=False),
    ema(0.9),
]
ALL = pytest.mark.parametrize("aggregation", EVERY_RULE, ids=lambda aggregation: type(aggregation).__name__)


def course(
    aggregation: Aggregation,
    steps: list[Blocks],
    *,
    start: Blocks,
    group: Group = ALONE,
    rule: Rule | None = None,
) -> list[Blocks]:
    """The common weights after each round, the blocks proposing w^t + step."""
    rule = rule or aggregation.rule()
    common, path = copied(start), []
    for step in steps:
        proposed = mapped(torch.add, common, step)
        common = rule.combine(common, proposed, group)
        path.append(copied(common))
    return path


@dataclass(frozen=True)
class Replicas:
    """The group of one replica, the others' proposals being known."""

    others: list[Blocks]

    def mean(self, proposed: Blocks) -> Blocks:
        return mapped(lambda *tensors: torch.stack(tensors).mean(0), proposed, *self.others)

    def sum(self, values: Tensor) -> Tensor:
        return values.sum(0)

    def loss(self, weights: Blocks) -> float:
        return bowl(weights)


@dataclass
class Workers:
    """Owners of one block each, in threads, meeting at a barrier."""

    size: int
    rows: dict[int, Tensor] = field(default_factory=dict)
    weights: dict[int, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = Barrier(self.size, timeout=20)

    def together(self, held: dict[int, object], rank: int, mine: object) -> list[object]:
        held[rank] = mine
        self.barrier.wait()
        everyone = [held[other] for other in range(self.size)]
        self.barrier.wait()
        return everyone


@dataclass(frozen=True)
class OneOf:
    """One worker's view of `Workers`."""

    workers: Workers
    rank: int

    def mean(self, proposed: Blocks) -> Blocks:
        return proposed

    def sum(self, values: Tensor) -> Tensor:
        return torch.cat(self.workers.together(self.workers.rows, self.rank, values)).sum(0)

    def loss(self, weights: Blocks) -> float:
        return bowl(self.workers.together(self.workers.weights, self.rank, weights[0]))
