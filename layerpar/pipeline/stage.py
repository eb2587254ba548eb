"""One stage: consecutive layers between two wires, as `torch.distributed.pipelining` moves tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage

from layerpar.engine.contract import Workload
from layerpar.measure.stopwatch import Stopwatch, synchronize
from layerpar.transport.links import Wire


class StageModule(nn.Module):
    """Takes what came over the wire, puts out what goes over the next one.

    Pipelining sends tensors as they are, gloo takes contiguous ones only: so channels_last activations
    cross as (batch, height, width, channel), a view that costs nothing, and their gradients alike.

    Args:
        workload: What to train.
        layers: The stage's layers, in order.
        entry: From the stage before; None on the first stage, which takes images.
        exit: To the stage after; None on the last stage, which puts out logits.
    """

    def __init__(
        self, workload: Workload, layers: list[nn.Module], *, entry: Wire | None, exit: Wire | None
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.entry = entry
        self.exit = exit
        self._workload = workload
        self._compiled = workload.compiled(self.layers.forward)

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.requires_grad:
            inputs.register_hook(torch.Tensor.contiguous)  # few backwards promise a layout
        exchanging = self._workload.stopwatch.exchanging
        activation = inputs
        if self.entry is not None:
            with exchanging():
                activation = self.entry.unpack(inputs, self._workload.device)
        with self._workload.autocast():
            outputs = self._compiled(activation) if self.training else self.layers(activation)
        if self.exit is None:
            return outputs
        if self.exit.via_host:
            synchronize(outputs.device)  # else the copy would wait for the computing, and count it
        with exchanging():
            wire = self.exit.pack(outputs)
            # Dimensions of one leave strides open: `view` makes them the example's, as torch 2.10 demands.
            return _Own.apply(wire.view(wire.shape))


class Chunks:
    """Knows when this worker works on a micro-batch: what is between two chunks counts as waiting.

    Args:
        stopwatch: Where waiting is counted and the timeline recorded.
    """

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._idle_since = 0.0

    def begin(self) -> None:
        """A step of the schedule begins."""
        self._idle_since = perf_counter()

    def count_gap(self) -> None:
        """Count the time since the last chunk as waiting."""
        self._stopwatch.count_wait(perf_counter() - self._idle_since)

    @contextmanager
    def work(self, kind: str, **where: int) -> Iterator[None]:
        """Around a chunk of work of a kind of `layerpar.measure.trace`."""
        self.count_gap()
        with self._stopwatch.span(kind, **where):
            yield
        self._idle_since = perf_counter()


class Stage(PipelineStage):
    """A stage that records its chunks, and does not greet its own worker: older torch sends one message to
    every neighbour first.

    Args:
        module: What it computes.
        index: Which stage, of `num_stages`.
        device: Where its messages lie.
        examples: What it takes from the stage before (or the data), and what it puts out.
        chunks: Of this worker.
    """

    def __init__(
        self,
        module: StageModule,
        index: int,
        num_stages: int,
        device: torch.device,
        *,
        examples: tuple[Tensor, Tensor],
        chunks: Chunks,
    ) -> None:
        super().__init__(module, index, num_stages, device, input_args=examples[0], output_args=examples[1])
        self._work = partial(chunks.work, stage=index)

    def forward_one_chunk(self, fwd_chunk_id: int, *arguments: Any, **options: Any) -> Any:
        with self._work("forward", microbatch=fwd_chunk_id):
            return super().forward_one_chunk(fwd_chunk_id, *arguments, **options)

    def backward_one_chunk(self, bwd_chunk_id: int, *arguments: Any, **options: Any) -> Any:
        with self._work("backward", microbatch=bwd_chunk_id):
            return super().backward_one_chunk(bwd_chunk_id, *arguments, **options)

    def backward_weight_one_chunk(self, bwd_chunk_id: int, *arguments: Any, **options: Any) -> Any:
        with self._work("backward", microbatch=bwd_chunk_id):
            return super().backward_weight_one_chunk(bwd_chunk_id, *arguments, **options)

    def _get_init_p2p_neighbors_ops(self) -> list[dist.P2POp]:
        greetings = super()._get_init_p2p_neighbors_ops()
        return [greeting for greeting in greetings if greeting.peer != self.group_rank]


class _Own(torch.autograd.Function):
    """The same memory as a tensor that autograd takes for no view: schedules detach outputs in place."""

    @staticmethod
    def forward(ctx: Any, wire: Tensor) -> Tensor:
        return wire.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient
