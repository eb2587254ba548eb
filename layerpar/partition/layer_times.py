"""How long each layer takes on this machine: what `partition=balanced` cuts by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from layerpar.datasets.base import Batch
from layerpar.measure.stopwatch import synchronize
from layerpar.partition.profile import Profile
from layerpar.seeds import undisturbed

PASSES = 5
BUDGET_SECONDS = 0.8
PLAIN = (bool, int, float, str, tuple)
"""Attributes of these types tell modules apart."""

BuildHead = Callable[[tuple[int, ...]], nn.Module | None]
"""The auxiliary head of a block that puts out activations of this shape, None for none."""


@dataclass(frozen=True)
class Measuring:
    """Under what conditions layers are timed: those of training.

    Attributes:
        inputs: So many samples of what the network takes, random, as training has them on the device.
        build_optimizer: For some parameters.
        build_head: See `BuildHead`.
        autocast: The precision in which forwards run.
        most_copies: Of layers that are alike so many have a turn, so that one finds its weights where it
            does in training: not always in the fastest cache.
        time_split: Seconds of a layer's backward in two parts; None where nothing takes it apart.
        batches: Two training batches of so many blank samples, whose images are made when they are asked
            for; none where what that takes is not counted.
    """

    inputs: Callable[[int], Tensor]
    build_optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer]
    build_head: BuildHead = lambda shape: None
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    most_copies: int = 1
    time_split: Callable[[nn.Module, Tensor], float] | None = None
    batches: Callable[[int], Sequence[Batch]] = lambda samples: ()


def measure(layers: Sequence[nn.Module], measuring: Measuring, *, samples: int, microbatches: int) -> Profile:
    """Time every layer by itself, on copies, in under two seconds on a CPU. Not collective.

    Layers of one appearance that take the same input cost alike: they are measured once, so that a network
    of equal layers is cut by their number, not by noise. Of several passes the shortest times count: what
    else the machine does can only lengthen them. Fewer samples are used where a micro-batch would take too
    long: the times are then scaled up, but for the update and the copy, which do not depend on the batch.

    Args:
        layers: Of the whole network, in order.
        measuring: Under what conditions.
        samples: Of a step.
        microbatches: Equal parts of a step, whose size is the one that is timed.
    """
    size = samples // microbatches
    few = max(2, size // 8)
    looks = [appearance(layer) for layer in layers]
    _time_layers(layers, looks, measuring, few)  # the first pass pays for everything that is set up once
    device = next(parameter.device for layer in layers for parameter in layer.parameters())
    with timed(device) as seconds:
        _time_layers(layers, looks, measuring, few)
    budget = BUDGET_SECONDS * measuring.most_copies
    chosen = max(2, min(size, int(few * budget / (PASSES * seconds[0]))))
    passes = [_time_layers(layers, looks, measuring, chosen) for _ in range(PASSES)]
    shortest = [
        [_Times(*map(min, zip(*module, strict=True))) for module in zip(*layer, strict=True)]
        for layer in zip(*passes, strict=True)
    ]
    scale = samples / chosen
    own = [layer for layer, *_ in shortest]
    to_weights = [min(layer.backward, layer.backward_weights) for layer in own]
    return Profile(
        forward=[layer.forward * scale for layer in own],
        backward_input=[
            (layer.backward - weights) * scale for layer, weights in zip(own, to_weights, strict=True)
        ],
        backward_weights=[
            weights * scale + (microbatches - 1) * layer.accumulate
            for layer, weights in zip(own, to_weights, strict=True)
        ],
        update=[layer.update for layer in own],
        copy=[layer.copy for layer in own],
        head=[
            sum((times.forward + times.backward) * scale + times.update for times in heads)
            for _, *heads in shortest
        ],
        accumulate=[layer.accumulate for layer in own],
        split=[layer.split * scale for layer in own],
        selecting=_time_selecting(measuring, chosen, device) * scale,
    )


def appearance(module: nn.Module) -> str:
    """What tells modules apart: how each prints, the shapes of its weights and buffers, and its plain values.

    One's own module prints none of the latter two unless it says how.
    """
    tensors = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    values = {
        f"{name}.{key}": value
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, PLAIN)
    }
    return f"{type(module).__module__}.{module!r} {tensors} {values}"


def _time_selecting(measuring: Measuring, samples: int, device: torch.device) -> float:
    found = [0.0]
    for _ in range(PASSES):
        for batch in measuring.batches(samples):
            with timed(device) as seconds:
                assert batch.images is not None
            found += seconds
    return min(found[1:], default=0.0)


class _Times(NamedTuple):
    """Seconds of one module; `backward` is all of it, `backward_weights` leaves out its input's gradient."""

    forward: float
    backward: float
    backward_weights: float
    update: float
    copy: float
    accumulate: float
    split: float


def _time_layers(
    layers: Sequence[nn.Module], looks: Sequence[str], measuring: Measuring, samples: int
) -> list[list[_Times]]:
    """Of every layer, and of the head that a block ending there would need."""
    measured = []
    device = next(parameter.device for layer in layers for parameter in layer.parameters())
    with undisturbed(device):
        inputs = measuring.inputs(samples)
        known: dict[tuple[str, tuple[int, ...]], tuple[Tensor, _Times]] = {}

        def time_once(module: nn.Module, look: str, inputs: Tensor, alike: int = 1) -> tuple[Tensor, _Times]:
            kind = (look, tuple(inputs.shape))
            if kind not in known:
                copies = min(alike, measuring.most_copies)
                known[kind] = _time_module(measuring, [deepcopy(module) for _ in range(copies)], inputs)
            return known[kind]

        alike = Counter(looks)
        for index, (layer, look) in enumerate(zip(layers, looks, strict=True)):
            inputs, times = time_once(layer, look, inputs, alike[look])
            measured.append([times])
            head = measuring.build_head(tuple(inputs.shape[1:])) if index + 1 < len(layers) else None
            if head is not None:
                measured[-1].append(time_once(head.to(inputs.device), appearance(head), inputs)[1])
    return measured


def _time_module(measuring: Measuring, copies: Sequence[nn.Module], inputs: Tensor) -> tuple[Tensor, _Times]:
    """What one of these equal modules takes, each with its own weights, where all have a turn."""
    parameters, device = [parameter for copy in copies for parameter in copy.parameters()], inputs.device
    leaves = [inputs.detach().requires_grad_() for _ in copies]
    with timed(device) as forward, measuring.autocast():
        outputs = [copy(leaf) for copy, leaf in zip(copies, leaves, strict=True)]
    upstream = [torch.rand_like(output) for output in outputs]
    for _ in range(2):  # the first finds memory cold, which in training it never is
        with timed(device) as backward:
            torch.autograd.grad(outputs, [*leaves, *parameters], upstream, retain_graph=True)
    backward_weights, update, copy, accumulate, split = [0.0], 0.0, [0.0], [0.0], 0.0
    if parameters:
        with timed(device) as backward_weights:
            gradients = torch.autograd.grad(outputs, parameters, upstream)
        update = _time_update(measuring, parameters, gradients)
        for _ in range(2):
            with timed(device) as copy:
                cloned = [parameter.detach().clone() for parameter in parameters]
        with timed(device) as accumulate:
            for total, gradient in zip(cloned, gradients, strict=True):
                total += gradient
        if measuring.time_split is not None:
            both = measuring.time_split(copies[0], inputs.detach())
            split = max(0.0, both * len(copies) - backward[0] - accumulate[0])
    times = (forward[0], backward[0], backward_weights[0], update, copy[0], accumulate[0], split)
    return outputs[0].detach(), _Times(*(seconds / len(copies) for seconds in times))


def _time_update(
    measuring: Measuring, parameters: list[nn.Parameter], gradients: tuple[Tensor, ...]
) -> float:
    optimizer = measuring.build_optimizer(parameters)
    for _ in range(2):  # the first makes the optimizer's state
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        with timed(parameters[0].device) as seconds:
            optimizer.step()
    return seconds[0]


@contextmanager
def timed(device: torch.device) -> Iterator[list[float]]:
    """Gives a list to which the seconds of what is inside are added.

    Where one thread computes, they are those of its processor, which do not count while another process has
    it.
    """
    clock = thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else perf_counter
    seconds: list[float] = []
    synchronize(device)
    before = clock()
    yield seconds
    synchronize(device)
    seconds.append(clock() - before)
