"""Ordinary backpropagation through the whole network: the engine of `serial`, and under those of `data`."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from layerpar.architectures.running_statistics import in_microbatches
from layerpar.datasets.base import Batch
from layerpar.engine.contract import Assignment, StepResult, Workload
from layerpar.optimizers import OptimizerState


class BackpropEngine:
    """Forward, backward and update of the whole network; `forward` may be a wrapper that shares its weights.

    Args:
        workload: What to train.
        forward: Computes logits with the network's own parameters (the plain network, or one that
            combines gradients across workers during backward).
        shard: The part of each global batch that this rank takes.
        microbatches: Equal parts of the shard whose gradients add up to one update. BatchNorm normalises by
            them, and its running statistics reach back as far as with whole batches.
    """

    reads_images = True

    def __init__(
        self, workload: Workload, *, forward: Callable[[Tensor], Tensor], shard: slice, microbatches: int
    ) -> None:
        self.owner = workload.ranks.rank == 0
        self.shard = shard
        self.assignment = Assignment("0", f"0-{len(workload.network.layers) - 1}")
        self.decisions: dict[str, Any] = {}
        self._microbatches = microbatches
        self._workload = workload
        self._plain = workload.network.plain
        in_microbatches(self._plain, microbatches)
        self._forward = workload.compiled(forward)
        self._updater = workload.config.optimizer.updater(
            self._plain.parameters(), workload.total_steps, first_step=workload.first_step
        )

    def start(self, steps: int) -> None:
        self._plain.train()

    def step(self, batch: Batch) -> StepResult:
        losses = []
        for microbatch, part in enumerate(batch.split(self._microbatches)):
            losses.append(self._learn(part, microbatch))
        with self._workload.stopwatch.span("update"):
            self._updater.step()
        return StepResult(losses[0] if len(losses) == 1 else torch.stack(losses).mean())

    def finish(self) -> None:
        pass

    def predict(self, batch: Batch) -> Tensor | None:
        if not self.owner:
            return None
        assert batch.images is not None
        self._plain.eval()
        with torch.no_grad(), self._workload.autocast():
            return self._plain(batch.images)

    def full_state(self) -> dict[str, Tensor] | None:
        if not self.owner:
            return None
        return {name: tensor.cpu().clone() for name, tensor in self._plain.state_dict().items()}

    def optimizer_state(self) -> OptimizerState | None:
        return self._updater.optimizer_state(self._plain.named_parameters()) if self.owner else None

    def set_optimizer_state(self, moments: OptimizerState) -> None:
        self._updater.set_optimizer_state(self._plain.named_parameters(), moments)

    def state_dict(self) -> dict[str, Any]:
        return {"network": deepcopy(self._plain.state_dict()), "updater": self._updater.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._plain.load_state_dict(state["network"])
        self._updater.load_state_dict(state["updater"])

    def _learn(self, part: Batch, microbatch: int) -> Tensor:
        """Add up the gradients of a micro-batch; returns its mean loss."""
        assert part.images is not None
        where = {"microbatch": microbatch} if self._microbatches > 1 else {}
        span, is_last = self._workload.stopwatch.span, microbatch == self._microbatches - 1
        with span("forward", **where), self._workload.autocast():
            loss = nn.functional.cross_entropy(self._forward(part.images), part.labels)
        with span("backward", **where):
            self._backward(loss if self._microbatches == 1 else loss / self._microbatches, is_last=is_last)
        return loss.detach()

    def _backward(self, loss: Tensor, *, is_last: bool) -> None:
        """Add up gradients; `is_last` of the micro-batches of a step."""
        loss.backward()
