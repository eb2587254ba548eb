"""The contract of a mode: its options, what it refuses, and the engine it makes on each rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from layerpar.architectures.base import Network
from layerpar.datasets.base import DatasetInfo
from layerpar.engine.contract import Engine, Workload
from layerpar.spec import RunSpec

LAST = 8
"""The place of a mode that asks for none."""


@dataclass(kw_only=True)
class Mode:
    """A way of training. A new one is a subclass (with its engine) in one file, and one YAML.

    Attributes:
        name: The choice, as tables show it.
    """

    has_objective: ClassVar[bool] = False
    """Whether blocks minimise what the run's objective says."""

    aggregates: ClassVar[bool] = False
    """Whether this mode combines weights by the run's aggregation."""

    compiles: ClassVar[bool] = False
    """Whether this mode can run with `compile`."""

    steps_alike: ClassVar[bool] = True
    """Whether the work of a step, once counted, is that of all steps."""

    extends: ClassVar[bool] = True
    """Whether a run that was stopped may go on for more epochs than it was planned for."""

    name: str

    def label(self, config: RunSpec) -> str:
        """What tables and figures call this way of training."""
        return self.name

    def order(self, config: RunSpec) -> int:
        """Its place among the ways of training: of rows in tables, of styles in figures."""
        return LAST

    def num_workers(self, workers: int) -> int:
        """How many of the `workers` asked for this mode uses: all, or only one while the others rest."""
        return workers

    def num_replicas(self, workers: int) -> int:
        """How many copies of the network train at once on shards of the batch."""
        return 1

    def steps_per_update(self, config: RunSpec) -> int:
        """Optimizer steps after which all workers have common weights again."""
        apart = self.num_replicas(config.workers) > 1 or config.aggregation.rule().needs_common
        return config.aggregation.every if apart and self._averages_weights(config) else 1

    def samples_per_update(self, config: RunSpec) -> int:
        """Samples over which an optimizer step averages gradients."""
        replicas = self.num_replicas(config.workers) if self._averages_weights(config) else 1
        return config.batch_size // replicas

    def _averages_weights(self, config: RunSpec) -> bool:
        """Whether replicas, if there are any, take steps of their own between aggregations."""
        return self.aggregates and not config.aggregation.averages_gradients

    def num_blocks(self, workers: int, num_layers: int) -> int:
        """How many parts the network is cut into."""
        return 1

    def cannot_move(self, before: RunSpec, after: RunSpec) -> str | None:
        """Why a run cannot go on with another number of workers than before; None if it can."""
        same = self.num_workers(before.workers) == self.num_workers(after.workers)
        return None if same else "each worker has a part of every batch"

    def check_device(self, device: torch.device) -> None:
        """Refuse what cannot work on the devices of a node that workers will run on.

        Args:
            device: Of the node's first worker.

        Raises:
            UserError: with the override that repairs it.
        """

    def check(self, config: RunSpec, info: DatasetInfo, build: Callable[[], Network]) -> None:
        """Refuse what cannot work, before anything starts.

        Args:
            config: The run.
            info: Shapes and sizes of the data set.
            build: Makes the network without memory for its weights (on the meta device).

        Raises:
            UserError: what is wrong, and the override that repairs it.
        """

    def engine(self, workload: Workload) -> Engine:
        """This rank's engine. Collective: every rank calls it."""
        raise NotImplementedError
