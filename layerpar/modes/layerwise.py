"""Layerwise-parallel training: one optimisation problem per block, all solved at the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from layerpar.architectures.base import Network
from layerpar.datasets.base import DatasetInfo
from layerpar.engine import cuts
from layerpar.engine.contract import Engine, Workload
from layerpar.errors import require, require_at_least, require_choice
from layerpar.layerwise.build import build_stream, build_weights
from layerpar.layerwise.plan import Plan
from layerpar.layerwise.schedule import Stream
from layerpar.modes.base import LAST, Mode
from layerpar.objectives.base import Objective
from layerpar.partition import cuts as partition
from layerpar.spec import RunSpec
from layerpar.transport.grid import arrange


@dataclass(kw_only=True)
class Layerwise(Mode):
    """K blocks on W workers; with R replicas, R chains of W/R workers, each on its slice of every batch.

    Replicas combine each block as `mode=data` does the whole network. With `aggregation=replace` the
    gradients of a block, its head's included, are averaged over the replicas before every update. With any
    other rule each replica takes `aggregation.every` steps of its own, and the rule makes the next common
    weights of the mean.

    Attributes:
        blocks: K: `workers` (as many as there are), `layers` (one per layer) or a number.
        partition: Where to cut: `balanced` (by measured time), `equal` (by count) or the first layer of
            each block but the first, such as [4].
        exchange: What crosses between workers: `activations`, streamed every step, or `weights`, once a
            round of `aggregation.every` steps; `auto`: activations where the objective can do with them.
        queue_depth: Messages that may be under way across a boundary, and receives that wait for more.
        replicas: R, chains of workers side by side.
    """

    has_objective = True
    aggregates = True

    blocks: Any
    partition: Any
    exchange: str
    queue_depth: int
    replicas: int

    def __post_init__(self) -> None:
        cuts.check_blocks(self.blocks)
        cuts.check_choice(self.partition)
        require_choice("mode.exchange", self.exchange, ("auto", "activations", "weights"))
        require_at_least("mode.queue_depth", self.queue_depth, 1)
        require_at_least("mode.replicas", self.replicas, 1)

    def check(self, config: RunSpec, info: DatasetInfo, build: Callable[[], Network]) -> None:
        self._check_replicas(config)
        objective = config.objective
        objective.check(
            exchange=self.exchange_of(objective),
            batch_size=config.batch_size // self.replicas,
            optimizer=config.optimizer,
            precision=config.precision,
        )
        num_layers = len(build().layers)
        chain_length = config.workers // self.replicas
        workers = f"workers={config.workers}" + (f" / mode.replicas={self.replicas}" * (self.replicas > 1))
        require(
            chain_length <= num_layers,
            f"layerwise: {workers} is more than the {num_layers} layers of "
            f"{config.architecture.name}; try workers={num_layers * self.replicas}",
        )
        num_blocks = self.num_blocks(config.workers, num_layers)
        require(
            chain_length <= num_blocks <= num_layers,
            f"layerwise: mode.blocks={self.blocks} is not between {workers} and the {num_layers} "
            f"layers; try mode.blocks=workers",
        )
        if isinstance(self.partition, list):
            partition.check_cuts(self.partition, num_layers, num_blocks)
        stream = Stream(num_blocks, objective.microbatches, objective.delay_per_link)
        require(
            chain_length == 1 or self.queue_depth >= stream.least_queue_depth,
            f"mode.queue_depth={self.queue_depth} is too small for objective.link_delay="
            f"{stream.link_delay}: all workers would wait for each other; "
            f"try mode.queue_depth={stream.least_queue_depth}",
        )

    def _check_replicas(self, config: RunSpec) -> None:
        for key, value in (("workers", config.workers), ("batch_size", config.batch_size)):
            nearest = max(1, round(value / self.replicas)) * self.replicas
            require(
                value % self.replicas == 0,
                f"layerwise: mode.replicas={self.replicas} does not divide {key}={value}; "
                f"try {key}={nearest}",
            )

    def label(self, config: RunSpec) -> str:
        return f"{self.name} {config.objective.name}"

    def order(self, config: RunSpec) -> int:
        known = ("local", "delayed", "frozen")
        return 5 + known.index(config.objective.name) if config.objective.name in known else LAST

    def num_blocks(self, workers: int, num_layers: int) -> int:
        chain_length = workers // self.replicas
        return cuts.num_blocks(self.blocks, self.partition, workers=chain_length, num_layers=num_layers)

    def steps_per_update(self, config: RunSpec) -> int:
        by_weights = self.exchange_of(config.objective) == "weights"
        return config.aggregation.every if by_weights else super().steps_per_update(config)

    def exchange_of(self, objective: Objective) -> str:
        """`activations` or `weights`: what was asked for, else what the objective can do with."""
        if self.exchange != "auto":
            return self.exchange
        return "activations" if objective.cannot("activations") is None else "weights"

    def cannot_move(self, before: RunSpec, after: RunSpec) -> str | None:
        if before.workers == after.workers:
            return None
        if self.replicas > 1:
            return "replicas share every batch"
        why = cuts.cannot_move(self.blocks, self.partition)
        if why is not None:
            return why
        if before.aggregation.name != "replace":
            return f"aggregation={before.aggregation.name} remembers something for each worker"
        if getattr(before.architecture, "dropout", 0) > 0:
            return "each worker draws its own dropout"
        return None

    def num_replicas(self, workers: int) -> int:
        return self.replicas

    def engine(self, workload: Workload) -> Engine:
        grid = arrange(workload.ranks, workload.stopwatch, self.replicas)
        objective = workload.config.objective
        exchange = self.exchange_of(objective)
        num_blocks = self.num_blocks(workload.config.workers, len(workload.network.layers))
        blocks = cuts.decide(
            workload,
            self.partition,
            num_blocks,
            cost=partial(objective.cost, exchange=exchange),
            microbatches=objective.microbatches,
            build_head=partial(objective.build_head, num_classes=workload.info.num_classes),
            exchange=exchange,
        )
        plan = Plan(blocks, partition.assign(blocks.loads, blocks.prefixes, grid.chain_length))
        if exchange == "weights":
            return build_weights(workload, grid, plan)
        return build_stream(workload, grid, plan, queue_depth=self.queue_depth)
