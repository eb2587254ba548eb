"""Who computes what when: the picture that shows a pipeline's bubble, and where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from layerpar.paths import RunDirectory
from layerpar.results.files import UnreadableError, read_json
from layerpar.results.groups import TASK
from layerpar.results.load import Runs
from layerpar.results.plots import layout, palette
from layerpar.results.plots.panels import FigureSkippedError, finished, need, panels, with_series

STYLES: dict[str, dict[str, Any]] = {
    "step": {"facecolor": "#d9d9d9", "linewidth": 0},
    "forward": {"facecolor": palette.SKY, "linewidth": 0.5},
    "backward": {"facecolor": palette.BLUE, "linewidth": 0.5},
    "update": {"facecolor": palette.GREEN, "linewidth": 0.5},
    "exchange": {"facecolor": palette.PURPLE, "linewidth": 0, "hatch": "...."},
    "wait": {"facecolor": palette.ORANGE, "linewidth": 0, "hatch": "////"},
}
"""Of every kind of span in a trace, what lies within another after it; a `step` is seen where no other is."""

WORDS = {"exchange": "exchanging", "wait": "waiting for a peer", "step": "other"}
NUMBERED = {"forward": palette.BLACK, "backward": "white"}
"""Kinds whose boxes carry the number of the batch, in this colour."""

WIDTH = 9.5
AXES_WIDTH = 8.4
INCHES_PER_CHARACTER = 0.06
"""Of a number in a box."""


@dataclass(frozen=True)
class Box:
    """What one worker did, in milliseconds from the first traced step of its run.

    Attributes:
        worker: Its rank.
        kind: A key of `STYLES`.
        start: Milliseconds.
        length: Milliseconds.
        label: The batch, and after a dot the micro-batch.
    """

    worker: int
    kind: str
    start: float
    length: float
    label: str


def timeline(loaded: Runs) -> Figure:
    """A row per worker and a panel per run, one of each way of training, all on one scale of time."""
    runs = with_series(finished(loaded.summaries))
    traced = runs["path"].map(lambda path: RunDirectory(Path(path)).trace.exists())
    need(bool(traced.any()), "needs a finished run with trace_steps=4 or so")
    runs = runs[traced].drop_duplicates([*TASK, "series"])
    groups = list(panels(runs, TASK))
    chosen: list[tuple[str, list[Box]]] = []
    for name, members in groups:
        for series, path in zip(members["series"], members["path"], strict=True):
            title = series if len(groups) == 1 else f"{name}: {series}"
            chosen.append((title, read_boxes(RunDirectory(Path(path)))))
    kinds = {box.kind for _, boxes in chosen for box in boxes}
    handles = [
        Patch(label=WORDS.get(kind, kind), edgecolor="white", **style)
        for kind, style in STYLES.items()
        if kind in kinds
    ]
    workers = [1 + max(box.worker for box in boxes) for _, boxes in chosen]
    hardware = layout.caption(runs, spread=False)
    what = f"{groups[0][0]} · " if len(groups) == 1 else ""
    caption = f"{what}{hardware} · numbers: batches (.micro-batches) · white: not traced"
    figure, axes = layout.rows(
        "Who computes what when", caption, workers, bar_height=0.27, handles=handles, width=WIDTH
    )
    end = max(box.start + box.length for _, boxes in chosen for box in boxes)
    for ax, count, (name, boxes) in zip(axes, workers, chosen, strict=True):
        ax.set_title(name, loc="left")
        ax.set_xlim(0, end)
        _draw(ax, boxes, inches=AXES_WIDTH / end)
        layout.name_bars(ax, [f"worker {rank}" for rank in range(count)])
        ax.tick_params(labelbottom=ax is axes[-1])
    axes[-1].set_xlabel("milliseconds since the first traced step began")
    return figure


def read_boxes(directory: RunDirectory) -> list[Box]:
    """What a run's trace holds.

    Raises:
        FigureSkippedError: the file is corrupt, or no work was traced.
    """
    try:
        boxes = _boxes(read_json(directory.trace)["traceEvents"])
    except (UnreadableError, KeyError, TypeError) as error:
        raise FigureSkippedError(f"{directory.trace} is corrupt ({error})") from error
    need(bool(boxes), f"{directory.trace} holds no work")
    return boxes


def _boxes(events: list[dict[str, Any]]) -> list[Box]:
    spans = [event for event in events if event["ph"] == "X" and event["cat"] in STYLES]
    first = min((event["ts"] for event in spans), default=0.0)
    return [
        Box(
            event["tid"],
            event["cat"],
            (event["ts"] - first) / 1000,
            event["dur"] / 1000,
            ".".join(str(event["args"][key]) for key in ("batch", "microbatch") if key in event["args"]),
        )
        for event in spans
    ]


def _draw(ax: Axes, boxes: list[Box], *, inches: float) -> None:
    """Draw the boxes, with numbers where they fit; `inches` is how wide a millisecond is."""
    for order, (kind, style) in enumerate(STYLES.items()):
        for worker in {box.worker for box in boxes}:
            spans = [(box.start, box.length) for box in boxes if (box.worker, box.kind) == (worker, kind)]
            ax.broken_barh(
                spans, (worker - 0.4, 0.8), edgecolor="white", zorder=2 + 0.1 * order, label=kind, **style
            )
    for box in boxes:
        if box.kind not in NUMBERED:
            continue
        seen = _seen(box, boxes)
        if seen * inches > INCHES_PER_CHARACTER * (len(box.label) + 1):
            ax.text(
                box.start + seen / 2,
                box.worker,
                box.label,
                color=NUMBERED[box.kind],
                fontsize=6.5,
                ha="center",
                va="center",
                zorder=4,
            )


def _seen(box: Box, boxes: list[Box]) -> float:
    """How much of a box comes before what is drawn over it."""
    over = [
        other.start
        for other in boxes
        if other.worker == box.worker
        and other.kind in ("exchange", "wait")
        and box.start <= other.start < box.start + box.length
    ]
    return min(over, default=box.start + box.length) - box.start
