"""Who trains what: the blocks of a network, on which workers, and what each block is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerpar.architectures.base import activations
from layerpar.engine.contract import Workload
from layerpar.engine.cuts import Cuts
from layerpar.objectives.block import BlockSpec
from layerpar.seeds import stream_seed


@dataclass(frozen=True)
class Plan:
    """Who trains what.

    Attributes:
        cuts: The network's blocks.
        placement: The blocks of each worker of a chain.
    """

    cuts: Cuts
    placement: list[range]

    @property
    def blocks(self) -> list[range]:
        """The layers of each block."""
        return self.cuts.parts

    def layers(self, position: int) -> range:
        """The network's layers that the worker at a position of its chain trains."""
        mine = self.placement[position]
        return range(self.blocks[mine.start].start, self.blocks[mine.stop - 1].stop)

    def decisions(self) -> dict[str, Any]:
        """What the records tell of it."""
        return self.cuts.decisions([list(mine) for mine in self.placement])


def block_outputs(workload: Workload, plan: Plan) -> list[Tensor]:
    """What each block of the network puts out for some blank samples."""
    with workload.autocast():
        outputs = activations(workload.network, workload.info.input_shape)
    return [outputs[layers.stop - 1] for layers in plan.blocks]


def block_spec(workload: Workload, plan: Plan, index: int, output: Tensor) -> BlockSpec:
    """What block `index` of the plan is made of; its own modules' weights do not depend on the placement.

    Args:
        workload: What to train.
        plan: Which layers it has.
        index: Which block.
        output: What it puts out for some blank samples.
    """
    layers = plan.blocks[index]

    def seeded(name: str, build: Callable[[], nn.Module]) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(workload.config.seed, name, layers.stop - 1))
            return build().to(workload.device)

    return BlockSpec(
        index=index,
        num_blocks=len(plan.blocks),
        layers=workload.network.segment(layers.start, layers.stop),
        output_shape=tuple(output.shape[1:]),
        num_classes=workload.info.num_classes,
        seeded=seeded,
        optimizer=workload.config.optimizer,
        total_steps=workload.total_steps,
        first_step=workload.first_step,
        following=workload.network.layers[layers.stop :],
        autocast=workload.autocast,
    )
