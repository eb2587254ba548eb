"""Pipeline parallelism: stages of the network on different workers, micro-batches streaming through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from layerpar.architectures.base import Network
from layerpar.datasets.base import DatasetInfo
from layerpar.engine import cuts
from layerpar.engine.contract import Engine, Workload
from layerpar.errors import require, require_at_least, require_choice
from layerpar.modes.base import Mode
from layerpar.partition import costs
from layerpar.partition import cuts as partition
from layerpar.partition.costs import LayerSeconds
from layerpar.partition.cuts import BlockCost
from layerpar.pipeline.schedules import SCHEDULES, check_microbatches
from layerpar.spec import RunSpec


@dataclass(kw_only=True)
class Pipeline(Mode):
    """`torch.distributed.pipelining` over the same layers and batches as every other mode.

    Attributes:
        schedule: In what order stages work on micro-batches; see `layerpar.pipeline.schedules`.
        microbatches: M, equal parts of each batch.
        stages_per_worker: Stages that each worker holds; null for what the schedule is made for.
        partition: Where to cut: `balanced` (by measured time), `equal` (by count) or the first layer of
            each stage but the first, such as [4].
    """

    compiles: ClassVar[bool] = True

    schedule: str
    microbatches: int
    stages_per_worker: int | None
    partition: Any

    def __post_init__(self) -> None:
        require_choice("mode.schedule", self.schedule, SCHEDULES)
        require_at_least("mode.microbatches", self.microbatches, 1)
        cuts.check_choice(self.partition)
        schedule, given = SCHEDULES[self.schedule], self.stages_per_worker
        if given is not None:
            require_at_least("mode.stages_per_worker", given, 1)
        require(
            schedule.loops or given in (None, schedule.stages_per_worker),
            f"mode.stages_per_worker={given}, but mode.schedule={self.schedule} has "
            f"{schedule.stages_per_worker}; try mode.stages_per_worker=null",
        )

    def check(self, config: RunSpec, info: DatasetInfo, build: Callable[[], Network]) -> None:
        workers, num_layers = config.workers, len(build().layers)
        require(workers >= 2, "pipeline: workers=1 has nobody to send to; try workers=2, or mode=serial")
        num_stages = self._num_stages(workers)
        per_worker = num_stages // workers
        require(
            num_stages <= num_layers,
            f"pipeline: {workers} workers with {per_worker} stages each are more than the {num_layers} "
            f"layers of {config.architecture.name}; {self._fewer(num_layers)}",
        )
        check_microbatches(self.schedule, self.microbatches, batch_size=config.batch_size, workers=workers)
        if isinstance(self.partition, list):
            equal = ",".join(map(str, partition.equal(num_layers, num_stages)))
            require(
                len(self.partition) == num_stages - 1,
                f"mode.partition={self.partition} makes {len(self.partition) + 1} stages, and "
                f"mode.schedule={self.schedule} needs {num_stages}; try mode.partition=[{equal}]",
            )
            partition.check_cuts(self.partition, num_layers, num_stages)
        require(
            not (config.compile and SCHEDULES[self.schedule].splits_backward),
            f"pipeline: mode.schedule={self.schedule} runs backward in two parts, and a compiled one is "
            "whole; try compile=false, or mode.schedule=1f1b",
        )

    def engine(self, workload: Workload) -> Engine:
        from layerpar.pipeline.engine import (
            PipelineEngine,  # takes a second to import, only where it is needed
        )

        num_stages = self._num_stages(workload.ranks.world_size)
        return PipelineEngine(
            workload,
            cuts.decide(
                workload, self.partition, num_stages, cost=stage_cost, microbatches=self.microbatches
            ),
            SCHEDULES[self.schedule],
            stages_per_worker=num_stages // workload.ranks.world_size,
            microbatches=self.microbatches,
        )

    def cannot_move(self, before: RunSpec, after: RunSpec) -> str | None:
        return None if before.workers == after.workers else "each worker's checkpoint holds its own stages"

    def label(self, config: RunSpec) -> str:
        return f"{self.name} {self.schedule}"

    def order(self, config: RunSpec) -> int:
        return 4

    def num_blocks(self, workers: int, num_layers: int) -> int:
        return self._num_stages(workers)

    def _num_stages(self, workers: int) -> int:
        return workers * (self.stages_per_worker or SCHEDULES[self.schedule].stages_per_worker)

    def _fewer(self, num_layers: int) -> str:
        most = num_layers // self._num_stages(1)
        if most >= 2:
            return f"try workers={most}"
        return "try mode.schedule=1f1b" if num_layers >= 2 else "try mode=serial"


def stage_cost(seconds: LayerSeconds) -> BlockCost:
    """A stage works as a block of `delayed` that keeps its graph: forward, both backwards, update."""
    return costs.delayed(seconds, recompute=False, stash=False)
