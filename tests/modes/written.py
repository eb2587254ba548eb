"""The pieces of a layerwise run, for writing its definition out in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from tiny import on_workers, trained
from torch import Tensor, nn

from layerpar.config import RunConfig
from layerpar.datasets.base import LoaderSpec
from layerpar.ranks import Ranks

STEPS = 5

Train = Callable[[Ranks, RunConfig, int], "dict[str, Tensor] | None"]


class Written:
    """The blocks of a run's network, with the weights that it starts from, and its batches."""

    def __init__(self, config: RunConfig, cuts: list[int]) -> None:
        info = config.dataset.info()
        self.network = config.architecture.create(info.input_shape, info.num_classes, seed=config.seed)
        borders = [0, *cuts, len(self.network.layers)]
        self.spans = list(pairwise(borders))
        self.blocks = [nn.Sequential(*self.network.layers[first:last]) for first, last in self.spans]
        spec = LoaderSpec(seed=0, batch_size=16, shard=slice(0, 16), images=True, device=torch.device("cpu"))
        batches = config.dataset.loader(spec).train(0)
        self.batches = [next(batches) for _ in range(STEPS)]

    def state(self) -> dict[str, Tensor]:
        return nn.Sequential(*self.network.layers).state_dict()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def states(configs: Sequence[RunConfig], train: Train = trained) -> list[dict[str, Tensor]]:
    """The weights that each run ends with, all of them on the same workers, one after the other."""
    by_rank = on_workers(_in_turn, configs[0].num_workers, train, list(configs))
    return [next(state for state in held if state is not None) for held in zip(*by_rank, strict=True)]


def _in_turn(ranks: Ranks, train: Train, configs: list[RunConfig]) -> list[dict[str, Tensor] | None]:
    return [train(ranks, config, STEPS) for config in configs]
