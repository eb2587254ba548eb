"""How long each layer takes on this machine: what `partition=balanced` cuts by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from layerpar.engine.contract import Workload
from layerpar.measure.stopwatch import synchronize
from layerpar.objectives import heads

PASSES = 5
BUDGET_SECONDS = 0.8


@dataclass(frozen=True)
class Profile:
    """Seconds of one step, per layer.

    Attributes:
        forward: Forward.
        backward_input: Backward to the layer's input.
        backward_weights: Backward to the layer's weights.
        update: Optimizer step.
        head: Everything for the head that a block ending here would need; 0 for the last layer.
    """

    forward: list[float]
    backward_input: list[float]
    backward_weights: list[float]
    update: list[float]
    head: list[float]


def measure(workload: Workload, *, head: str | None) -> Profile:
    """Time every layer by itself, on copies, in under two seconds on a CPU. Not collective.

    Layers that print alike and take the same input cost alike: they are measured once, so that a network of
    equal layers is cut by their number, not by noise. Of several passes the shortest times count: what else
    the machine does can only lengthen them. Few samples are used where a whole batch would take too long:
    the times are then scaled up, but for the update, which does not depend on the batch.

    Args:
        workload: What to train.
        head: The kind of auxiliary head, None where blocks have none.
    """
    batch = workload.config.replica_batch_size
    few = max(2, batch // 8)
    _time_layers(workload, head, samples=few)  # the first pass pays for everything that is set up once
    before = perf_counter()
    _time_layers(workload, head, samples=few)
    seconds = perf_counter() - before
    samples = max(2, min(batch, int(few * BUDGET_SECONDS / (PASSES * seconds))))
    passes = [_time_layers(workload, head, samples=samples) for _ in range(PASSES)]
    shortest = [
        [_Times(*map(min, zip(*module, strict=True))) for module in zip(*layer, strict=True)]
        for layer in zip(*passes, strict=True)
    ]
    scale = batch / samples
    layers = [layer for layer, *_ in shortest]
    to_weights = [min(layer.backward, layer.backward_weights) for layer in layers]
    return Profile(
        forward=[layer.forward * scale for layer in layers],
        backward_input=[
            (layer.backward - own) * scale for layer, own in zip(layers, to_weights, strict=True)
        ],
        backward_weights=[own * scale for own in to_weights],
        update=[layer.update for layer in layers],
        head=[
            sum((times.forward + times.backward) * scale + times.update for times in auxiliary)
            for _, *auxiliary in shortest
        ],
    )


class _Times(NamedTuple):
    """Seconds of one module; `backward` is all of it, `backward_weights` leaves out its input's gradient."""

    forward: float
    backward: float
    backward_weights: float
    update: float


def _time_layers(workload: Workload, head: str | None, *, samples: int) -> list[list[_Times]]:
    """Of every layer, and of the head that a block ending there would need."""
    measured = []
    info, last = workload.info, len(workload.network.layers) - 1
    layout = torch.channels_last if workload.config.architecture.channels_last else torch.contiguous_format
    with torch.random.fork_rng():
        inputs = torch.rand(samples, *info.input_shape, device=workload.device).to(memory_format=layout)
        known: dict[tuple[str, tuple[int, ...]], tuple[Tensor, _Times]] = {}

        def time_once(module: nn.Module, inputs: Tensor) -> tuple[Tensor, _Times]:
            kind = (repr(module), tuple(inputs.shape))
            if kind not in known:
                known[kind] = _time_module(workload, deepcopy(module), inputs)
            return known[kind]

        for index, layer in enumerate(workload.network.layers):
            inputs, times = time_once(layer, inputs)
            measured.append([times])
            if head is not None and index < last:
                auxiliary = heads.build(head, tuple(inputs.shape[1:]), info.num_classes).to(workload.device)
                measured[-1].append(time_once(auxiliary, inputs)[1])
    return measured


def _time_module(workload: Workload, module: nn.Module, inputs: Tensor) -> tuple[Tensor, _Times]:
    parameters = list(module.parameters())
    inputs = inputs.detach().requires_grad_()
    with _timed(workload.device) as forward, workload.autocast():
        outputs = module(inputs)
    upstream = torch.rand_like(outputs)
    for _ in range(2):  # the first finds memory cold, which in training it never is
        with _timed(workload.device) as backward:
            torch.autograd.grad(outputs, [inputs, *parameters], upstream, retain_graph=True)
    backward_weights, update = [0.0], 0.0
    if parameters:
        with _timed(workload.device) as backward_weights:
            gradients = torch.autograd.grad(outputs, parameters, upstream)
        update = _time_update(workload, parameters, gradients)
    return outputs.detach(), _Times(forward[0], backward[0], backward_weights[0], update)


def _time_update(workload: Workload, parameters: list[nn.Parameter], gradients: tuple[Tensor, ...]) -> float:
    optimizer = workload.config.optimizer.build(parameters)
    for _ in range(2):  # the first makes the optimizer's state
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        with _timed(workload.device) as seconds:
            optimizer.step()
    return seconds[0]


@contextmanager
def _timed(device: torch.device) -> Iterator[list[float]]:
    """Gives a list to which the seconds of what is inside are added."""
    seconds: list[float] = []
    synchronize(device)
    before = perf_counter()
    yield seconds
    synchronize(device)
    seconds.append(perf_counter() - before)
