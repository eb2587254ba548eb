"""From a plan to this worker's engine: its blocks, linked among themselves and to the neighbours."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from layerpar.engine.contract import Workload
from layerpar.layerwise.aggregation_context import AggregationContext
from layerpar.layerwise.boundaries import PROBE, Boundaries
from layerpar.layerwise.engine import WorkerSlice
from layerpar.layerwise.executor import Executor, Links
from layerpar.layerwise.plan import Plan, block_outputs, block_spec
from layerpar.layerwise.schedule import Stream
from layerpar.layerwise.stream import StreamEngine
from layerpar.layerwise.weights import WeightsEngine
from layerpar.objectives.block import ACTIVATION, BlockSpec
from layerpar.transport.grid import Grid
from layerpar.transport.links import Queue


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
