"""The order of work that `torch.distributed.pipelining` lists for each of its schedules.

The only place that reads torch's private lists: `pipeline_order`, and `pipeline_order_with_comms` where a
worker has several stages. Their actions are F (forward), B (backward), I (its gradient by the input), W (by
the weights), pairs of them that torch may overlap, and RECV_F and RECV_B, which post receives.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

from layerpar.pipeline.schedules import Schedule

KINDS = {
    "FORWARD": "F",
    "FULL_BACKWARD": "B",
    "BACKWARD_INPUT": "I",
    "BACKWARD_WEIGHT": "W",
    "RECV_F": "RECV_F",
    "RECV_B": "RECV_B",
}
"""By torch's names; its values are letters since torch 2.14 or so, and were numbers before."""


class Action(NamedTuple):
    """What a worker does with one micro-batch in one of its stages.

    Attributes:
        kind: F, B, I, W, RECV_F or RECV_B.
        stage: Which stage of the network.
        microbatch: Which micro-batch of the step.
    """

    kind: str
    stage: int
    microbatch: int


def listed_actions(
    schedule: Schedule, *, workers: int, stages_per_worker: int, microbatches: int
) -> list[list[list[Action]]]:
    """For each worker its actions of a step, in order; those that are carried out as one are together.

    Schedules with one stage on a worker list no receives: they post them when they need them.

    torch 2.14 numbers the forwards of 1F1B's last stage from 1, not from 0: their order is what counts.

    Args:
        schedule: Which one.
        workers: W.
        stages_per_worker: Stages on each of them.
        microbatches: M.
    """
    num_stages = workers * stages_per_worker
    held = schedule.placement(workers, stages_per_worker)[0]
    stages = [
        SimpleNamespace(
            stage_index=stage,
            num_stages=num_stages,
            group_rank=0,
            group_size=workers,
            is_first=stage == 0,
            is_last=stage == num_stages - 1,
            has_backward=True,
            submod=None,
        )
        for stage in held
    ]
    built = schedule.build(stages, microbatches, lambda logits, labels: logits)
    order: dict[int, list[Any]] = getattr(built, "pipeline_order_with_comms", None) or built.pipeline_order
    return [[found for action in order[rank] if (found := list(_flat(action)))] for rank in range(workers)]


def _flat(action: Any) -> Iterator[Action]:
    if action is None:
        return
    if action.sub_actions is not None:
        for inner in action.sub_actions:
            yield from _flat(inner)
    elif action.computation_type.name in KINDS:
        yield Action(KINDS[action.computation_type.name], action.stage_index, action.microbatch_index)
