"""Greedy layerwise training on one worker: the sequential rival of training blocks in parallel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from layerpar.architectures.base import Network
from layerpar.datasets.base import DatasetInfo
from layerpar.engine import cuts
from layerpar.engine.contract import Engine, Workload
from layerpar.errors import require, require_choice
from layerpar.layerwise.plan import Plan, block_outputs, block_spec
from layerpar.modes.base import Mode
from layerpar.objectives import heads
from layerpar.objectives.block import Block
from layerpar.objectives.local import HEADS, LocalBlock
from layerpar.partition import costs
from layerpar.partition import cuts as partition
from layerpar.sequential.engine import SequentialEngine
from layerpar.sequential.features import worth_keeping
from layerpar.sequential.shares import steps_per_block
from layerpar.spec import RunSpec
from layerpar.transport.links import Wire


@dataclass(kw_only=True)
class Sequential(Mode):
    """K blocks trained one after the other, with the heads of the objective `local`.

    Each block's learning rate moves over its own turn, also in a phase.

    Attributes:
        blocks: K: `workers` (as many as the parallel modes have), `layers` (one per layer) or a number.
        partition: Where to cut: `balanced` (by measured time), `equal` (by count) or the first layer of
            each block but the first, such as [4].
        head: Kind of auxiliary head of every block but the last; see `layerpar.objectives.heads`.
        shares: Of the run's (or phase's) steps, for each block; null for equal ones.
        cache: Keep what finished blocks make of the training images, as far as it fits into memory; not
            where images vary from epoch to epoch. Changes no result.
    """

    steps_alike: ClassVar[bool] = False  # one block's turn is another's rest
    extends: ClassVar[bool] = False  # each block's share of the steps would be another

    blocks: Any
    partition: Any
    head: str
    shares: list[float] | None
    cache: bool

    def __post_init__(self) -> None:
        cuts.check_blocks(self.blocks)
        cuts.check_choice(self.partition)
        require_choice("mode.head", self.head, HEADS)

    def order(self, config: RunSpec) -> int:
        return 2

    def num_workers(self, workers: int) -> int:
        return 1

    def check(self, config: RunSpec, info: DatasetInfo, build: Callable[[], Network]) -> None:
        num_layers = len(build().layers)
        num_blocks = self.num_blocks(config.workers, num_layers)
        require(
            num_blocks <= num_layers,
            f"sequential: mode.blocks={self.blocks} is more than the {num_layers} layers of "
            f"{config.architecture.name}; try mode.blocks=layers",
        )
        if isinstance(self.partition, list):
            partition.check_cuts(self.partition, num_layers, num_blocks)
        total_steps = config.epochs * (info.num_train // config.batch_size)
        steps_per_block(total_steps, num_blocks, self.shares)

    def num_blocks(self, workers: int, num_layers: int) -> int:
        return cuts.num_blocks(self.blocks, self.partition, workers=workers, num_layers=num_layers)

    def cannot_move(self, before: RunSpec, after: RunSpec) -> str | None:
        return None if before.workers == after.workers else cuts.cannot_move(self.blocks, self.partition)

    def engine(self, workload: Workload) -> Engine:
        num_blocks = self.num_blocks(workload.config.workers, len(workload.network.layers))
        build_head = partial(heads.build, self.head, num_classes=workload.info.num_classes)
        chosen = cuts.decide(
            workload, self.partition, num_blocks, cost=costs.local, microbatches=1, build_head=build_head
        )
        plan = Plan(chosen, [range(num_blocks)])
        outputs = block_outputs(workload, plan)
        steps = steps_per_block(workload.num_steps, num_blocks, self.shares)
        blocks: list[Block] = []
        for index, output in enumerate(outputs):
            spec = block_spec(workload, plan, index, output)
            own = replace(spec, total_steps=steps[index], first_step=0)
            blocks.append(LocalBlock(own, microbatches=1, head=self.head, overlap=0, similarity=0.0))
        wires = [
            Wire(
                shape=tuple(output.shape[1:]),
                dtype=output.dtype,
                channels_last=workload.config.architecture.channels_last,
                via_host=False,
            )
            for output in outputs[:-1]
        ]
        kept = [False] * len(wires)
        if self.cache and not workload.config.dataset.is_random:
            kept = worth_keeping(wires, workload.info.num_train, workload.device)
        decisions = plan.decisions() | {"steps_per_block": steps, "cached": kept}
        return SequentialEngine(workload, blocks, steps=steps, wires=wires, kept=kept, decisions=decisions)
