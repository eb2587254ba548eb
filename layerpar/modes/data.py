"""Data parallelism: every worker holds the whole network and a shard of each batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from layerpar.architectures.base import Network
from layerpar.datasets.base import Facts
from layerpar.errors import require
from layerpar.modes.backprop import BackpropEngine
from layerpar.modes.base import Engine, Mode, Workload

if TYPE_CHECKING:
    from layerpar.config import RunConfig


class DataParallelEngine(BackpropEngine):
    """Backpropagation through `DistributedDataParallel`, which averages gradients during backward.

    Waiting is the time between the last gradient that this rank computed and the end of backward: the
    part of the exchange that computing did not hide. Bytes are those that a ring all-reduce of the
    gradients sends per rank, `2 (W - 1) / W` of their size (Thakur et al. 2005, "Optimization of
    collective communication operations in MPICH").
    """

    def __init__(self, workload: Workload, *, bucket_mebibytes: int) -> None:
        world_size = workload.ranks.world_size
        share = workload.config.batch_size // world_size
        first = workload.ranks.rank * share
        gpu = [workload.device.index] if workload.device.type == "cuda" else None
        wrapped = DistributedDataParallel(
            workload.network.plain,
            device_ids=gpu,
            bucket_cap_mb=bucket_mebibytes,
            gradient_as_bucket_view=True,
        )
        super().__init__(workload, forward=wrapped, shard=slice(first, first + share))
        trained = [parameter for parameter in self._plain.parameters() if parameter.requires_grad]
        gradient_bytes = sum(parameter.numel() * parameter.element_size() for parameter in trained)
        self._sent_bytes = gradient_bytes * 2 * (world_size - 1) // world_size
        self._computed = 0.0
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(self._note_gradient)

    def _note_gradient(self, _: Tensor) -> None:
        self._computed = perf_counter()

    def _backward(self, loss: Tensor) -> None:
        super()._backward(loss)
        self._workload.stopwatch.count_wait(perf_counter() - self._computed)
        self._workload.stopwatch.count_sent(self._sent_bytes)


@dataclass(kw_only=True)
class Data(Mode):
    """`DistributedDataParallel` over the same global batch as every other mode.

    Attributes:
        bucket_mebibytes: Size of the buckets in which gradients travel while backward goes on.
    """

    bucket_mebibytes: int

    def check(self, config: RunConfig, facts: Facts, build: Callable[[], Network]) -> None:
        workers, batch_size = config.workers, config.batch_size
        nearest = max(1, round(batch_size / workers)) * workers
        require(
            batch_size % workers == 0,
            f"data: workers={workers} does not divide batch_size={batch_size}; try batch_size={nearest}",
        )

    def num_replicas(self, workers: int) -> int:
        return workers

    def engine(self, workload: Workload) -> Engine:
        return DataParallelEngine(workload, bucket_mebibytes=self.bucket_mebibytes)
