"""What a study needs: layer times, measured now or before, for every micro-batch that its ways have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import torch

from layerpar.config import RunConfig
from layerpar.datasets.base import DatasetInfo
from layerpar.errors import UserError, require
from layerpar.measure.environment import available_memory_bytes, cpu_name
from layerpar.partition.layer_times import BuildHead
from layerpar.predict import kinds as layer_kinds
from layerpar.predict import measuring, recorded
from layerpar.predict.kinds import Kinds
from layerpar.predict.methods import method
from layerpar.predict.methods.pipeline import splits_backward
from layerpar.predict.recorded import Recorded
from layerpar.predict.study import Study
from layerpar.predict.ways import Way
from layerpar.rendezvous.ranks import worker_device

MOST_WORKERS = 1024
"""Of those that are predicted where none are asked for."""


def prepare(
    ways: list[Way],
    workers: Sequence[int] | None,
    *,
    steps: int | None,
    memory_bytes: float | None,
    given: Recorded | None,
) -> tuple[Study, Recorded]:
    """Measure what these ways need on these numbers of workers, or take what was measured before.

    Args:
        ways: Of training.
        workers: Numbers of them; None for 1, 2, 4 … up to `MOST_WORKERS`, as far as there are layers.
        steps: Of a segment; None for those of an epoch.
        memory_bytes: Of a worker; None for this machine's, or its GPU's.
        given: Layer times that were recorded.

    Raises:
        UserError: the network cannot be so, or was not the one that was recorded.
    """
    config = ways[0].config
    device, info = worker_device(config.device, local_rank=0), config.dataset.info()
    require(
        config.batch_size <= info.num_train,
        f"batch_size={config.batch_size} is larger than the {info.num_train} training samples of "
        f"{config.dataset.name}; try batch_size={info.num_train}",
    )
    kinds = layer_kinds.kinds_of(config, info)
    counts = list(workers or _doubling(len(kinds.kinds)))
    torch.set_num_threads(config.threads_per_worker)
    layers = layer_kinds.real_layers(kinds, config, device)
    heads = _heads(ways, info)
    if given is None:
        sizes = _sizes(ways, counts, kinds, info)
        splits = any(splits_backward(way.config.mode) for way in ways)
        measured = {
            key: measuring.time_layers(config, info, layers, build, sizes, splits_backward=splits)
            for key, build in heads.items()
        }
        given = Recorded(
            recorded.describe(config),
            hardware_name(device),
            {key: times for key, (times, _) in measured.items()},
            fmean(slowdown for _, slowdown in measured.values()),
        )
    else:
        _check_recorded(given, config, heads, kinds)
    known = {
        key: measuring.examine(config, info, layers, build, given.times[key]) for key, build in heads.items()
    }
    study = Study(
        ways,
        info,
        kinds,
        known,
        counts,
        steps=steps or info.num_train // config.batch_size,
        memory_bytes=memory_bytes or _memory_bytes(device),
        on_cpu=device.type == "cpu",
        slowdown=given.slowdown,
    )
    return study, given


def hardware_name(device: torch.device) -> str:
    """What computes, as tables name it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def _doubling(most: int) -> list[int]:
    counts = [1]
    while 2 * counts[-1] <= min(most, MOST_WORKERS):
        counts.append(2 * counts[-1])
    return counts


def _heads(ways: Sequence[Way], info: DatasetInfo) -> dict[str, BuildHead]:
    """The kinds of heads that ways have, or no head where none has one."""
    builders: dict[str, BuildHead] = {
        recorded.head_key(way.config): method(way.config.mode, way.config, info.num_classes).build_head
        for way in ways
    }
    return {key: build for key, build in builders.items() if key != "None"} or builders


def _sizes(ways: Sequence[Way], workers: Sequence[int], kinds: Kinds, info: DatasetInfo) -> set[int]:
    """Samples of the micro-batches that possible runs have; the whole batch too."""
    sizes = {ways[0].config.batch_size}
    for way in ways:
        for count in workers:
            config = replace(way.config, workers=count)
            try:
                config.mode.check(config, info, lambda: kinds.network)
            except UserError:
                continue
            sizes.add(method(config.mode, config, info.num_classes).samples)
    return sizes


def _check_recorded(given: Recorded, config: RunConfig, heads: dict[str, BuildHead], kinds: Kinds) -> None:
    wanted = recorded.describe(config)
    for key, value in wanted.items():
        require(
            given.network.get(key) == value,
            f"--from holds times of {key} {given.network.get(key)}, not {value}; leave out --from",
        )
    for key in heads:
        require(
            key in given.times,
            f"--from holds no times of the auxiliary head {key}; leave out --from, or the variants with it",
        )
    counts = {len(profile.forward) for by_samples in given.times.values() for profile in by_samples.values()}
    require(
        counts == {len(kinds.kinds)},
        f"--from holds times of {counts} layers, and there are {len(kinds.kinds)}; leave out --from",
    )


def _memory_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(available_memory_bytes())
