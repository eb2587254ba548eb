"""`pipeline`: the actions that `torch.distributed.pipelining` lists, with durations and messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from layerpar.config import RunConfig
from layerpar.modes.pipeline import Pipeline, stage_cost
from layerpar.partition import cuts as partition
from layerpar.pipeline.schedules import SCHEDULES, Schedule
from layerpar.predict import cut
from layerpar.predict.layers import Layers
from layerpar.predict.links import Link
from layerpar.predict.memory import Memory, training
from layerpar.predict.methods.base import (
    Method,
    Prediction,
    method,
    no_head,
    stretched,
    waiting,
)
from layerpar.predict.simulate import Channel, Task, simulate
from layerpar.predict.torch_actions import Action, listed_actions

ACTION_SECONDS = 250e-6
"""What torch's schedules take around an action, whatever it computes: the gaps in traces, on an AMD EPYC."""

POST_SECONDS = 150e-6
"""What they take, where a worker has several stages, to post a receive and to send apart from computing."""

SIMULATED_STEPS = 3
"""A step drains before the next one fills, but workers that end early begin early."""


class StageSeconds(NamedTuple):
    """How long a stage's actions take, of one micro-batch; `update` of a step.

    A backward in two parts, I and W, takes `split` longer. The first stage, which has no gradient to give
    on, does nothing for I and all of its backward for W.
    """

    forward: float
    backward_input: float
    backward_weights: float
    update: float
    split: float = 0.0
    is_first: bool = False

    def of(self, kind: str) -> float:
        """Of an action of a kind: F, B, I or W."""
        whole = self.backward_input + self.backward_weights
        if self.is_first:
            return {"F": self.forward, "B": whole, "I": 0.0, "W": whole}[kind]
        return {
            "F": self.forward,
            "B": whole,
            "I": self.backward_input + self.split / 2,
            "W": self.backward_weights + self.split / 2,
        }[kind]


def splits_backward(mode: Any) -> bool:
    """Whether a mode is a pipeline whose schedule takes gradients by inputs and by weights apart."""
    return isinstance(mode, Pipeline) and SCHEDULES[mode.schedule].splits_backward


def pipeline_tasks(
    actions: Sequence[Sequence[Sequence[Action]]],
    seconds: Sequence[StageSeconds],
    boundary_bytes: Sequence[float],
    *,
    steps: int,
    ahead: int | None,
    action_seconds: float = ACTION_SECONDS,
) -> tuple[list[list[Task]], list[Channel]]:
    """The programs of a pipeline's workers, and the channels between them.

    Args:
        actions: Of each worker, of a step.
        seconds: Of each stage.
        boundary_bytes: Of a micro-batch's activation, and of its gradient, after each stage but the last.
        steps: How many.
        ahead: Receives that are posted ahead of the one that is waited for; None where actions post them.
        action_seconds: Around each action, in which nothing is computed or sent.
    """
    holder = {action.stage: worker for worker, own in enumerate(actions) for group in own for action in group}
    channels: list[Channel] = []
    index: dict[tuple[str, int], int] = {}
    for boundary, num_bytes in enumerate(boundary_bytes):
        below, above = holder[boundary], holder[boundary + 1]
        for direction, sender, receiver in (("down", below, above), ("up", above, below)):
            if sender != receiver:
                index[direction, boundary] = len(channels)
                channels.append(Channel(num_bytes, sender, receiver, None, ahead))

    def task(group: Sequence[Action]) -> Task:
        receives, sends = [], []
        for kind, stage, _ in group:
            if kind == "RECV_F":
                return Task(0.0, posts=(index["down", stage - 1],), blocked=POST_SECONDS)
            if kind == "RECV_B":
                return Task(0.0, posts=(index["up", stage],), blocked=POST_SECONDS)
            if kind == "F":
                receives.append(("down", stage - 1))
                sends.append(("down", stage))
            elif kind in "BI":
                receives.append(("up", stage))
                sends.append(("up", stage - 1))
        return Task(
            sum(seconds[action.stage].of(action.kind) for action in group),
            tuple(index[key] for key in receives if key in index),
            tuple(index[key] for key in sends if key in index),
            blocked=action_seconds,
        )

    programs = []
    for worker, own in enumerate(actions):
        stages = [stage for stage, at in holder.items() if at == worker]
        end = Task(sum(seconds[stage].update for stage in stages), ends_step=True)
        programs.append([*map(task, own), end] * steps)
    return programs, channels


def most_under_way(own: Sequence[Sequence[Action]]) -> Counter[int]:
    """For each of a worker's stages, how many micro-batches wait at most between forward and backward."""
    now: Counter[int] = Counter()
    most: Counter[int] = Counter()
    for group in own:
        for kind, stage, _ in group:
            now[stage] += {"F": 1, "B": -1, "I": 0, "W": -1, "RECV_F": 0, "RECV_B": 0}[kind]
            most[stage] = max(most[stage], now[stage])
    return most


@dataclass(frozen=True)
class PipelineMethod:
    """Attributes: as the run has them."""

    mode: Pipeline
    schedule: Schedule
    samples: int
    workers: int
    stages_per_worker: int
    build_head = staticmethod(no_head)

    def predict(self, layers: Layers, link: Link, steps: int) -> Prediction:
        microbatches = self.mode.microbatches
        cost = stage_cost(layers.whole(self.samples, microbatches))
        num_stages = self.workers * self.stages_per_worker
        chosen = cut.chosen(self.mode.partition, cost, len(layers), num_stages)
        parts = partition.blocks(chosen, len(layers))
        actions = listed_actions(
            self.schedule,
            workers=self.workers,
            stages_per_worker=self.stages_per_worker,
            microbatches=microbatches,
        )
        boundary_bytes = [self.samples * layers.output_bytes(part.stop - 1) for part in parts[:-1]]
        simulated = min(steps, SIMULATED_STEPS)
        programs, channels = pipeline_tasks(
            actions,
            self._stage_seconds(layers, parts),
            boundary_bytes,
            steps=simulated,
            ahead=0 if self.stages_per_worker == 1 else None,
        )
        times = simulate(programs, channels, link)
        seconds = stretched(times, simulated, steps) / steps
        sent = sum(channel.num_bytes for channel in channels) * microbatches
        memory = max((self._memory(layers, parts, own) for own in actions), key=lambda held: held.total)
        return Prediction(seconds, waiting(times, simulated, seconds), sent, memory, chosen)

    def _stage_seconds(self, layers: Layers, parts: list[range]) -> list[StageSeconds]:
        one, update = layers.microbatch(self.samples, self.mode.microbatches), layers.step().update
        return [
            StageSeconds(
                sum(one.forward[part.start : part.stop]),
                sum(one.backward_input[max(part.start, 1) : part.stop]),
                sum(one.backward_weights[part.start : part.stop]),
                sum(update[part.start : part.stop]),
                sum(one.split[part.start : part.stop]),
                part.start == 0,
            )
            for part in parts
        ]

    def _memory(self, layers: Layers, parts: list[range], own: Sequence[Sequence[Action]]) -> Memory:
        most = most_under_way(own)
        held = [parts[stage] for stage in most]
        kept = sum(
            count * self.samples * sum(layers.saved[parts[stage].start : parts[stage].stop])
            for stage, count in most.items()
        )
        weights = sum(sum(layers.parameters[layer]) for part in held for layer in part)
        return training(weights, layers.optimizer_state, activations=kept)


@method.register
def _(mode: Pipeline, config: RunConfig, num_classes: int) -> Method:
    schedule = SCHEDULES[mode.schedule]
    return PipelineMethod(
        mode,
        schedule,
        config.batch_size // mode.microbatches,
        config.workers,
        mode.stages_per_worker or schedule.stages_per_worker,
    )
