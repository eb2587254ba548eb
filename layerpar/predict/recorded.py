"""Layer times on file: those that a prediction measured, and those that a run measured to cut its network."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from layerpar.config import RunConfig, load
from layerpar.errors import UserError, require
from layerpar.measure.writing import write_json
from layerpar.partition.profile import Profile
from layerpar.paths import RunDirectory
from layerpar.predict.methods import method

FILE = "layer_times.json"

Times = dict[str, dict[int, Profile]]
"""By the head that was measured with the layers (how the first layer's would print), then by samples."""


@dataclass(frozen=True)
class Recorded:
    """What was measured before.

    Attributes:
        network: What was measured: `describe` of its configuration.
        hardware: On what; None where the record does not tell.
        times: The layers.
        slowdown: How many times as long computing takes while the other cores compute; 1 where the record
            does not tell.
    """

    network: dict[str, Any]
    hardware: str | None
    times: Times
    slowdown: float = 1.0


def describe(config: RunConfig) -> dict[str, Any]:
    """What layer times depend on, apart from the hardware.

    Raises:
        UserError: the data set is not there to tell the shape of its images.
    """
    return {
        "dataset": config.dataset.name,
        "input_shape": list(config.dataset.info().input_shape),
        "architecture": asdict(config.architecture),
        "optimizer": [config.optimizer.algorithm, config.optimizer.arguments],
        "precision": config.precision,
        "threads_per_worker": config.threads_per_worker,
    }


def save(directory: Path, recorded: Recorded) -> None:
    """Write `layer_times.json` into a directory."""
    content = {
        "network": recorded.network,
        "hardware": recorded.hardware,
        "slowdown": recorded.slowdown,
        "times": [
            {"head_kind": head, "samples": samples, **profile.rounded()}
            for head, by_samples in recorded.times.items()
            for samples, profile in by_samples.items()
        ],
    }
    write_json(directory / FILE, content)


def read(directory: Path) -> Recorded:
    """What an earlier prediction (its `--output`) or a run measured.

    Raises:
        UserError: there is nothing of the kind, or it cannot be read.
    """
    if (directory / FILE).exists():
        try:
            return _from_prediction(json.loads((directory / FILE).read_text()))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{directory / FILE} cannot be read ({error}); leave out --from") from error
    files = RunDirectory(directory)
    require(
        files.run_yaml.exists() and files.metrics.exists(),
        f"{directory} holds neither {FILE} nor a run; give --from the --output of an earlier prediction",
    )
    return _from_run(files)


def _from_prediction(content: dict[str, Any]) -> Recorded:
    times: Times = {}
    for entry in content["times"]:
        times.setdefault(entry["head_kind"], {})[entry["samples"]] = _profile(entry)
    return Recorded(content["network"], content["hardware"], times, float(content["slowdown"]))


def _from_run(files: RunDirectory) -> Recorded:
    config = load(files.run_yaml)
    for line in map(json.loads, files.metrics.read_text().splitlines()):
        if line["event"] == "engine" and line.get("layer_times"):
            entry = line["layer_times"]
            head = head_key(config)
            try:
                return Recorded(describe(config), None, {head: {entry["samples"]: _profile(entry)}})
            except KeyError as error:
                raise UserError(
                    f"{files.root} recorded no {error} of its layers; leave out --from"
                ) from error
    raise UserError(
        f"{files.root} measured no layers, as mode={config.mode.name} cuts nothing; leave out --from"
    )


def _profile(entry: dict[str, Any]) -> Profile:
    return Profile(**{field.name: entry[field.name] for field in fields(Profile)})


def head_key(config: RunConfig) -> str:
    """Names the kind of auxiliary head that a run's blocks have; `None` for none."""
    info = config.dataset.info()
    head = method(config.mode, config, info.num_classes).build_head((64, 8, 8))
    return str(head).replace("\n", " ")
