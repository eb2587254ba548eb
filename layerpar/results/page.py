"""One self-contained page about some runs, to send to a colleague."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from layerpar import __version__
from layerpar.paths import RunDirectory
from layerpar.results.files import UnreadableError, read_json
from layerpar.results.load import Runs
from layerpar.results.plots.draw import Pictures
from layerpar.results.settings import describe, differing, disambiguate
from layerpar.results.speedup import BASELINE
from layerpar.results.tables import Table, report_tables
from layerpar.results.words import MEBIBYTE, counted, number

THEMED = {
    "#ffffff": "var(--paper)",
    "#000000": "var(--ink)",
    "#dddddd": "var(--grid)",
    "#555555": "var(--muted)",
}
"""Colours of figures that follow the page's theme; the others are read on white and on black."""

WIDE = 8.0
"""Inches from which a figure gets the whole width of the page."""
CURVE_WIDTH, CURVE_HEIGHT = 240, 60


@dataclass(frozen=True)
class Detail:
    """What the page tells of one run when it is unfolded.

    Attributes:
        name: Its way of training, and what tells it from others.
        status: How it ended.
        path: Its directory.
        message: Why it ended badly, None if it did not.
        settings: What tells it from other runs, in words.
        numbers: Names and texts.
        workers: A row per worker: rank, block, layers, seconds busy, exchanging and waiting, MiB sent, peak.
        curve: Points of its accuracy over train seconds, for SVG; empty where it has none.
    """

    name: str
    status: str
    path: str
    message: str | None
    settings: str
    numbers: list[tuple[str, str]]
    workers: list[list[str]]
    curve: str


def page(runs: Runs, pictures: Pictures, *, baseline: str = BASELINE) -> str:
    """The page as HTML that loads nothing from elsewhere.

    Args:
        runs: What it tells of.
        pictures: Theirs.
        baseline: The mode (or label) that speed-up is measured against.

    Raises:
        UserError: no run is of that baseline.
    """
    tables = report_tables(runs, baseline=baseline)
    figures = [
        (
            picture.name.replace("_", " "),
            picture.figure.get_figwidth() > WIDE,
            Markup(_themed(picture.svg, f"figure{index}-")),
        )
        for index, picture in enumerate(pictures.drawn)
    ]
    environment = Environment(
        loader=PackageLoader("layerpar.results", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html").render(
        version=__version__,
        question=question(runs.summaries),
        machines=_machines(runs.summaries),
        tables=[(table, _sorting(table)) for table in tables],
        figures=figures,
        not_drawn=pictures.not_drawn,
        details=_details(runs),
        skipped=runs.skipped,
        width=CURVE_WIDTH,
        height=CURVE_HEIGHT,
    )


def question(summaries: pd.DataFrame) -> str:
    """What these runs were to tell, by what varies among them."""
    ways = summaries["label"].nunique()
    targets = summaries["target_accuracy"].dropna().unique()
    split = "validation" if summaries["validation_accuracy"].notna().any() else "test"
    goal = f"reaches {targets[0]:.2%} {split} accuracy first" if len(targets) == 1 else "is fastest"
    if ways == 1:
        what = f"How fast and how accurate is {summaries['label'].iloc[0]}"
    else:
        what = f"Which of {ways} ways of training {goal}, and how accurate are they"
    networks = " and ".join(summaries["architecture"].unique())
    data = " and ".join(summaries["dataset"].unique())
    sizes = [
        f"{key} {', '.join(f'{value:g}' for value in sorted(summaries[key].dropna().unique()))}"
        for key in ("depth", "width", "workers")
        if summaries[key].nunique() > 1 and (key != "workers" or ways == 1)
    ]
    return f"{what}: {networks} on {data}{''.join(f', {size}' for size in sizes)}?"


def _machines(summaries: pd.DataFrame) -> list[list[tuple[str, str]]]:
    """Hardware and versions, once each."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in summaries["path"]:
        file = RunDirectory(Path(path)).environment
        try:
            told = read_json(file)
        except UnreadableError:
            continue
        versions = told.get("versions") or {}
        gpus = ", ".join(map(str, told.get("gpus") or []))
        memory = told.get("memory_bytes") or 0
        lines = [
            ("processor", f"{told.get('cpu')}, {counted(told.get('cores') or 0, 'core')}"),
            ("memory", f"{memory / 2**30:.0f} GiB"),
            ("GPUs", gpus or "none"),
            ("system", f"{told.get('platform')}, Python {told.get('python')}"),
            ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ]
        found.setdefault(json.dumps(lines), lines)
    return list(found.values())


def _sorting(table: Table) -> list[list[tuple[str, str]]]:
    """For each cell its text and what it is sorted by; numbers that are missing go last."""
    return [
        [
            (cell, "" if isinstance(key, float) and math.isnan(key) else str(key))
            for cell, key in zip(row, keys, strict=True)
        ]
        for row, keys in zip(table.rows, table.keys, strict=True)
    ]


def _themed(text: str, prefix: str) -> str:
    """An SVG file's text for use in a page: names of its own, and colours that follow the theme."""
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", text)
    return re.sub("|".join(THEMED), lambda found: THEMED[found.group()], text)


def _details(runs: Runs) -> list[Detail]:
    summaries = runs.summaries
    settings = summaries["settings"].tolist()
    names = disambiguate(summaries["label"].tolist(), settings, ignore={"phases"})
    keys = differing(settings)
    evaluations = dict(iter(runs.evaluations.groupby("path")))
    rows = zip(names, summaries.to_dict("records"), strict=True)
    return [
        Detail(
            name,
            run["status"],
            run["path"],
            run["message"] if isinstance(run["message"], str) else None,
            describe(run["settings"], keys),
            [
                ("test accuracy", _percent(run["test_accuracy"])),
                ("train seconds", number(_float(run["train_seconds"]))),
                ("seconds from the command to the first step", number(_float(run["start_seconds"]))),
                ("processor seconds", number(_float(run["cpu_seconds"]))),
            ],
            [_worker(rank) for rank in run["ranks"]],
            _curve(evaluations[run["path"]]) if run["path"] in evaluations else "",
        )
        for name, run in rows
    ]


def _worker(rank: dict[str, Any]) -> list[str]:
    seconds = [number(_float(rank.get(f"{kind}_seconds"))) for kind in ("busy", "exchange", "wait")]
    sizes = [number(_float(rank.get(key)) / MEBIBYTE) for key in ("sent_bytes", "peak_memory_bytes")]
    return [str(rank["rank"]), str(rank.get("block")), str(rank.get("layers")), *seconds, *sizes]


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2%}"


def _curve(evaluations: pd.DataFrame) -> str:
    """Accuracy from 0 to 1 over train seconds, in the box of a small picture."""
    seconds, accuracies = evaluations["train_seconds"], evaluations["accuracy"]
    longest = seconds.max()
    if len(seconds) < 2 or not longest > 0:
        return ""
    points = zip(CURVE_WIDTH * seconds / longest, CURVE_HEIGHT * (1 - accuracies), strict=True)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
