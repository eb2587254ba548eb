"""The work of a step, whatever clock it is measured by: floating-point operations, and what they are for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist
from torch import nn

from layerpar.check import meta_network
from layerpar.config import RunConfig
from layerpar.datasets.base import Loader
from layerpar.engine.contract import Engine, Workload
from layerpar.loop import Progress, rehearse
from layerpar.measure.flops import counting, flops_of_gradient
from layerpar.rendezvous import liveness


@dataclass(frozen=True)
class Work:
    """Of a step, on the average over a segment.

    Attributes:
        flops: Floating-point operations of this rank's matrix products and convolutions.
        gradient_evaluations: Those of all ranks, in units of what the gradient of the whole network's loss
            for one sample takes.
        updates: How often the common weights change.
    """

    flops: float
    gradient_evaluations: float
    updates: float


def count_work(engine: Engine, loader: Loader, config: RunConfig, workload: Workload) -> Work | None:
    """Count what a phase's steps compute, on its first batches, which leave no trace. Collective.

    Where rounds are longer than a step, a segment of one step and another of two tell the work of steps from
    that at the end of a round.

    Args:
        engine: Of the phase.
        loader: Its batches.
        config: The phase.
        workload: What the engine was made from.

    Returns:
        None where steps do different work, or where the network has none that is counted (matrix products
        and convolutions).
    """
    unit = flops_of_gradient(meta_network(config, workload.info)().plain, workload.info.input_shape)
    if unit == 0 or not config.mode.steps_alike:
        return None
    recurrent = any(isinstance(module, nn.RNNBase) for module in workload.network.plain.modules())

    def flops(steps: int) -> int:
        with counting(recurrent=recurrent) as counter:
            rehearse(engine, loader, steps=steps)
        return counter.flops

    every, total = config.mode.steps_per_update(config), loader.steps_per_epoch
    step, closing = flops(1), 0
    if every > 1 and total > 1:
        two = flops(2)
        step, closing = two - step, 2 * step - two
    segment = min(config.evaluate_every_steps or total, total)
    whole, rest = divmod(total, segment)  # of an epoch, whose last segment may be shorter
    updates = (whole * math.ceil(segment / every) + math.ceil(rest / every)) / total
    own = step + updates * closing
    every_rank: list[Any] = [None] * dist.get_world_size()
    liveness.meet()
    dist.all_gather_object(every_rank, own)
    return Work(own, sum(every_rank) / unit, updates)


def add_work(progress: Progress, work: Work | None, *, steps: int) -> None:
    """Note that so many steps were done; once some were not counted, nothing is known of the whole run."""
    for name in ("flops", "gradient_evaluations", "updates"):
        before = getattr(progress, name)
        known = work is not None and before is not None
        setattr(progress, name, before + steps * getattr(work, name) if known else None)
