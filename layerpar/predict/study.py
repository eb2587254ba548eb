"""Every way of training on every number of workers and every link: a table of predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from layerpar.config import RunConfig
from layerpar.datasets.base import DatasetInfo
from layerpar.errors import UserError
from layerpar.modes.pipeline import stage_cost
from layerpar.predict import kinds as layer_kinds
from layerpar.predict import recorded
from layerpar.predict.kinds import Kinds
from layerpar.predict.layers import Layers
from layerpar.predict.links import Link
from layerpar.predict.methods import method
from layerpar.predict.ways import Way


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
        slowdown: How many times as long computing takes while the other cores of a machine compute, as it
            does where there are several workers.
    """

    ways: list[Way]
    info: DatasetInfo
    kinds: Kinds
    layers: dict[str, Layers]
    workers: list[int]
    steps: int
    memory_bytes: float
    on_cpu: bool
    slowdown: float

    @property
    def num_layers(self) -> int:
        return len(self.kinds.kinds)

    def rows(self, links: Sequence[Link]) -> pd.DataFrame:
        """A row for each way, number of workers and link.

        Columns: `way`, `variant`, `order`, `workers`, `link`, `latency` (with what busy cores add),
        `bandwidth`, `layers`, `seconds` (per step), `speed_up` (over serial), `waiting`, `sent_bytes` (per
        step, of all workers), `memory_bytes` and its parts (of the worker that needs most), `fits`, `cuts`,
        `one_worker` (the way has no use for more), `trains_all` (layers, in every step), and `refused`: why
        there can be no such run, else None.
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
        kinds = layer_kinds.kinds_of(ways[0].config, self.info)
        places = layer_kinds.matched(kinds.kinds, self.kinds.kinds)
        if places is None:
            return None
        layers = {head: known.take(places) for head, known in self.layers.items()}
        workers = [max(1, len(kinds.kinds) // layers_per_worker)]
        return replace(self, ways=ways, kinds=kinds, layers=layers, workers=workers)

    def _row(self, way: Way, workers: int, link: Link) -> dict[str, Any]:
        used = link.between_cpus() if self.on_cpu else link.between_gpus()
        row: dict[str, Any] = {
            "way": way.name,
            "variant": way.variant,
            "order": way.config.mode.order(way.config),
            "workers": workers,
            "link": link.name,
            "latency": used.latency,
            "bandwidth": used.bandwidth,
            "layers": self.num_layers,
            "one_worker": way.config.mode.num_workers(2) == 1,
        }
        config = replace(way.config, workers=workers)
        try:
            config.mode.check(config, self.info, lambda: self.kinds.network)
        except UserError as error:
            return {**row, "seconds": math.nan, "fits": False, "cuts": [], "refused": str(error)}
        layers = self._layers(config)
        if config.mode.num_workers(workers) > 1:
            layers = layers.slowed(self.slowdown)
        found = method(config.mode, config, self.info.num_classes).predict(layers, used, self.steps)
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
