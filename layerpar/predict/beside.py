"""Predictions beside measurements: of finished runs, from the layer times that these recorded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf.errors import OmegaConfBaseException

from layerpar.config import RunConfig, load
from layerpar.errors import UserError
from layerpar.modes.pipeline import stage_cost
from layerpar.paths import RunDirectory
from layerpar.predict import kinds as layer_kinds
from layerpar.predict import measuring, recorded
from layerpar.predict.layers import Layers
from layerpar.predict.links import Link
from layerpar.predict.methods import is_predicted, method
from layerpar.predict.recorded import Times
from layerpar.results.load import Runs


@dataclass(frozen=True)
class _Finished:
    """A run that can be predicted.

    Attributes:
        path: Its directory.
        config: What it did.
        steps: How many.
        blocks: How many it trained at the same time, each once; None for ways that train no blocks.
        network: What its layer times depend on but the hardware, as text.
        hardware: What it ran on, as text.
        on_gpu: Whether its workers computed on GPUs.
    """

    path: str
    config: RunConfig
    steps: int
    blocks: int | None
    network: str
    hardware: str
    on_gpu: bool


def with_predictions(runs: Runs, link: Link) -> Runs:
    """The runs with what is predicted of them, from the layer times that they recorded.

    Columns:

    - `predicted_seconds`: what their train seconds should have been;
    - `predicted_block_speed_up`: how much faster than serial training a layerwise run would be if every
      block had a worker of its own;
    - `predicted_link`: the link's name.

    NaN for runs of several phases or of a user's own mode, for those that did not end well or whose
    `run.yaml` is damaged, and where no run of the same network on the same hardware has recorded the times
    of its layers, as those do that measure them to cut it.

    Args:
        runs: As `load` gives them.
        link: Between their workers.
    """
    finished = list(_finished(runs))
    times = _times(finished)
    known: dict[tuple[str, str, str], Layers] = {}
    found = {
        run.path: _predicted(run, _layers(run, times[run.network, run.hardware], known), link)
        for run in finished
        if (run.network, run.hardware) in times
    }
    columns = [found.get(path, (math.nan, math.nan)) for path in runs.summaries["path"]]
    seconds, speed_ups = zip(*columns, strict=True) if columns else ((), ())
    return replace(
        runs,
        summaries=runs.summaries.assign(
            predicted_seconds=seconds, predicted_block_speed_up=speed_ups, predicted_link=link.name
        ),
    )


def _finished(runs: Runs) -> Iterator[_Finished]:
    for run in runs.summaries[runs.summaries["status"] == "done"].to_dict("records"):
        try:
            config = load(RunDirectory(Path(run["path"])).run_yaml)
            network = _text(recorded.describe(config))
        except (UserError, OmegaConfBaseException):
            continue  # damaged since, or without its data; what was measured stands in other files
        if not config.phases and is_predicted(config.mode):
            alone = config.mode.has_objective and run["settings"].get("mode.replicas") == 1
            yield _Finished(
                run["path"],
                config,
                int(run["steps"]),
                int(run["num_blocks"]) if alone else None,
                network,
                _text((run["device"], run["hardware"])),
                run["device"] == "cuda",
            )


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _times(finished: Iterable[_Finished]) -> dict[tuple[str, str], Times]:
    """Of every network on every hardware, what all runs of it have recorded together."""
    found: dict[tuple[str, str], Times] = {}
    for run in finished:
        try:
            own = recorded.read(Path(run.path)).times
        except UserError:
            continue  # its mode cuts nothing
        known = found.setdefault((run.network, run.hardware), {})
        for head, by_samples in own.items():
            known.setdefault(head, {}).update(by_samples)
    return found


def _predicted(run: _Finished, layers: Layers, link: Link) -> tuple[float, float]:
    """Its train seconds, and its speed-up over serial training with a worker for every block."""
    used = link.between_gpus() if run.on_gpu else link.between_cpus()
    seconds = _step(run.config, layers, used) * run.steps
    if run.blocks is None:
        return seconds, math.nan
    serial = stage_cost(layers.whole(run.config.batch_size, 1))(0, len(layers))
    return seconds, serial / _step(replace(run.config, workers=run.blocks), layers, used)


def _layers(run: _Finished, times: Times, known: dict[tuple[str, str, str], Layers]) -> Layers:
    """Of its network with its heads, looked at once for all runs that have the same."""
    config, head = run.config, recorded.head_key(run.config)
    key = (run.network, run.hardware, head)
    if key not in known:
        info = config.dataset.info()
        way = method(config.mode, config, info.num_classes)
        layers = layer_kinds.real_layers(layer_kinds.kinds_of(config, info), config, torch.device("cpu"))
        own: Any = times.get(head) or next(iter(times.values()))
        known[key] = measuring.examine(config, info, layers, way.build_head, own)
    return known[key]


def _step(config: RunConfig, layers: Layers, link: Link) -> float:
    """Seconds of a step."""
    info = config.dataset.info()
    segment = min(config.evaluate_every_steps or math.inf, info.num_train // config.batch_size)
    return method(config.mode, config, info.num_classes).predict(layers, link, int(segment)).seconds
