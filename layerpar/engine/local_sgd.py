"""Local SGD: workers train copies of the network on their own, and a rule aggregates them now and then.

    round      all start from the common weights w^t, and take H steps each on their own shards
    worker 0   step step step … ŵ_0 ──┐ mean, then the rule: w^(t+1) on every worker
    worker 1   step step step … ŵ_1 ──┘

With the rule `average` this is local SGD (Stich 2019, arXiv 1805.09767), with `momentum` SlowMo (Wang et al.
2020, arXiv 1910.00643) or, Nesterov, DiLoCo (Douillard et al. 2023, arXiv 2311.08105).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from layerpar.aggregation import Blocks
from layerpar.aggregation.aggregator import Aggregator
from layerpar.datasets.base import Batch
from layerpar.engine.backprop import BackpropEngine
from layerpar.engine.contract import StepResult, Workload
from layerpar.transport.replica_group import ReplicaGroup


class Replicas:
    """The workers, each with the whole network: what a rule can ask of them. Every method is collective.

    The probe batch is the current step's, of which every worker holds its shard.
    """

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self.group = ReplicaGroup(workload.ranks.world_size, workload.stopwatch)
        self.probe: Batch | None = None

    def mean(self, proposed: Blocks) -> Blocks:
        self.group.average([tensor for block in proposed for tensor in block])
        return proposed

    def sum(self, values: Tensor) -> Tensor:
        return values.sum(0)

    @torch.no_grad()
    def loss(self, weights: Blocks) -> float:
        assert self.probe is not None
        network = self._workload.network.plain
        names = [name for name, _ in network.named_parameters()]
        tensors = dict(zip(names, weights[0], strict=True))
        network.eval()
        logits = torch.func.functional_call(network, tensors, (self.probe.images,))
        network.train()
        value = nn.functional.cross_entropy(logits, self.probe.labels).double().cpu()
        self.group.average([value])
        return float(value)


class Replica:
    """This worker's copy, as a rule sees it: one block."""

    def __init__(self, network: nn.Module) -> None:
        self._parameters: list[Tensor] = list(network.parameters())

    def weights(self) -> list[Tensor]:
        return [parameter.detach() for parameter in self._parameters]

    @torch.no_grad()
    def set_weights(self, weights: list[Tensor]) -> None:
        torch._foreach_copy_(self._parameters, weights)


class LocalSGDEngine(BackpropEngine):
    """Backpropagation on each worker's own copy; a round has `aggregation.every` steps or ends with
    its segment.

    Each worker keeps its own optimizer state over the rounds. BatchNorm's running statistics become their
    mean over the workers when a round ends. Waiting is the whole time of the all-reduce: nothing hides it.

    Args:
        workload: What to train.
        shard: The part of each global batch that this rank takes.
        microbatches: Equal parts of the shard whose gradients add up to one update.
    """

    def __init__(self, workload: Workload, *, shard: slice, microbatches: int) -> None:
        super().__init__(workload, forward=workload.network.plain, shard=shard, microbatches=microbatches)
        self._replicas = Replicas(workload)
        self._aggregator = Aggregator(workload.config.aggregation, [Replica(self._plain)], self._replicas)
        self._steps_left = 0
        self._statistics = [buffer for buffer in self._plain.buffers() if buffer.is_floating_point()]

    def start(self, steps: int) -> None:
        super().start(steps)
        self._steps_left = steps

    def step(self, batch: Batch) -> StepResult:
        result = super().step(batch)
        self._steps_left -= 1
        self._replicas.probe = batch
        with self._workload.stopwatch.span("update"):
            scalars = self._aggregator.step() if self._steps_left else self._aggregator.close()
        if self._aggregator.at_border:
            self._average_statistics()
        return StepResult(result.loss, scalars)

    def predict(self, batch: Batch) -> Tensor | None:
        with self._aggregator.exported():
            return super().predict(batch)

    def full_state(self) -> dict[str, Tensor] | None:
        with self._aggregator.exported():
            return super().full_state()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"aggregator": self._aggregator.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._aggregator.load_state_dict(state["aggregator"])

    def _average_statistics(self) -> None:
        self._replicas.group.average(self._statistics)
