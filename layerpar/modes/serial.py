"""Ordinary backpropagation on one worker: the unit of every speed-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from layerpar.architectures.base import Network
from layerpar.datasets.base import DatasetInfo
from layerpar.engine.backprop import BackpropEngine
from layerpar.engine.contract import Engine, Workload
from layerpar.errors import require_at_least, require_divisor
from layerpar.modes.base import Mode
from layerpar.spec import RunSpec


@dataclass(kw_only=True)
class Serial(Mode):
    """One worker, whatever `workers` says; it computes with `threads_per_worker` threads.

    Attributes:
        microbatches: Equal parts of each batch whose gradients add up to one update. BatchNorm normalises
            by them.
    """

    compiles: ClassVar[bool] = True

    microbatches: int

    def __post_init__(self) -> None:
        require_at_least("mode.microbatches", self.microbatches, 1)

    def check(self, config: RunSpec, info: DatasetInfo, build: Callable[[], Network]) -> None:
        batch_size = config.batch_size
        require_divisor("mode.microbatches", self.microbatches, batch_size, f"batch_size={batch_size}")

    def label(self, config: RunSpec) -> str:
        threads = config.threads_per_worker
        return f"{self.name} ({threads} threads)" if threads > 1 else self.name

    def order(self, config: RunSpec) -> int:
        return 0 if config.threads_per_worker == 1 else 1

    def num_workers(self, workers: int) -> int:
        return 1

    def engine(self, workload: Workload) -> Engine:
        whole = slice(0, workload.config.batch_size)
        return BackpropEngine(
            workload, forward=workload.network.plain, shard=whole, microbatches=self.microbatches
        )
