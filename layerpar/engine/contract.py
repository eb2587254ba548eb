"""The contract between an engine (one worker's part of a mode) and the training loop, the same for all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from layerpar.architectures.base import Network
from layerpar.datasets.base import Batch, DatasetInfo
from layerpar.measure.stopwatch import Stopwatch
from layerpar.optimizers import OptimizerState
from layerpar.rendezvous.ranks import Ranks
from layerpar.spec import RunSpec


@dataclass(frozen=True)
class Workload:
    """Everything an engine is made from; the same on every rank but for `ranks` and `device`.

    Attributes:
        config: The run.
        network: The whole network with the common starting weights, on `device`.
        info: Shapes and sizes of the data set.
        ranks: Which worker this is.
        device: Where this worker computes.
        total_steps: Optimizer steps of the whole run, all phases.
        stopwatch: Where waiting and sent bytes are counted.
        num_replicas: Copies of the network that train at once, each on its slice of every batch.
        first_step: Optimizer steps of the phases before this one.
        recorded_decisions: `Engine.decisions` of an earlier part of this phase, which hold; None in a
            new phase.
    """

    config: RunSpec
    network: Network
    info: DatasetInfo
    ranks: Ranks
    device: torch.device
    total_steps: int
    stopwatch: Stopwatch
    num_replicas: int = 1
    first_step: int = 0
    recorded_decisions: dict[str, Any] | None = None

    @property
    def replica_batch_size(self) -> int:
        """Samples of a step that each copy of the network trains on."""
        return self.config.batch_size // self.num_replicas

    @property
    def num_steps(self) -> int:
        """Optimizer steps of this phase."""
        return self.config.epochs * (self.info.num_train // self.config.batch_size)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision in which forwards run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def compiled(self, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """`forward`, for training batches, compiled where the run asks for it (at its first call)."""
        return torch.compile(forward, dynamic=False) if self.config.compile else forward


@dataclass(frozen=True)
class StepResult:
    """What one step tells the loop; tensors stay on the device, so that no step waits for one.

    Attributes:
        loss: Mean training loss of the network's own classifier over this worker's samples; None on a
            rank that does not hold it.
        scalars: Further quantities under the names they are logged by, such as `block/0/loss`.
    """

    loss: Tensor | None
    scalars: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Assignment:
    """What part of the network a rank trains, as records show it.

    Attributes:
        block: Its blocks, such as `0` or `0-3`.
        layers: Its layers, alike.
        predicted_step_seconds: What a step of them should take by the measured times of the layers; None
            where the mode cuts nothing among workers.
    """

    block: str
    layers: str
    predicted_step_seconds: float | None = None


class Engine(Protocol):
    """One worker's part of a mode. All methods are collective: every rank calls them equally often."""

    owner: bool
    """This rank holds loss and logits of the whole network, and writes the records. True on exactly one."""

    reads_images: bool
    """This rank needs the images, not only the labels."""

    shard: slice
    """The part of each global training batch that this rank takes."""

    assignment: Assignment
    """The blocks and layers that this rank trains."""

    decisions: dict[str, Any]
    """What was decided before training and is worth a line in the records (the cuts, predicted loads)."""

    def start(self, steps: int) -> None:
        """A training segment of so many steps begins."""
        ...

    def step(self, batch: Batch) -> StepResult:
        """Train on one batch. Work may stay in flight until `finish`."""
        ...

    def finish(self) -> None:
        """The segment ends: complete what is in flight, so that the weights have seen every batch."""
        ...

    def predict(self, batch: Batch) -> Tensor | None:
        """Logits (batch, classes) of the composed network in evaluation mode; None but on the owner."""
        ...

    def full_state(self) -> dict[str, Tensor] | None:
        """The common weights under the plain network's names, on the CPU of the owner; None elsewhere."""
        ...

    def optimizer_state(self) -> OptimizerState | None:
        """What the optimizer remembers, under the plain network's names, on the owner; None elsewhere."""
        ...

    def set_optimizer_state(self, moments: OptimizerState) -> None:
        """Go on from the `moments` of the engine of an earlier phase, as far as they are of use here."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything this rank needs to go on later exactly from here; between segments only."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        ...
