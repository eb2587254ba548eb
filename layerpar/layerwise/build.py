"""From cuts to this worker's blocks, linked among themselves and to the neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerpar.architectures.base import activations
from layerpar.layerwise import heads
from layerpar.layerwise.block import LocalBlock
from layerpar.layerwise.links import Queue, Receiver, Sender, Wire
from layerpar.layerwise.stream import StreamEngine
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


def build_stream(workload: Workload, plan: Plan, *, head: str, queue_depth: int) -> StreamEngine:
    """This worker's engine.

    Args:
        workload: What to train.
        plan: Who trains what.
        head: Kind of auxiliary head.
        queue_depth: Messages that a sender may be ahead of its receiver.
    """
    ranks, blocks, placement = workload.ranks, plan.blocks, plan.placement
    mine = placement[ranks.rank]
    layers = range(blocks[mine.start].start, blocks[mine.stop - 1].stop)
    with workload.autocast():
        outputs = activations(workload.network, workload.facts.input_shape)
    receiver = sender = None
    if ranks.previous is not None:
        wire = _wire(workload, outputs[layers.start - 1])
        receiver = Receiver(
            ranks.previous, wire, depth=queue_depth, device=workload.device, stopwatch=workload.stopwatch
        )
    if ranks.next is not None:
        wire = _wire(workload, outputs[layers.stop - 1])
        sender = Sender(ranks.next, wire, depth=queue_depth, stopwatch=workload.stopwatch)
    queues = [Queue() for _ in range(len(mine) - 1)]
    entry = Queue() if receiver is None else None
    sources = [entry or receiver, *queues]
    sinks = [*queues, sender]
    built = []
    for index, source, sink in zip(mine, sources, sinks, strict=True):
        assert source is not None
        last_layer = blocks[index].stop - 1
        is_last = index == len(blocks) - 1
        auxiliary = None if is_last else seeded_head(workload, head, outputs[last_layer], last_layer)
        built.append(
            LocalBlock(
                index,
                workload.network.layers[blocks[index].start : blocks[index].stop],
                head=auxiliary,
                optimizer=workload.config.optimizer,
                total_steps=workload.total_steps,
                autocast=workload.autocast,
                source=source,
                sink=sink,
            )
        )
    return StreamEngine(workload, built, layers, entry=entry, receiver=receiver, sender=sender, notes=plan.notes())


def seeded_head(workload: Workload, kind: str, output: Tensor, layer: int) -> nn.Module:
    """The auxiliary head after `layer`, with weights that depend on seed and layer only, not on placement."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((workload.config.seed << 32) + HEAD_STREAM + layer)
        head = heads.build(kind, tuple(output.shape[1:]), workload.facts.num_classes)
    return head.to(workload.device)


def _wire(workload: Workload, output: Tensor) -> Wire:
    return Wire(
        shape=tuple(output.shape[1:]),
        dtype=output.dtype,
        channels_last=workload.config.architecture.channels_last,
        staged=workload.ranks.staged,
        tag=0,
    )
