"""The phases of a run: how one is put together, and what it leaves to the next.

Weights, the learning rate's schedule and, where the optimizer is the same SGD, Adam or AdamW, its moments
go over (not from `ema`, which hands over an average that they do not belong to); heads start afresh.
`sequential` takes and leaves weights only: each of its blocks has a schedule and an optimizer for its own
turn. A worker that a phase has no work for counts as waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from layerpar.config import RunConfig
from layerpar.datasets.base import Loader, LoaderSpec
from layerpar.engine.contract import Engine, Workload
from layerpar.engine.gather import from_owner
from layerpar.engine.idle import IdleEngine
from layerpar.errors import require
from layerpar.measure.stopwatch import Stopwatch
from layerpar.optimizers import OptimizerState
from layerpar.rendezvous import liveness
from layerpar.rendezvous.ranks import Ranks


@dataclass(frozen=True)
class PhaseState:
    """What a phase leaves to the next one; the same on every rank.

    Attributes:
        weights: The common weights under the plain network's names.
        moments: What the optimizer remembers, under the same names; empty where the next one has no use
            for it, or where it belongs to other weights than these (an average of them).
    """

    weights: dict[str, Tensor]
    moments: OptimizerState


def assemble(
    config: RunConfig,
    ranks: Ranks,
    stopwatch: Stopwatch,
    *,
    phase: int = 0,
    handed_over: PhaseState | None = None,
    recorded_decisions: dict[str, Any] | None = None,
) -> tuple[Workload, Engine, Loader]:
    """All that trains in a phase, on this rank: same weights and same batches in every mode. Collective.

    Args:
        config: The run.
        ranks: Which worker this is.
        stopwatch: Counts its seconds.
        phase: Which phase, from 0; a run without phases is one.
        handed_over: Of the phase before; None to start from fresh weights.
        recorded_decisions: `Engine.decisions` of an earlier part of this phase, whose decisions hold.

    Raises:
        UserError: the data set's info and its loader count other samples.
    """
    own, device = config.parts[phase].config, stopwatch.device
    info = own.dataset.info()
    network = own.architecture.create(info.input_shape, info.num_classes, seed=own.seed)
    if handed_over is not None:
        network.plain.load_state_dict(handed_over.weights)
    network.plain.to(device)
    steps_per_epoch = info.num_train // own.batch_size
    num_working = own.mode.num_workers(config.workers)
    workload = Workload(
        own,
        network,
        info,
        replace(ranks, world_size=num_working),
        device,
        total_steps=config.epochs * steps_per_epoch,
        stopwatch=stopwatch,
        num_replicas=own.mode.num_replicas(config.workers),
        first_step=sum(part.config.epochs for part in config.parts[:phase]) * steps_per_epoch,
        recorded_decisions=recorded_decisions,
    )
    liveness.meet()
    engine = own.mode.engine(workload) if ranks.rank < num_working else IdleEngine()
    if handed_over is not None:
        engine.set_optimizer_state(handed_over.moments)
    spec = LoaderSpec(
        seed=own.seed,
        batch_size=own.batch_size,
        shard=engine.shard,
        images=engine.reads_images,
        device=device,
        channels_last=own.architecture.channels_last,
    )
    loader = own.dataset.loader(spec)
    require(
        loader.steps_per_epoch == steps_per_epoch,
        f"dataset={own.dataset.name}: its info says {steps_per_epoch} batches an epoch, its loader serves "
        f"{loader.steps_per_epoch}; let both count the same samples",
    )
    return workload, engine, loader


def hand_over(config: RunConfig, phase: int, engine: Engine) -> PhaseState:
    """What the engine of a phase leaves to the phase after it. Collective.

    Args:
        config: The run.
        phase: The one that has ended.
        engine: Of that phase.
    """
    before, after = (config.parts[index].config for index in (phase, phase + 1))
    weights = from_owner(engine.full_state(), owner=engine.owner)
    of_these_weights = before.aggregation.exports_trained or not before.mode.aggregates
    inherits = after.optimizer.inherits(before.optimizer) and of_these_weights
    moments = engine.optimizer_state() if inherits else {}
    return PhaseState(weights, from_owner(moments, owner=engine.owner))
