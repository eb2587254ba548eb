"""Measures a network's layers for a prediction, and looks at what they put out and keep."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from layerpar.config import RunConfig
from layerpar.datasets.base import DatasetInfo
from layerpar.measure.environment import available_cores
from layerpar.partition.layer_times import BuildHead, Measuring, measure
from layerpar.partition.profile import Profile
from layerpar.predict import neighbours as neighbouring
from layerpar.predict.layers import Layers
from layerpar.predict.split_backward import time_split

SPACING = 4
"""Sizes of a micro-batch that are measured lie at least this factor apart; the others are interpolated."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""

MOST_COPIES = 4
"""Of a layer, that have a turn; see `Measuring`."""


def examine(
    config: RunConfig,
    info: DatasetInfo,
    layers: Sequence[nn.Module],
    build_head: BuildHead,
    times: dict[int, Profile],
) -> Layers:
    """The layers with what need not be timed: shapes and bytes.

    Args:
        config: The run.
        info: Of its data set.
        layers: As `real_layers` makes them.
        build_head: Of a block that puts out activations of a shape.
        times: What was measured.
    """
    device = _device(layers)
    activation = torch.rand(2, *info.input_shape, device=device)
    known: dict[tuple[nn.Module, torch.Size], tuple[Tensor, float, int]] = {}
    found = []
    for layer in layers:
        kind = (layer, activation.shape)
        if kind not in known:
            with _autocast(config, device)():
                output, saved = _forward(layer, activation)
            head = build_head(tuple(output.shape[1:]))
            known[kind] = (output, saved, 0 if head is None else sum(_sizes(head)))
        activation = known[kind][0]
        found.append(known[kind])
    return Layers(
        times,
        [output for output, _, _ in found],
        [_sizes(layer) for layer in layers],
        [saved for _, saved, _ in found],
        [head for _, _, head in found],
        _optimizer_state(config, device),
    )


def time_layers(
    config: RunConfig,
    info: DatasetInfo,
    layers: Sequence[nn.Module],
    build_head: BuildHead,
    sizes: Iterable[int],
    *,
    splits_backward: bool,
) -> tuple[dict[int, Profile], float]:
    """Measure the layers at some of these sizes of a micro-batch, about a second each. Not collective.

    Args:
        config: The run.
        info: Of its data set.
        layers: As `real_layers` makes them.
        build_head: Of a block that puts out activations of a shape.
        sizes: That are asked for.
        splits_backward: Whether a schedule takes gradients by inputs and by weights apart.

    Returns:
        The times by the size; and how many times as long the largest takes while the other cores of this
        machine do the same, 1 on a GPU and where a worker has several threads.
    """
    _keep_memory()
    device = _device(layers)
    layout = torch.channels_last if config.architecture.channels_last else torch.contiguous_format

    def inputs(samples: int) -> Tensor:
        return torch.rand(samples, *info.input_shape, device=device).to(memory_format=layout)

    measuring = Measuring(
        inputs,
        config.optimizer.build,
        cache(build_head),
        _autocast(config, device),
        MOST_COPIES,
        time_split if splits_backward else None,
        partial(
            config.dataset.blank_batches,
            device=device,
            channels_last=config.architecture.channels_last,
        ),
    )
    times = {size: measure(layers, measuring, samples=size, microbatches=1) for size in spaced(sizes)}
    largest = max(times)
    again = partial(measure, layers, measuring, samples=largest, microbatches=1)
    neighbours = available_cores() - 1
    if device.type != "cpu" or torch.get_num_threads() > 1 or neighbours < 1:
        return times, 1.0
    with neighbouring.busy(neighbours, again):
        beside = again()
    return times, max(1.0, beside.computing / times[largest].computing)


def _keep_memory() -> None:
    """What `KEEP_MEMORY` does for workers, for this process: glibc keeps what a step frees."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def spaced(sizes: Iterable[int]) -> list[int]:
    """The largest, the smallest, and between them those that lie `SPACING` apart, falling.

    >>> spaced([1, 2, 4, 8, 16, 32, 64, 128])
    [128, 32, 8, 2, 1]
    """
    rest = sorted(set(sizes), reverse=True)
    kept = rest[:1]
    for size in rest[1:]:
        if size * SPACING <= kept[-1] or size == rest[-1]:
            kept.append(size)
    return kept


def _forward(layer: nn.Module, inputs: Tensor) -> tuple[Tensor, float]:
    """What a layer puts out, and bytes per sample that it keeps for its backward, weights apart."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # else its memory, and so its address, could be another's
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = layer(inputs.detach().requires_grad_())
    return output.detach(), sum(kept.values()) / len(inputs)


def _device(layers: Sequence[nn.Module]) -> torch.device:
    return next(parameter.device for layer in layers for parameter in layer.parameters())


def _sizes(module: nn.Module) -> list[int]:
    return [parameter.numel() * parameter.element_size() for parameter in module.parameters()]


def _optimizer_state(config: RunConfig, device: torch.device) -> float:
    """Bytes that the optimizer remembers per byte of parameters, seen on a small matrix."""
    parameter = nn.Parameter(torch.ones(64, 64, device=device))
    optimizer = config.optimizer.build([parameter])
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    held = [value for value in optimizer.state[parameter].values() if isinstance(value, Tensor)]
    return sum(value.numel() * value.element_size() for value in held if value.dim()) / math.prod(
        (64, 64, parameter.element_size())
    )


def _autocast(config: RunConfig, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    enabled = config.precision == "bf16"
    return lambda: torch.autocast(device.type, torch.bfloat16, enabled=enabled)
