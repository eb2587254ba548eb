"""From a plan to this worker's blocks, linked among themselves and to the neighbours."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from layerpar.architectures.base import activations
from layerpar.layerwise.block import Block, Links, Parts
from layerpar.layerwise.chain import Chain
from layerpar.layerwise.links import ACTIVATIONS, GRADIENTS, PROBES, Queue, Receiver, Sender, Wire
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
        placement: The blocks of each worker.
    """

    cuts: Cuts
    placement: list[range]

    @property
    def blocks(self) -> list[range]:
        """The layers of each block."""
        return self.cuts.parts

    def layers(self, worker: int) -> range:
        """The network's layers that a worker trains."""
        mine = self.placement[worker]
        return range(self.blocks[mine.start].start, self.blocks[mine.stop - 1].stop)

    def notes(self) -> dict[str, Any]:
        """What the records tell of it."""
        return self.cuts.notes([list(mine) for mine in self.placement])


def build_stream(workload: Workload, plan: Plan, *, queue_depth: int) -> StreamEngine:
    """This worker's engine for `exchange=activations`.

    Args:
        workload: What to train.
        plan: Who trains what.
        queue_depth: Messages that a sender may be ahead of its receiver.
    """
    borders = Borders(workload, plan.layers(workload.ranks.rank), depth=queue_depth)
    mine = plan.placement[workload.ranks.rank]
    entry = None if workload.ranks.previous is not None else Queue()
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
    blocks = [
        workload.config.objective.block(block_parts(workload, plan, index, borders.outputs, Links(*links)))
        for index, links in zip(mine, zip(*ends, strict=True), strict=True)
    ]
    return StreamEngine(
        workload,
        blocks,
        borders.layers,
        entry=entry,
        receiver=receiver,
        sender=sender,
        gradient_receiver=gradient_receiver,
        gradient_sender=gradient_sender,
        chain=_chain(workload, blocks, borders),
        notes=plan.notes(),
    )


def build_weights(workload: Workload, plan: Plan) -> WeightsEngine:
    """This worker's engine for `exchange=weights`.

    Args:
        workload: What to train.
        plan: Who trains what.
    """
    borders = Borders(workload, plan.layers(workload.ranks.rank), depth=1)
    receiver, sender = borders.downstream(ACTIVATIONS)
    frozen = [deepcopy(layer).requires_grad_(False) for layer in workload.network.layers]
    entries: dict[int, Queue] = {}
    blocks = []
    for index in plan.placement[workload.ranks.rank]:
        layers = plan.blocks[index]
        entries[layers.start] = Queue()
        parts = block_parts(workload, plan, index, borders.outputs, Links(entries[layers.start], None))
        blocks.append(workload.config.objective.block(replace(parts, above=frozen[layers.stop :])))
    return WeightsEngine(
        workload,
        blocks,
        borders.layers,
        entries=entries,
        frozen=frozen,
        placement=[plan.layers(worker) for worker in range(len(plan.placement))],
        receiver=receiver,
        sender=sender,
        chain=_chain(workload, blocks, borders),
        notes=plan.notes(),
    )


class Borders:
    """Makes the links that cross the two borders of this worker's layers.

    Args:
        workload: What to train.
        layers: The network's layers that this worker trains.
        depth: Messages that a sender may be ahead of its receiver.

    Attributes:
        layers: As given.
        outputs: What each of the network's layers puts out for two blank images.
    """

    def __init__(self, workload: Workload, layers: range, *, depth: int) -> None:
        self.layers = layers
        with workload.autocast():
            self.outputs = activations(workload.network, workload.facts.input_shape)
        self._workload = workload
        self._depth = depth

    def downstream(self, tag: int) -> tuple[Receiver | None, Sender | None]:
        """From the worker before, and to the worker after; None where there is none."""
        ranks = self._workload.ranks
        return self._receiver(ranks.previous, tag), self._sender(ranks.next, tag)

    def upstream(self) -> tuple[Receiver | None, Sender | None]:
        """Gradients from the worker after, and to the worker before; None where there is none."""
        ranks = self._workload.ranks
        return self._receiver(ranks.next, GRADIENTS), self._sender(ranks.previous, GRADIENTS)

    def _receiver(self, peer: int | None, tag: int) -> Receiver | None:
        if peer is None:
            return None
        device, stopwatch = self._workload.device, self._workload.stopwatch
        return Receiver(peer, self._wire(peer, tag), depth=self._depth, device=device, stopwatch=stopwatch)

    def _sender(self, peer: int | None, tag: int) -> Sender | None:
        if peer is None:
            return None
        return Sender(peer, self._wire(peer, tag), depth=self._depth, stopwatch=self._workload.stopwatch)

    def _wire(self, peer: int, tag: int) -> Wire:
        border = self.layers.start if peer == self._workload.ranks.previous else self.layers.stop
        output = self.outputs[border - 1]
        return Wire(
            shape=tuple(output.shape[1:]),
            dtype=torch.float32 if tag == PROBES else output.dtype,
            channels_last=self._workload.config.architecture.channels_last,
            staged=self._workload.ranks.staged,
            tag=tag,
        )


def _chain(workload: Workload, blocks: list[Block], borders: Borders) -> Chain:
    receiver, sender = borders.downstream(PROBES)
    return Chain(workload, blocks, receiver=receiver, sender=sender)


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
