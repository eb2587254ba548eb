"""From a plan to this worker's engine: its blocks, linked among themselves and to the neighbours."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from layerpar.architectures.base import activations
from layerpar.engine.contract import Workload
from layerpar.engine.cuts import Cuts
from layerpar.layerwise.aggregation_context import AggregationContext
from layerpar.layerwise.boundaries import PROBE, Boundaries
from layerpar.layerwise.engine import WorkerSlice
from layerpar.layerwise.executor import Executor, Links
from layerpar.layerwise.schedule import Stream
from layerpar.layerwise.stream import StreamEngine
from layerpar.layerwise.weights import WeightsEngine
from layerpar.objectives.block import ACTIVATION, BlockSpec
from layerpar.seeds import stream_seed
from layerpar.transport.grid import Grid
from layerpar.transport.links import Queue


@dataclass(frozen=True)
class Plan:
    """Who trains what.

    Attributes:
        cuts: The network's blocks.
        placement: The blocks of each worker of a chain.
    """

    cuts: Cuts
    placement: list[range]

    @property
    def blocks(self) -> list[range]:
        """The layers of each block."""
        return self.cuts.parts

    def layers(self, position: int) -> range:
        """The network's layers that the worker at a position of its chain trains."""
        mine = self.placement[position]
        return range(self.blocks[mine.start].start, self.blocks[mine.stop - 1].stop)

    def decisions(self) -> dict[str, Any]:
        """What the records tell of it."""
        return self.cuts.decisions([list(mine) for mine in self.placement])


def block_outputs(workload: Workload, plan: Plan) -> list[Tensor]:
    """What each block of the network puts out for some blank samples."""
    with workload.autocast():
        outputs = activations(workload.network, workload.info.input_shape)
    return [outputs[layers.stop - 1] for layers in plan.blocks]


def build_stream(workload: Workload, grid: Grid, plan: Plan, *, queue_depth: int) -> StreamEngine:
    """This worker's engine for `exchange=activations`. Collective.

    Args:
        workload: What to train.
        grid: Where this worker stands.
        plan: Who trains what.
        queue_depth: Messages that may be under way, and receives that wait for more.
    """
    outputs, mine = block_outputs(workload, plan), plan.placement[grid.position]
    boundaries = Boundaries(workload, grid, outputs, mine, queue_depth=queue_depth)
    links = boundaries.links()
    entry = None
    if grid.previous is None:
        entry = Queue()
        links[mine.start].from_below[ACTIVATION] = entry
    specs = [block_spec(workload, plan, index, outputs[index]) for index in mine]
    worker_slice = _worker_slice(workload, grid, plan, specs, boundaries, links)
    return StreamEngine(worker_slice, entry=entry)


def build_weights(workload: Workload, grid: Grid, plan: Plan) -> WeightsEngine:
    """This worker's engine for `exchange=weights`. Collective.

    Args:
        workload: What to train.
        grid: Where this worker stands.
        plan: Who trains what.
    """
    outputs, mine = block_outputs(workload, plan), plan.placement[grid.position]
    boundaries = Boundaries(workload, grid, outputs, mine, queue_depth=1)
    frozen = [deepcopy(layer).requires_grad_(False) for layer in workload.network.layers]
    entries = {index: Queue() for index in mine}
    links = {index: Links(from_below={ACTIVATION: queue}) for index, queue in entries.items()}
    specs = [
        replace(block_spec(workload, plan, index, outputs[index]), above=frozen[plan.blocks[index].stop :])
        for index in mine
    ]
    worker_slice = _worker_slice(workload, grid, plan, specs, boundaries, links)
    return WeightsEngine(
        worker_slice,
        entries={plan.blocks[index].start: queue for index, queue in entries.items()},
        frozen=frozen,
        placement=[plan.layers(position) for position in range(grid.chain_length)],
    )


def block_spec(workload: Workload, plan: Plan, index: int, output: Tensor) -> BlockSpec:
    """What block `index` of the plan is made of; its own modules' weights do not depend on the placement.

    Args:
        workload: What to train.
        plan: Which layers it has.
        index: Which block.
        output: What it puts out for some blank samples.
    """
    layers = plan.blocks[index]

    def seeded(name: str, build: Callable[[], nn.Module]) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(workload.config.seed, name, layers.stop - 1))
            return build().to(workload.device)

    return BlockSpec(
        index=index,
        num_blocks=len(plan.blocks),
        layers=workload.network.segment(layers.start, layers.stop),
        output_shape=tuple(output.shape[1:]),
        num_classes=workload.info.num_classes,
        seeded=seeded,
        optimizer=workload.config.optimizer,
        total_steps=workload.total_steps,
        first_step=workload.first_step,
        following=workload.network.layers[layers.stop :],
        autocast=workload.autocast,
    )


def _worker_slice(
    workload: Workload,
    grid: Grid,
    plan: Plan,
    specs: list[BlockSpec],
    boundaries: Boundaries,
    links: dict[int, Links],
) -> WorkerSlice:
    objective, mine = workload.config.objective, plan.placement[grid.position]
    joint = grid.replicas.count > 1 and workload.config.aggregation.averages_gradients
    replicas = grid.replicas if joint else None
    blocks = [objective.block(replace(spec, replicas=replicas)) for spec in specs]
    receiver, sender = boundaries.cross(ACTIVATION)
    probe_receiver, probe_sender = boundaries.cross(PROBE)
    return WorkerSlice(
        workload,
        grid,
        blocks,
        plan.layers(grid.position),
        Stream(len(plan.blocks), objective.microbatches, objective.delay_per_link),
        Executor(
            dict(zip(mine, blocks, strict=True)),
            links,
            microbatches=objective.microbatches,
            stopwatch=workload.stopwatch,
        ),
        receiver,
        sender,
        AggregationContext(workload, grid, blocks, receiver=probe_receiver, sender=probe_sender),
        plan.decisions(),
    )
