"""From a plan to this worker's blocks, linked among themselves and to the neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from layerpar.architectures.base import activations
from layerpar.layerwise.block import Block, Links, Parts
from layerpar.layerwise.chain import Chain
from layerpar.layerwise.links import ACTIVATIONS, GRADIENTS, PROBES, Queue, Receiver, Sender, Sink, Source, Wire
from layerpar.layerwise.stream import Neighbours, StreamEngine
from layerpar.modes.base import Workload

HEAD_STREAM = 1 << 31
"""Keeps the seeds of heads apart from those of epochs."""


@dataclass(frozen=True)
class Plan:
    """Who trains what.

    Attributes:
        blocks: The layers of each block.
        placement: The blocks of each worker.
        loads: Predicted seconds per step of each block.
    """

    blocks: list[range]
    placement: list[range]
    loads: list[float]

    def notes(self) -> dict[str, Any]:
        """What the records tell of it: the cuts (to pin with mode.partition) and each worker's load."""
        return {
            "cuts": [block.start for block in self.blocks[1:]],
            "predicted_loads": [sum(self.loads[index] for index in mine) for mine in self.placement],
        }


def build_stream(workload: Workload, plan: Plan, *, queue_depth: int) -> StreamEngine:
    """This worker's engine: its blocks, with links to each other and to the neighbours.

    Args:
        workload: What to train.
        plan: Who trains what.
        queue_depth: Messages that a sender may be ahead of its receiver.
    """
    mine = plan.placement[workload.ranks.rank]
    layers = range(plan.blocks[mine.start].start, plan.blocks[mine.stop - 1].stop)
    with workload.autocast():
        outputs = activations(workload.network, workload.facts.input_shape)
    neighbours = _neighbours(workload, outputs, layers, queue_depth)
    links, entry = _links(workload, len(mine), neighbours)
    built = [
        workload.config.objective.block(_parts(workload, plan, index, outputs, own))
        for index, own in zip(mine, links, strict=True)
    ]
    chain = _chain(workload, built, outputs, layers)
    return StreamEngine(
        workload, built, layers, entry=entry, neighbours=neighbours, chain=chain, notes=plan.notes()
    )


def _neighbours(workload: Workload, outputs: list[Tensor], layers: range, queue_depth: int) -> Neighbours:
    ranks, device, stopwatch = workload.ranks, workload.device, workload.stopwatch
    back = workload.config.objective.sends_gradients
    found = Neighbours()
    if ranks.previous is not None:
        wire = _wire(workload, outputs[layers.start - 1])
        found.receiver = Receiver(ranks.previous, wire, depth=queue_depth, device=device, stopwatch=stopwatch)
        if back:
            wire = replace(wire, tag=GRADIENTS)
            found.gradient_sender = Sender(ranks.previous, wire, depth=queue_depth, stopwatch=stopwatch)
    if ranks.next is not None:
        wire = _wire(workload, outputs[layers.stop - 1])
        found.sender = Sender(ranks.next, wire, depth=queue_depth, stopwatch=stopwatch)
        if back:
            wire = replace(wire, tag=GRADIENTS)
            found.gradient_receiver = Receiver(
                ranks.next, wire, depth=queue_depth, device=device, stopwatch=stopwatch
            )
    return found


def _links(workload: Workload, num_blocks: int, neighbours: Neighbours) -> tuple[list[Links], Queue | None]:
    """The links of each block of this worker, and where images go in on the first worker."""
    back = workload.config.objective.sends_gradients
    entry = Queue() if neighbours.receiver is None else None
    down = [Queue() for _ in range(num_blocks - 1)]
    up = [Queue() if back else None for _ in range(num_blocks - 1)]
    sources: list[Source | None] = [entry or neighbours.receiver, *down]
    sinks: list[Sink | None] = [*down, neighbours.sender]
    gradient_sources: list[Source | None] = [*up, neighbours.gradient_receiver]
    gradient_sinks: list[Sink | None] = [neighbours.gradient_sender, *up]
    links = []
    for source, *others in zip(sources, sinks, gradient_sources, gradient_sinks, strict=True):
        assert source is not None
        links.append(Links(source, *others))
    return links, entry


def _parts(workload: Workload, plan: Plan, index: int, outputs: list[Tensor], links: Links) -> Parts:
    layers = plan.blocks[index]

    def seeded(build: Callable[[], nn.Module]) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((workload.config.seed << 32) + HEAD_STREAM + layers.stop - 1)
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
        autocast=workload.autocast,
    )


def _chain(workload: Workload, blocks: list[Block], outputs: list[Tensor], layers: range) -> Chain:
    ranks, device, stopwatch = workload.ranks, workload.device, workload.stopwatch
    receiver = sender = None
    if ranks.previous is not None:
        wire = replace(_wire(workload, outputs[layers.start - 1]), tag=PROBES, dtype=torch.float32)
        receiver = Receiver(ranks.previous, wire, depth=1, device=device, stopwatch=stopwatch)
    if ranks.next is not None:
        wire = replace(_wire(workload, outputs[layers.stop - 1]), tag=PROBES, dtype=torch.float32)
        sender = Sender(ranks.next, wire, depth=1, stopwatch=stopwatch)
    return Chain(workload, blocks, receiver=receiver, sender=sender)


def _wire(workload: Workload, output: Tensor) -> Wire:
    return Wire(
        shape=tuple(output.shape[1:]),
        dtype=output.dtype,
        channels_last=workload.config.architecture.channels_last,
        staged=workload.ranks.staged,
        tag=ACTIVATIONS,
    )
