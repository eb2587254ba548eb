"""From a plan to this worker's blocks, linked among themselves and to the neighbours."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from layerpar.layerwise.block import Links, Parts
from layerpar.layerwise.borders import Borders
from layerpar.layerwise.chain import Chain
from layerpar.layerwise.engine import Stretch
from layerpar.layerwise.grid import Grid
from layerpar.layerwise.links import ACTIVATIONS, PROBES, Queue, Receiver, Sender
from layerpar.layerwise.stream import StreamEngine
from layerpar.layerwise.weights import WeightsEngine
from layerpar.modes.base import Workload
from layerpar.modes.cuts import Cuts
from layerpar.seeds import stream_seed


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

    def notes(self) -> dict[str, Any]:
        """What the records tell of it."""
        return self.cuts.notes([list(mine) for mine in self.placement])


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
    stretch = _stretch(workload, grid, plan, parts, borders, receiver=receiver, sender=sender)
    return StreamEngine(
        stretch, entry=entry, gradient_receiver=gradient_receiver, gradient_sender=gradient_sender
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
    stretch = _stretch(workload, grid, plan, parts, borders, receiver=receiver, sender=sender)
    placement = [plan.layers(position) for position in range(grid.chain_length)]
    return WeightsEngine(stretch, entries=entries, frozen=frozen, placement=placement)


def _stretch(
    workload: Workload,
    grid: Grid,
    plan: Plan,
    parts: list[Parts],
    borders: Borders,
    *,
    receiver: Receiver | None,
    sender: Sender | None,
) -> Stretch:
    joint = grid.peers.count > 1 and workload.config.aggregation.averages_gradients
    peers = grid.peers if joint else None
    blocks = [workload.config.objective.block(replace(part, gradient_peers=peers)) for part in parts]
    probe_receiver, probe_sender = borders.downstream(PROBES)
    chain = Chain(workload, grid, blocks, receiver=probe_receiver, sender=probe_sender)
    return Stretch(workload, grid, blocks, borders.layers, receiver, sender, chain, plan.notes())


def block_parts(workload: Workload, plan: Plan, index: int, outputs: list[Tensor], links: Links) -> Parts:
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

    return Parts(
        index=index,
        num_blocks=len(plan.blocks),
        layers=workload.network.layers[layers.start : layers.stop],
        output_shape=tuple(outputs[layers.stop - 1].shape[1:]),
        num_classes=workload.facts.num_classes,
        seeded=seeded,
        links=links,
        optimizer=workload.config.optimizer,
        total_steps=workload.total_steps,
        first_step=workload.first_step,
        autocast=workload.autocast,
        stopwatch=workload.stopwatch,
    )
