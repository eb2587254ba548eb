"""Ordinary backpropagation on one worker: the unit of every speed-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from layerpar.engine.backprop import BackpropEngine
from layerpar.engine.contract import Engine, Workload
from layerpar.modes.base import Mode


@dataclass(kw_only=True)
class Serial(Mode):
    """One worker, whatever `workers` says; it computes with `threads_per_worker` threads."""

    compiles: ClassVar[bool] = True

    def num_workers(self, workers: int) -> int:
        return 1

    def engine(self, workload: Workload) -> Engine:
        whole = slice(0, workload.config.batch_size)
        return BackpropEngine(workload, forward=workload.network.plain, shard=whole)
