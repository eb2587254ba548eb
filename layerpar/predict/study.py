"""Every way of training on every number of workers and every link: a table of predictions."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
import torch

from layerpar.config import RunConfig
from layerpar.datasets.base import DatasetInfo
from layerpar.errors import UserError, require
from layerpar.measure.environment import cpu_name
from layerpar.modes.pipeline import stage_cost
from layerpar.partition.layer_times import BuildHead
from layerpar.predict import measuring, recorded
from layerpar.predict.layers import Layers
from layerpar.predict.links import CORE_SECONDS, Link
from layerpar.predict.measuring import Kinds
from layerpar.predict.methods import method
from layerpar.predict.methods.pipeline import splits_backward
from layerpar.predict.recorded import Recorded
from layerpar.predict.ways import Way
from layerpar.rendezvous.ranks import worker_device

MOST_WORKERS = 1024
"""Of those that are predicted where none are asked for."""


@dataclass(frozen=True)
class Study:
    """What is predicted, and from what.

    Attributes:
        ways: Of training.
        info: Of the data set.
        kinds: Of the network's layers.
        layers: By the head that a way has; those without take any.
        workers: Numbers of them that were asked for.
        steps: Of a segment, between two evaluations.
        memory_bytes: Of a worker.
        on_cpu: Workers compute on the cores that also copy their messages.
    """

    ways: list[Way]
    info: DatasetInfo
    kinds: Kinds
    layers: dict[str, Layers]
    workers: list[int]
    steps: int
    memory_bytes: float
    on_cpu: bool

    @property
    def num_layers(self) -> int:
        return len(self.kinds.kinds)

    def rows(self, links: Sequence[Link]) -> pd.DataFrame:
        """A row for each way, number of workers and link.

        Columns: `way`, `variant`, `order`, `workers`, `link`, `latency`, `bandwidth`, `layers`, `seconds`
        (per step), `speed_up` (over serial), `waiting`, `sent_bytes` (per step, of all workers),
        `memory_bytes` and its parts (of the worker that needs most), `fits`, `cuts`, `one_worker` (the way
        has no use for more), `trains_all` (layers, in every step), and `refused`: why there can be no such
        run, else None.
        """
        found = [self._row(way, count, link) for count in self.workers for way in self.ways for link in links]
        table = pd.DataFrame(found)
        return table.assign(speed_up=self._serial_seconds() / table["seconds"])

    def deeper(self, depth: int, *, layers_per_worker: int) -> Study | None:
        """The same for a network of another depth, with as many workers as that asks for.

        None where the architecture has no such depth, or it has layers of a kind that was not measured.
        """
        ways = []
        for way in self.ways:
            try:
                architecture = replace(way.config.architecture, depth=depth)
            except UserError:
                return None
            ways.append(replace(way, config=replace(way.config, architecture=architecture)))
        kinds = measuring.kinds_of(ways[0].config, self.info)
        places = measuring.matched(kinds.kinds, self.kinds.kinds)
        if places is None:
            return None
        layers = {head: known.take(places) for head, known in self.layers.items()}
        workers = [max(1, len(kinds.kinds) // layers_per_worker)]
        return replace(self, ways=ways, kinds=kinds, layers=layers, workers=workers)

    def _row(self, way: Way, workers: int, link: Link) -> dict[str, Any]:
        row: dict[str, Any] = {
            "way": way.name,
            "variant": way.variant,
            "order": way.config.mode.order(way.config),
            "workers": workers,
            "link": link.name,
            "latency": link.latency,
            "bandwidth": link.bandwidth,
            "layers": self.num_layers,
            "one_worker": way.config.mode.num_workers(2) == 1,
        }
        config = replace(way.config, workers=workers)
        try:
            config.mode.check(config, self.info, lambda: self.kinds.network)
        except UserError as error:
            return {**row, "seconds": math.nan, "fits": False, "cuts": [], "refused": str(error)}
        used = replace(link, core_seconds=CORE_SECONDS) if self.on_cpu else link
        found = method(config.mode, config, self.info.num_classes).predict(
            self._layers(config), used, self.steps
        )
        held = {f"memory_{name}_bytes": value for name, value in asdict(found.memory).items()}
        return {
            **row,
            "seconds": found.seconds,
            "waiting": found.waiting,
            "sent_bytes": found.sent_bytes,
            "memory_bytes": found.memory.total,
            **held,
            "fits": found.memory.total <= self.memory_bytes,
            "cuts": found.cuts,
            "trains_all": found.trains_all,
            "refused": None,
        }

    def _layers(self, config: RunConfig) -> Layers:
        key = recorded.head_key(config)
        return self.layers[key] if key in self.layers else next(iter(self.layers.values()))

    def _serial_seconds(self) -> float:
        """A step on one worker, over whole batches: the unit of every speed-up."""
        layers, batch_size = next(iter(self.layers.values())), self.ways[0].config.batch_size
        return stage_cost(layers.whole(batch_size, 1))(0, len(layers))


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
    kinds = measuring.kinds_of(config, info)
    counts = list(workers or _doubling(len(kinds.kinds)))
    torch.set_num_threads(config.threads_per_worker)
    layers = measuring.real_layers(kinds, config, device)
    heads = _heads(ways, info)
    if given is None:
        sizes = _sizes(ways, counts, kinds, info)
        splits = any(splits_backward(way.config.mode) for way in ways)
        times = {
            key: measuring.time_layers(config, info, layers, build, sizes, splits_backward=splits)
            for key, build in heads.items()
        }
        given = Recorded(recorded.describe(config), hardware_name(device), times)
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
            given.network[key] == value,
            f"--from holds times of {key} {given.network[key]}, not {value}; leave out --from",
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
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
