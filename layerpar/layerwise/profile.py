"""How long each layer takes on this machine: what `partition=balanced` cuts by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, fields
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from layerpar.layerwise import heads
from layerpar.measure.stopwatch import synchronize
from layerpar.modes.base import Workload

PASSES = 3
BUDGET_SECONDS = 0.6


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
    equal layers is cut by their number, not by noise. Few samples are used where a whole batch would take
    too long: the times are then scaled up, but for the update, which does not depend on the batch.

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
    scale = batch / samples
    merged = {
        field.name: [
            median(values) * (1.0 if field.name == "update" else scale)
            for values in zip(*(getattr(timed, field.name) for timed in passes), strict=True)
        ]
        for field in fields(Profile)
    }
    return Profile(**merged)


def _time_layers(workload: Workload, head: str | None, *, samples: int) -> Profile:
    profile = Profile([], [], [], [], [])
    facts, last = workload.facts, len(workload.network.layers) - 1
    layout = torch.channels_last if workload.config.architecture.channels_last else torch.contiguous_format
    with torch.random.fork_rng():
        inputs = torch.rand(samples, *facts.input_shape, device=workload.device).to(memory_format=layout)
        known: dict[tuple[str, tuple[int, ...]], tuple[Tensor, dict[str, float]]] = {}

        def time_once(module: nn.Module, inputs: Tensor) -> tuple[Tensor, dict[str, float]]:
            kind = (repr(module), tuple(inputs.shape))
            if kind not in known:
                known[kind] = _time_module(workload, deepcopy(module), inputs)
            return known[kind]

        for index, layer in enumerate(workload.network.layers):
            inputs, times = time_once(layer, inputs)
            for name, seconds in times.items():
                getattr(profile, name).append(seconds)
            extra = 0.0
            if head is not None and index < last:
                auxiliary = heads.build(head, tuple(inputs.shape[1:]), facts.num_classes).to(workload.device)
                extra = sum(time_once(auxiliary, inputs)[1].values())
            profile.head.append(extra)
    return profile


def _time_module(workload: Workload, module: nn.Module, inputs: Tensor) -> tuple[Tensor, dict[str, float]]:
    parameters = list(module.parameters())
    inputs = inputs.detach().requires_grad_()
    clock: dict[str, float] = {}
    with _timed(clock, "forward", workload.device), workload.autocast():
        outputs = module(inputs)
    upstream = torch.rand_like(outputs)
    with _timed(clock, "backward_weights", workload.device):
        gradients = (
            torch.autograd.grad(outputs, parameters, upstream, retain_graph=True) if parameters else ()
        )
    with _timed(clock, "both", workload.device):
        torch.autograd.grad(outputs, [inputs, *parameters], upstream)
    clock["backward_input"] = max(0.0, clock.pop("both") - clock["backward_weights"])
    clock["update"] = _time_update(workload, parameters, gradients) if parameters else 0.0
    return outputs.detach(), clock


def _time_update(workload: Workload, parameters: list[nn.Parameter], gradients: tuple[Tensor, ...]) -> float:
    optimizer = workload.config.optimizer.build(parameters)
    clock: dict[str, float] = {}
    for _ in range(2):  # the first makes the optimizer's state
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        with _timed(clock, "update", workload.device):
            optimizer.step()
    return clock["update"]


@contextmanager
def _timed(clock: dict[str, float], name: str, device: torch.device) -> Iterator[None]:
    synchronize(device)
    before = perf_counter()
    yield
    synchronize(device)
    clock[name] = perf_counter() - before
