"""`layerpar predict`: how long a step would take, in every way, on other workers and links."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from layerpar.errors import UserError, require
from layerpar.predict import links as link_kinds
from layerpar.predict import recorded
from layerpar.predict.links import Link
from layerpar.predict.preparation import prepare
from layerpar.predict.study import Study
from layerpar.predict.tables import GIBIBYTE, as_csv, as_json, refusals, tables
from layerpar.predict.ways import compose_ways
from layerpar.results import formats

OWN_KEYS = ("workers", "link", "bandwidth", "latency", "core", "memory", "steps")
"""What is not a key of a run, or takes a list here."""

BANDWIDTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""Of the figures over bandwidth, in Gbit/s."""

DEPTHS = (4, 8, 16, 32, 64, 128, 256, 512, 1000)
LAYERS_PER_WORKER = 4
"""With which workers grow with the depth."""


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        overrides: Of the runs.
        workers: Numbers of them; None for 1, 2, 4 … as far as there are layers.
        links: Between them.
        memory_bytes: Of a worker; None for this machine's.
        steps: Of a segment; None for an epoch's.
    """

    overrides: list[str]
    workers: list[int] | None
    links: list[Link]
    memory_bytes: float | None
    steps: int | None


def understand(arguments: Sequence[str]) -> Asked:
    """Split what is the command's own from the overrides of the runs.

    Raises:
        UserError: a value that cannot be.
    """
    own: dict[str, str] = {}
    overrides = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in OWN_KEYS:
            own[key] = value
        else:
            overrides.append(argument)
    bandwidths = _numbers(own, "bandwidth", float)
    memory, latency, steps = _one(own, "memory", float), _one(own, "latency", float), _one(own, "steps", int)
    core = _one(own, "core", float)
    workers = _numbers(own, "workers", int) or None
    for count in workers or ():
        require(count >= 1, f"workers={count} is too small; try workers=1")
    require(memory is None or memory > 0, f"memory={memory} leaves no room; try memory=16 (GiB)")
    require(steps is None or steps >= 1, f"steps={steps} is too small; try steps=100")
    names = [name for name in own.get("link", "10gbit").strip("[]").replace("|", ",").split(",") if name]
    return Asked(
        overrides,
        sorted(set(workers)) if workers else None,
        link_kinds.choose(names, bandwidths=bandwidths, latency=latency, core=core),
        None if memory is None else memory * GIBIBYTE,
        steps,
    )


def predict(arguments: Sequence[str], *, source: Path | None, form: str, output: Path | None) -> None:
    """Print the table, and write files where asked to.

    Args:
        arguments: Overrides of the runs, and the keys of `OWN_KEYS`.
        source: Where layer times were recorded; None to measure them.
        form: One of `layerpar.results.choices.PREDICTED_TABLES`.
        output: Folder for the table as JSON, the figures and the layer times; None for none.

    Raises:
        UserError: what was asked for cannot be.
    """
    asked = understand(arguments)
    given = None if source is None else recorded.read(source)
    ways = compose_ways(asked.overrides)
    study, taken = prepare(
        ways, asked.workers, steps=asked.steps, memory_bytes=asked.memory_bytes, given=given
    )
    rows = study.rows(asked.links)
    require_any(rows)
    title = describe(study, taken.hardware)
    found = (layers.contradiction() for layers in study.layers.values())
    _show(rows, title, study.memory_bytes, form, warnings=[warning for warning in found if warning])
    if output is not None:
        for path in _write(output, study, rows, asked.links, title):
            print(path, file=sys.stderr)
        recorded.save(output, taken)


def require_any(rows: pd.DataFrame) -> None:
    """Refuse what leaves nothing to predict but a single worker.

    Raises:
        UserError: with the reason of the first way that cannot be.
    """
    refused = rows[rows["refused"].notna()]
    asked_for_more = rows["workers"].max() > 1
    others = rows[rows["refused"].isna() & ~rows["one_worker"]]
    if asked_for_more and len(refused) and not len(others):
        raise UserError(str(refused.iloc[0]["refused"]))


def describe(study: Study, hardware: str | None) -> str:
    """What is predicted, on what."""
    config = study.ways[0].config
    architecture = config.architecture
    threads = config.threads_per_worker
    parts = [
        f"{config.dataset.name}, {architecture.name} depth {architecture.depth} width {architecture.width}",
        f"batch size {config.batch_size}",
        f"{study.steps} steps between evaluations",
        f"{threads} thread{'' if threads == 1 else 's'} per worker",
        f"layers measured on {hardware or 'the hardware of a run'}",
    ]
    if study.slowdown > 1:
        parts.append(f"computing {100 * (study.slowdown - 1):.0f} % slower beside other workers")
    return ", ".join(parts)


def _show(rows: pd.DataFrame, title: str, memory_bytes: float, form: str, *, warnings: list[str]) -> None:
    if form == "json":
        sys.stdout.write(as_json(rows))
    elif form == "csv":
        sys.stdout.write(as_csv(rows))
    else:
        drawn = tables(rows, title=title, memory_bytes=memory_bytes, warnings=warnings)
        if form == "table":
            formats.show(drawn, Console())
        else:
            sys.stdout.write(formats.markdown(drawn) if form == "markdown" else formats.latex(drawn))
    if form in ("json", "csv"):
        for line in (*warnings, *refusals(rows)):
            print(line, file=sys.stderr)


def _write(output: Path, study: Study, rows: pd.DataFrame, links: Sequence[Link], title: str) -> list[Path]:
    from layerpar.predict import figures

    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "prediction.json").write_text(as_json(rows))
        deeper = [grown.rows(links) for depth in DEPTHS if (grown := _grown(study, depth)) is not None]
        speeds = [
            replace(links[0], name=f"{value:g} Gbit/s", bandwidth=value * 1e9 / 8) for value in BANDWIDTHS
        ]
        slower = study.rows(speeds)
        drawn = figures.write(
            output,
            rows,
            pd.concat(deeper) if len(deeper) > 1 else pd.DataFrame(),
            slower,
            caption=f"prediction, nothing was trained: {title}",
        )
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}; try --output FOLDER") from error
    return [output / "prediction.json", *drawn]


def _grown(study: Study, depth: int) -> Study | None:
    """With the first depth from this one on that the architecture can have, and whose layers are known."""
    for candidate in range(depth, depth + 6):
        grown = study.deeper(candidate, layers_per_worker=LAYERS_PER_WORKER)
        if grown is not None:
            return grown
    return None


def _numbers(own: dict[str, str], key: str, kind: Callable[[str], Any]) -> list[Any]:
    words = [word for word in own.get(key, "").strip("[]").split(",") if word]
    require(key not in own or bool(words), f"{key}= has no value; try {key}=1")
    try:
        return [kind(word) for word in words]
    except ValueError:
        raise UserError(f"{key}={own[key]} is no list of numbers; try {key}=1,2,4") from None


def _one(own: dict[str, str], key: str, kind: Callable[[str], Any]) -> Any:
    found = _numbers(own, key, kind)
    require(len(found) <= 1, f"{key}={own.get(key)} is more than one number; try {key}={(found or [1])[0]}")
    if not found:
        return None
    require(math.isfinite(found[0]), f"{key}={own[key]} is no number; try {key}=1")
    return found[0]
