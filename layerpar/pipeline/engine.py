"""One worker's stages, and the schedule that runs them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from layerpar.architectures.base import activations
from layerpar.architectures.running_statistics import in_microbatches
from layerpar.datasets.base import Batch
from layerpar.datasets.normalise import lay_out
from layerpar.engine.contract import Assignment, StepResult, Workload
from layerpar.engine.cuts import Cuts
from layerpar.engine.gather import gather_named, gather_state
from layerpar.optimizers import OptimizerState
from layerpar.pipeline.schedules import Schedule
from layerpar.pipeline.stage import Chunks, Stage, StageModule
from layerpar.transport.links import Wire


class PipelineEngine:
    """Trains this worker's stages micro-batch by micro-batch; gradients are those of the whole batch.

    BatchNorm sees micro-batches: it normalises by their statistics and updates its running ones M times a
    step, which reach back as many samples as with whole batches. The owner holds the last stage: the last
    worker, with a V-shaped schedule the first.

    Waiting is what is left of the schedule's time between the chunks of work: blocked on messages, and the
    little that posting them takes (nccl blocks the device's stream, not the host: with it, waiting counts as
    busy). Bytes are those of the activations and gradients that leave this worker.

    Args:
        workload: What to train.
        cuts: The layers of each stage.
        schedule: Which stages this worker holds, and in what order it runs them.
        stages_per_worker: How many it holds.
        microbatches: M.
    """

    def __init__(
        self, workload: Workload, cuts: Cuts, schedule: Schedule, *, stages_per_worker: int, microbatches: int
    ) -> None:
        self._workload = workload
        self._rank = workload.ranks.rank
        placement = schedule.placement(workload.ranks.world_size, stages_per_worker)
        self._holder = {stage: rank for rank, stages in enumerate(placement) for stage in stages}
        self._last = len(cuts.parts) - 1
        self._layers = [cuts.parts[stage] for stage in placement[self._rank]]
        self.owner = self._holder[self._last] == self._rank
        self.reads_images = self._holder[0] == self._rank
        self.shard = slice(0, workload.config.batch_size)
        self.assignment = Assignment(
            _listed(placement[self._rank]),
            _listed(self._layers),
            sum(cuts.loads[stage] for stage in placement[self._rank]),
        )
        self.decisions = cuts.decisions(placement)
        with workload.autocast():
            outputs = activations(workload.network, workload.info.input_shape)
        wires = [self._wire(outputs[part.stop - 1]) for part in cuts.parts[:-1]]
        self._modules = {
            stage: StageModule(
                workload,
                workload.network.segment(cuts.parts[stage].start, cuts.parts[stage].stop),
                entry=wires[stage - 1] if stage > 0 else None,
                exit=wires[stage] if stage < self._last else None,
            )
            for stage in placement[self._rank]
        }
        self._all = nn.ModuleList(self._modules.values())
        in_microbatches(self._all, microbatches)
        self._updater = workload.config.optimizer.updater(
            self._all.parameters(), workload.total_steps, first_step=workload.first_step
        )
        samples = workload.config.batch_size // microbatches
        self._chunks = Chunks(workload.stopwatch)
        stages = [self._stage(stage, samples, outputs[-1]) for stage in placement[self._rank]]
        self._microbatches = microbatches
        self._schedule = schedule.build(stages, microbatches, self._loss)
        self._sent_bytes = sum(self._bytes(stage, wires) for stage in self._modules)

    def start(self, steps: int) -> None:
        self._all.train()

    def step(self, batch: Batch) -> StepResult:
        losses: list[Tensor] = []
        self._chunks.begin()
        self._schedule.step(
            *((batch.images,) if self.reads_images else ()),
            target=batch.labels if self.owner else None,
            losses=losses if self.owner else None,
        )
        self._chunks.count_gap()
        with self._workload.stopwatch.span("update"):
            self._updater.step()
        self._workload.stopwatch.count_sent(self._sent_bytes)
        return StepResult(torch.stack(losses).detach().sum() if self.owner else None)

    def finish(self) -> None:
        pass

    def predict(self, batch: Batch) -> Tensor | None:
        activation = batch.images
        for stage in range(self._last + 1):
            if self._holder[stage] != self._rank:
                continue
            module = self._modules[stage].eval()
            if stage > 0 and (before := self._holder[stage - 1]) != self._rank:
                assert module.entry is not None
                activation = module.entry.buffer(len(batch.labels), self._workload.device)
                dist.recv(activation, before)
            assert activation is not None
            with torch.no_grad():
                activation = module(activation)
            if stage < self._last and (after := self._holder[stage + 1]) != self._rank:
                dist.send(activation, after)
        return activation if self.owner else None

    def full_state(self) -> dict[str, Tensor] | None:
        network = self._workload.network
        owned: dict[str, Tensor] = {}
        for layers in self._layers:
            owned |= network.names(layers.start, layers.stop)
        return gather_state(network, owned, owner=self._holder[self._last])

    def optimizer_state(self) -> OptimizerState | None:
        own = self._updater.optimizer_state(self._workload.network.plain.named_parameters())
        return gather_named(own, owner=self._holder[self._last])

    def set_optimizer_state(self, moments: OptimizerState) -> None:
        self._updater.set_optimizer_state(self._workload.network.plain.named_parameters(), moments)

    def state_dict(self) -> dict[str, Any]:
        return {"stages": deepcopy(self._all.state_dict()), "updater": self._updater.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._all.load_state_dict(state["stages"])
        self._updater.load_state_dict(state["updater"])

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        with self._workload.autocast():
            return nn.functional.cross_entropy(logits, labels) / self._microbatches

    def _wire(self, output: Tensor) -> Wire:
        return Wire(
            shape=tuple(output.shape[1:]),
            dtype=output.dtype,
            channels_last=self._workload.config.architecture.channels_last,
            via_host=self._workload.ranks.via_host,
        )

    def _stage(self, stage: int, samples: int, logits: Tensor) -> Stage:
        """The stage with examples of what it takes and puts out.

        Left to infer their shapes, later stages would run a forward on uninitialised memory in training
        mode, after which BatchNorm's running statistics are garbage.
        """
        module = self._modules[stage]
        # The examples say too that an activation's gradient is wanted, and an image's is not; torch 2.10
        # compares their strides with those of what comes.
        device = self._workload.device
        if module.entry is None:
            images = torch.empty(samples, *self._workload.info.input_shape, device=device)
            inputs = lay_out(images, channels_last=self._workload.config.architecture.channels_last)
        else:
            inputs = module.entry.buffer(samples, device).requires_grad_()
        if module.exit is None:
            outputs = logits.new_empty(samples, *logits.shape[1:])
        else:
            outputs = module.exit.buffer(samples, device)
        moved = torch.device("cpu") if self._workload.ranks.via_host else device
        return Stage(
            module,
            stage,
            self._last + 1,
            moved,
            examples=(inputs, outputs.requires_grad_()),
            chunks=self._chunks,
        )

    def _bytes(self, stage: int, wires: list[Wire]) -> int:
        """What leaves this worker in a step for that stage: its activations down, its gradients up."""
        crossed = [
            wires[min(stage, other)]
            for other in (stage - 1, stage + 1)
            if 0 <= other <= self._last and self._holder[other] != self._rank
        ]
        return sum(wire.num_bytes(self._workload.config.batch_size) for wire in crossed)


def _listed(parts: list[int] | list[range]) -> str:
    """`0` or `0,3` for stages, `0-3` or `0-1,6-8` for layers."""
    spans = [part if isinstance(part, range) else range(part, part + 1) for part in parts]
    return ",".join(str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans)
