"""Predictions beside measurements: of finished runs, from the layer times that these recorded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from layerpar.config import RunConfig, load
from layerpar.errors import UserError
from layerpar.paths import RunDirectory
from layerpar.predict import kinds as layer_kinds
from layerpar.predict import measuring, recorded
from layerpar.predict.links import CORE_SECONDS, Link
from layerpar.predict.methods import method
from layerpar.predict.recorded import Times
from layerpar.results.load import Runs


@dataclass(frozen=True)
class _Finished:
    """A run that can be predicted.

    Attributes:
        path: Its directory.
        config: What it did.
        steps: How many.
        network: What its layer times depend on, as text.
    """

    path: str
    config: RunConfig
    steps: int
    network: str


def with_predictions(runs: Runs, link: Link) -> Runs:
    """The runs with `predicted_seconds`: what their train seconds should have been.

    NaN for runs of several phases, for those that did not end well, and where no run of the same network on
    the same hardware has recorded the times of its layers, as those do that cut it.

    Args:
        runs: As `load` gives them.
        link: Between their workers.
    """
    finished = list(_finished(runs))
    times = _times(finished)
    seconds = {run.path: _seconds(run, times[run.network], link) for run in finished if run.network in times}
    column = [seconds.get(path, math.nan) for path in runs.summaries["path"]]
    return replace(runs, summaries=runs.summaries.assign(predicted_seconds=column, predicted_link=link.name))


def _finished(runs: Runs) -> Iterator[_Finished]:
    for run in runs.summaries[runs.summaries["status"] == "done"].to_dict("records"):
        config = load(RunDirectory(Path(run["path"])).run_yaml)
        if not config.phases:
            network = recorded.describe(config) | {"on": (run["device"], run["hardware"])}
            text = json.dumps(network, sort_keys=True, default=str)
            yield _Finished(run["path"], config, int(run["steps"]), text)


def _times(finished: Iterable[_Finished]) -> dict[str, Times]:
    """Of every network, what all runs of it have recorded together."""
    found: dict[str, Times] = {}
    for run in finished:
        try:
            own = recorded.read(Path(run.path)).times
        except UserError:
            continue  # its mode cuts nothing
        for head, by_samples in own.items():
            found.setdefault(run.network, {}).setdefault(head, {}).update(by_samples)
    return found


def _seconds(run: _Finished, times: Times, link: Link) -> float:
    config, info = run.config, run.config.dataset.info()
    way = method(config.mode, config, info.num_classes)
    key = recorded.head_key(config)
    layers = layer_kinds.real_layers(layer_kinds.kinds_of(config, info), config, torch.device("cpu"))
    own: Any = times.get(key) or next(iter(times.values()))
    known = measuring.examine(config, info, layers, way.build_head, own)
    segment = min(config.evaluate_every_steps or math.inf, info.num_train // config.batch_size)
    used = link if config.device == "cuda" else replace(link, core_seconds=CORE_SECONDS)
    return way.predict(known, used, int(segment)).seconds * run.steps
