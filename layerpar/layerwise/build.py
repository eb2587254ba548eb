"""From a plan to this worker's blocks, linked among themselves and to the neighbours."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from layerpar.engine.contract import Workload
from layerpar.engine.cuts import Cuts
from layerpar.layerwise.aggregation_context import AggregationContext
from layerpar.layerwise.engine import WorkerSlice
from layerpar.layerwise.stream import StreamEngine
from layerpar.layerwise.weights import WeightsEngine
from layerpar.objectives.base import BlockSpec, Links
from layerpar.seeds import stream_seed
from layerpar.transport.boundaries import Borders
from layerpar.transport.grid import Grid
from layerpar.transport.links import ACTIVATIONS, PROBES, Queue, Receiver, Sender


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


def build_stream(workload: Workload, grid: Grid, plan: Plan, *, queue_depth: int) -> StreamEngine:
    """This worker's engine for `exchange=activations`.

    Args:
        workload: What to train.
        grid: Where this worker stands.
        plan: Who trains what.
        queue_depth: Messages that a sender may be ahead of its receiver.
    """
    borders = Borders(workload, grid, plan.layers(grid.position), depth=queue_depth)
    mine = plan.placement[grid.position]
    entry = None if grid.previous is not None else Queue()
    receiver, sender = borders.downstream(ACTIVATIONS)
    gradient_receiver, gradient_sender = None, None
    if workload.config.objective.sends_gradients:
        gradient_receiver, gradient_sender = borders.upstream()
    down = [Queue() for _ in mine[1:]]
    up = [Queue() if workload.config.objective.sends_gradients else None for _ in mine[1:]]
    ends: list[list[Any]] = [
        [entry or receiver, *down],
        [*down, sender],
        [*up, gradient_receiver],
        [gradient_sender, *up],
    ]
    parts = [
        block_parts(workload, plan, index, borders.outputs, Links(*links))
        for index, links in zip(mine, zip(*ends, strict=True), strict=True)
    ]
    worker_slice = _stretch(workload, grid, plan, parts, borders, receiver=receiver, sender=sender)
    return StreamEngine(
        worker_slice, entry=entry, gradient_receiver=gradient_receiver, gradient_sender=gradient_sender
    )


def build_weights(workload: Workload, grid: Grid, plan: Plan) -> WeightsEngine:
    """This worker's engine for `exchange=weights`.

    Args:
        workload: What to train.
        grid: Where this worker stands.
        plan: Who trains what.
    """
    borders = Borders(workload, grid, plan.layers(grid.position), depth=1)
    receiver, sender = borders.downstream(ACTIVATIONS)
    frozen = [deepcopy(layer).requires_grad_(False) for layer in workload.network.layers]
    entries: dict[int, Queue] = {}
    parts = []
    for index in plan.placement[grid.position]:
        layers = plan.blocks[index]
        entries[layers.start] = Queue()
        links = Links(entries[layers.start], None)
        whole = block_parts(workload, plan, index, borders.outputs, links)
        parts.append(replace(whole, above=frozen[layers.stop :]))
    worker_slice = _stretch(workload, grid, plan, parts, borders, receiver=receiver, sender=sender)
    placement = [plan.layers(position) for position in range(grid.chain_length)]
    return WeightsEngine(worker_slice, entries=entries, frozen=frozen, placement=placement)


def _stretch(
    workload: Workload,
    grid: Grid,
    plan: Plan,
    parts: list[BlockSpec],
    borders: Borders,
    *,
    receiver: Receiver | None,
    sender: Sender | None,
) -> WorkerSlice:
    joint = grid.peers.count > 1 and workload.config.aggregation.averages_gradients
    peers = grid.peers if joint else None
    blocks = [workload.config.objective.block(replace(part, gradient_peers=peers)) for part in parts]
    probe_receiver, probe_sender = borders.downstream(PROBES)
    chain = AggregationContext(workload, grid, blocks, receiver=probe_receiver, sender=probe_sender)
    return WorkerSlice(workload, grid, blocks, borders.layers, receiver, sender, chain, plan.decisions())


def block_parts(workload: Workload, plan: Plan, index: int, outputs: list[Tensor], links: Links) -> BlockSpec:
    """What block `index` of the plan is made of; its own modules' weights do not depend on the placement.

    Args:
        workload: What to train.
        plan: Which layers it has.
        index: Which block.
        outputs: What each of the network's layers puts out, for shapes.
        links: To its neighbours.
    """
    layers = plan.blocks[index]

    def seeded(build: Callable[[], nn.Module]) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(workload.config.seed, "head", layers.stop - 1))
            return build().to(workload.device)

    return BlockSpec(
        index=index,
        num_blocks=len(plan.blocks),
        layers=workload.network.layers[layers.start : layers.stop],
        output_shape=tuple(outputs[layers.stop - 1].shape[1:]),
        num_classes=workload.info.num_classes,
        seeded=seeded,
        links=links,
        optimizer=workload.config.optimizer,
        total_steps=workload.total_steps,
        first_step=workload.first_step,
        autocast=workload.autocast,
        stopwatch=workload.stopwatch,
    )
