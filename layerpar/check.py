"""What is refused before anything starts: by the command, and by workers on nodes that it cannot see."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import fields

import torch

from layerpar.architectures.base import Network
from layerpar.config import RunConfig
from layerpar.datasets.base import DatasetInfo
from layerpar.errors import UserError, require, require_choice
from layerpar.rendezvous.ranks import worker_device
from layerpar.summary.content import Results

METRICS = tuple(field.name for field in fields(Results) if field.type == "float | None")
"""What a run can be optimised for."""


def check(config: RunConfig) -> DatasetInfo | None:
    """Refuse what cannot work, before anything starts; what only the workers' nodes have they check there.

    Returns:
        What the data set is; None where it is not to be had here, and need not be.

    Raises:
        UserError: what is wrong, and the override that repairs it.
    """
    config.launcher.check(config.num_workers)
    if config.launcher.uses_this_machine:
        return check_node(config)
    try:
        info = _info(config)
    except UserError:
        return None
    check_work(config, info)
    return info


def check_node(config: RunConfig) -> DatasetInfo:
    """Refuse what cannot work on this node: its devices, its compiler, its data, and what follows from them.

    Raises:
        UserError: what is wrong, and the override that repairs it.
    """
    device = worker_device(config.device, local_rank=0)
    for phase in config.parts:
        with phase.naming():
            phase.config.mode.check_device(device)
            if config.compile:
                _check_compile(phase.config)
    info = _info(config)
    check_work(config, info)
    return info


def _info(config: RunConfig) -> DatasetInfo:
    """What the data set is.

    Raises:
        UserError: its files are missing, or cannot be read.
    """
    try:
        return config.dataset.info()
    except OSError as error:
        raise UserError(
            f"{error.filename or config.dataset.name} cannot be read ({error.strerror}); repair it, or try "
            "dataset.root=ANOTHER"
        ) from error


def check_work(config: RunConfig, info: DatasetInfo) -> None:
    """Refuse a run that this data set cannot be used for so.

    Raises:
        UserError: what is wrong, and the override that repairs it.
    """
    require(
        config.batch_size <= info.num_train,
        f"batch_size={config.batch_size} is larger than the {info.num_train} training samples of "
        f"{config.dataset.name}; try batch_size={info.num_train}",
    )
    require(
        config.dataset.validation == 0 or info.num_validation > 0,
        f"dataset={config.dataset.name} holds nothing out for validation; try dataset.validation=0",
    )
    config.logger.check()
    most = min(info.num_train // config.batch_size, config.evaluate_every_steps or info.num_train)
    require(
        config.trace_steps <= most,
        f"trace_steps={config.trace_steps} is more than the {most} steps until the first evaluation; "
        f"try trace_steps={most}",
    )
    metric = config.optimized_metric
    if metric is not None:
        require_choice("optimized_metric", metric, METRICS)
        require(
            metric != "time_to_target_seconds" or config.target_accuracy is not None,
            f"optimized_metric={metric} needs a target; try target_accuracy=0.95",
        )
        held_out = config.dataset.validation > 0
        require(
            held_out or not metric.endswith("validation_accuracy"),
            f"optimized_metric={metric} needs samples held out; try dataset.validation=0.1",
        )
        require(
            not held_out or metric != "best_test_accuracy",
            f"optimized_metric={metric} is not known where samples are held out; "
            "try optimized_metric=best_validation_accuracy",
        )
    for phase in config.parts:
        with phase.naming():
            phase.config.mode.check(phase.config, info, meta_network(config, info))


def _check_compile(config: RunConfig) -> None:
    name, compiler = config.mode.name, os.environ.get("CXX", "g++")
    require(
        config.mode.compiles,
        f"{name}: compile=true compiles whole networks and stages, {name} has neither; try compile=false",
    )
    require(
        config.warmup_steps >= 1,
        "compile=true needs warm-up steps, else it compiles while the clock runs; try warmup_steps=5",
    )
    require(
        shutil.which(compiler) is not None,
        f"compile=true needs a C++ compiler, and there is no {compiler}; try compile=false",
    )


def meta_network(config: RunConfig, info: DatasetInfo) -> Callable[[], Network]:
    """Makes the network on the meta device: layers and sizes without memory.

    Returns:
        What makes it; raises `UserError` where the architecture cannot be trained.
    """

    def build() -> Network:
        try:
            with torch.device("meta"):
                network = config.architecture.build(info.input_shape, info.num_classes)
        except (OverflowError, MemoryError, RuntimeError, TypeError) as error:
            if isinstance(error, RuntimeError | TypeError) and "verflow" not in str(error):
                raise
            width, depth = config.architecture.width, config.architecture.depth
            raise UserError(
                f"architecture.width={width} with architecture.depth={depth} has more weights than can be "
                "counted; try architecture.width=1024"
            ) from error
        _check_layers(config.architecture.name, network)
        return network

    return build


def _check_layers(name: str, network: Network) -> None:
    """Every layer can be a block of its own, with an optimizer of its own."""
    for number, layer in enumerate(network.layers):
        trained = [parameter.requires_grad for parameter in layer.parameters()]
        who = f"architecture={name}: layer {number} ({type(layer).__name__})"
        require(bool(trained), f"{who} has no weights; make it a part of the layer before or after it")
        require(all(trained), f"{who} has parameters that are not trained; register them as buffers")
