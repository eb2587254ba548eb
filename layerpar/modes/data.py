"""Data parallelism: every worker holds the whole network and a shard of each batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from inspect import signature
from time import perf_counter
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from layerpar.architectures.base import Network
from layerpar.datasets.base import Batch, DatasetInfo
from layerpar.engine.backprop import BackpropEngine
from layerpar.engine.contract import Engine, Workload
from layerpar.engine.local_sgd import LocalSGDEngine
from layerpar.errors import require, require_at_least, require_divisor
from layerpar.modes.base import Mode
from layerpar.spec import RunSpec
from layerpar.transport.replica_group import allreduce_bytes

SYNC_BUFFERS = "broadcast_buffers"
"""The argument of DDP by its name in this torch."""
if "forward_sync_buffers" in signature(DistributedDataParallel).parameters:
    SYNC_BUFFERS = "forward_sync_buffers"


class DataParallelEngine(BackpropEngine):
    """Backpropagation through `DistributedDataParallel`, which averages gradients during backward.

    Waiting is the time between the last gradient that this rank computed and the end of backward: the
    part of the exchange that computing did not hide. On GPUs backward returns before that part has passed,
    so there little of it is counted.
    """

    def __init__(self, workload: Workload, mode: Data, *, shard: slice) -> None:
        # In every step the owner's running statistics would travel, and only the owner's count.
        options: dict[str, Any] = {SYNC_BUFFERS: False}
        wrapped = DistributedDataParallel(
            workload.network.plain,
            device_ids=[workload.device.index] if workload.device.type == "cuda" else None,
            bucket_cap_mb=mode.bucket_mebibytes,
            gradient_as_bucket_view=mode.gradient_as_bucket_view,
            static_graph=mode.static_graph,
            **options,
        )
        super().__init__(workload, forward=wrapped, shard=shard, microbatches=mode.microbatches)
        self._wrapped = wrapped
        trained = [parameter for parameter in self._plain.parameters() if parameter.requires_grad]
        self._sent_bytes = allreduce_bytes(trained, workload.ranks.world_size)
        self._computed = 0.0
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(self._note_gradient)

    def _note_gradient(self, _: Tensor) -> None:
        self._computed = perf_counter()

    def _learn(self, part: Batch, microbatch: int) -> Tensor:
        is_last = microbatch == self._microbatches - 1
        with nullcontext() if is_last else self._wrapped.no_sync():
            return super()._learn(part, microbatch)

    def _backward(self, loss: Tensor, *, is_last: bool) -> None:
        super()._backward(loss, is_last=is_last)
        if is_last:
            self._workload.stopwatch.count_wait(perf_counter() - self._computed)
            self._workload.stopwatch.count_sent(self._sent_bytes)


@dataclass(kw_only=True)
class Data(Mode):
    """The same global batch as every other mode, in equal shards; samples left over by an epoch are dropped.

    With `aggregation=replace` gradients are averaged in every step (`DistributedDataParallel`). With any
    other rule each worker takes `aggregation.every` steps of its own, and the rule makes the next common
    weights of the mean: see `layerpar.engine.local_sgd`.

    The options of buckets and graphs are DDP's, and nobody's with another rule.

    Attributes:
        microbatches: Equal parts of each shard whose gradients add up to one update and travel once, with the
            last of them.
        bucket_mebibytes: Size of the buckets in which gradients travel while backward goes on; None as torch
            chooses: 25, but 1 for the first, so that the exchange begins early.
        gradient_as_bucket_view: Let gradients lie in the buckets, which saves a copy.
        static_graph: Promise that every step uses the same parameters, so that less must be looked up.
        sync_batchnorm: Let BatchNorm normalise by the whole batch instead of a shard; on GPUs only.
    """

    aggregates: ClassVar[bool] = True
    compiles: ClassVar[bool] = True

    microbatches: int
    bucket_mebibytes: int | None
    gradient_as_bucket_view: bool
    static_graph: bool
    sync_batchnorm: bool

    def __post_init__(self) -> None:
        require_at_least("mode.microbatches", self.microbatches, 1)
        if self.bucket_mebibytes is not None:
            require_at_least("mode.bucket_mebibytes", self.bucket_mebibytes, 1)

    def check_device(self, device: torch.device) -> None:
        require(
            not self.sync_batchnorm or device.type == "cuda",
            "data: mode.sync_batchnorm=true needs GPUs, and these workers have none; "
            "try mode.sync_batchnorm=false",
        )

    def check(self, config: RunSpec, info: DatasetInfo, build: Callable[[], Network]) -> None:
        workers, batch_size = config.workers, config.batch_size
        nearest = max(1, round(batch_size / workers)) * workers
        require(
            batch_size % workers == 0,
            f"data: workers={workers} does not divide batch_size={batch_size}; try batch_size={nearest}",
        )
        require(
            not self.static_graph or self.microbatches == 1 or not config.aggregation.averages_gradients,
            "data: mode.static_graph=true fails in torch where gradients of micro-batches add up; "
            "try mode.static_graph=false",
        )
        require(
            not self.sync_batchnorm or config.aggregation.averages_gradients,
            f"data: mode.sync_batchnorm=true needs gradients that are averaged, and aggregation="
            f"{config.aggregation.name} averages weights; try mode.sync_batchnorm=false",
        )
        share = batch_size // workers
        require_divisor("mode.microbatches", self.microbatches, share, f"the {share} samples of a worker")

    def order(self, config: RunSpec) -> int:
        return 3

    def num_replicas(self, workers: int) -> int:
        return workers

    def engine(self, workload: Workload) -> Engine:
        share = workload.replica_batch_size
        first = workload.ranks.rank * share
        shard = slice(first, first + share)
        if self.sync_batchnorm:
            require(
                not workload.ranks.via_host,
                "data: mode.sync_batchnorm=true needs a GPU for each worker; try mode.sync_batchnorm=false",
            )
            nn.SyncBatchNorm.convert_sync_batchnorm(workload.network.plain)
        if workload.config.aggregation.averages_gradients:
            return DataParallelEngine(workload, self, shard=shard)
        return LocalSGDEngine(workload, shard=shard, microbatches=self.microbatches)
