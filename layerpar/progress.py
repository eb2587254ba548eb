"""What a person sees while a run goes on: read from the run directory's files, never asked of the workers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from layerpar.measure.live import read_live
from layerpar.measure.status import read_status
from layerpar.paths import RunDirectory

POLL_SECONDS = 0.2


@dataclass
class Series:
    """How far a sweep or a comparison is.

    Attributes:
        total: Its runs; None where a sweeper decides as it goes.
        seconds: How long each run took that was done since the command was given.
        passed: Runs that were done before.
    """

    total: int | None
    seconds: list[float] = field(default_factory=list)
    passed: int = 0

    def title(self, label: str) -> str:
        """Which run this is of how many, and how long all that are left may take."""
        number = len(self.seconds) + self.passed + 1
        if self.total is None:
            return f"run {number} · {label}"
        left = ""
        if self.seconds:
            mean = sum(self.seconds) / len(self.seconds)
            left = f", {_duration(mean * (self.total - number + 1))} left"
        return f"run {number} of {self.total}{left} · {label}"

    def count(self, seconds: float | None) -> None:
        """A run has ended, after so many seconds; None if it was done before."""
        if seconds is None:
            self.passed += 1
        else:
            self.seconds.append(seconds)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


@dataclass
class Tail:
    """Reads the lines that were added to a growing JSON-lines file since the last look."""

    path: Path
    offset: int = 0

    def read(self) -> list[dict[str, Any]]:
        """The new whole lines; one still being written waits for the next look."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self.offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


@contextmanager
def show_progress(
    console: Console, directory: RunDirectory, *, label: str, total_steps: int | None, offset: int = 0
) -> Iterator[None]:
    """Show a live bar while the enclosed block runs; plain lines, one per evaluation, off a terminal.

    Args:
        console: Where to.
        directory: The run's; its workers write `status.json`, `metrics.jsonl` and the step they have come to.
        label: Names the run.
        total_steps: Steps of the whole run; None where nobody knows yet.
        offset: Bytes of `metrics.jsonl` that were there before, and are not shown.
    """
    finished = threading.Event()
    # Not console.is_terminal: FORCE_COLOR asks for colours, not for a bar in a file.
    show: Callable[..., None] = _live if console.file.isatty() else _plain
    arguments = (console, directory, Tail(directory.metrics, offset), label, total_steps, finished)
    thread = threading.Thread(target=show, args=arguments, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def describe(line: dict[str, Any]) -> str:
    """The numbers of a metrics line, in words."""
    parts = [line["phase"]] if "phase" in line else []
    parts += [f"epoch {line['epoch']}"]
    for key, form in (
        ("train_loss", "loss {:.3f}"),
        ("validation_accuracy", "validation {:.2%}"),
        ("test_accuracy", "accuracy {:.2%}"),
        ("samples_per_second", "{:,.0f} samples/s"),
    ):
        if line.get(key) is not None:
            parts.append(form.format(line[key]))
    return "  ".join(parts)


def _live(
    console: Console,
    directory: RunDirectory,
    tail: Tail,
    label: str,
    total_steps: int | None,
    finished: threading.Event,
) -> None:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}", markup=False),
    )
    latest: dict[str, Any] = {}
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=total_steps, numbers="")
        over = False
        while not over:
            over = finished.wait(POLL_SECONDS)
            status = read_status(directory)
            for line in tail.read():
                latest |= line
                if line["event"] == "warning":
                    progress.console.print(f"{label}  {line['message']}", markup=False, highlight=False)
            numbers = describe(latest) if "epoch" in latest else ""
            doing = status["phase"] or status["status"]
            done = max(latest.get("step", 0), read_live(directory.live))
            progress.update(task, description=f"{label} · {doing}", completed=done, numbers=numbers)


def _plain(
    console: Console,
    directory: RunDirectory,
    tail: Tail,
    label: str,
    total_steps: int | None,
    finished: threading.Event,
) -> None:
    done = False
    while not done:
        done = finished.wait(POLL_SECONDS)
        for line in tail.read():
            if line["event"] == "warning":
                text = f"{label}  {line['message']}"
                console.print(text, soft_wrap=True, markup=False, highlight=False)
            if line["event"] == "evaluate":
                steps = f"step {line['step']}" + ("" if total_steps is None else f"/{total_steps}")
                text = f"{label}  {steps}  {describe(line)}  {line['train_seconds']:.1f} s"
                console.print(text, soft_wrap=True, markup=False, highlight=False)
