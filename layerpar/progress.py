"""What a person sees while a run goes on: read from the run directory's files, never asked of the workers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from layerpar.measure.records import read_status
from layerpar.paths import RunDirectory

POLL_SECONDS = 0.2


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
    console: Console, directory: RunDirectory, *, label: str, total_steps: int, offset: int = 0
) -> Iterator[None]:
    """Show a live bar while the enclosed block runs; plain lines, one per evaluation, off a terminal.

    Args:
        console: Where to.
        directory: The run's; its workers write `status.json` and `metrics.jsonl`.
        label: Names the run.
        total_steps: Steps of the whole run.
        offset: Bytes of `metrics.jsonl` that were there before, and are not shown.
    """
    finished = threading.Event()
    show = _live if console.is_terminal else _plain
    arguments = (console, directory, offset, label, total_steps, finished)
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
    offset: int,
    label: str,
    total_steps: int,
    finished: threading.Event,
) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    tail = Tail(directory.metrics, offset)
    latest: dict[str, Any] = {}
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=total_steps, numbers="")
        while not finished.wait(POLL_SECONDS):
            status = read_status(directory)
            for line in tail.read():
                latest |= line
            numbers = describe(latest) if "epoch" in latest else ""
            doing = status["phase"] or status["status"]
            progress.update(
                task, description=f"{label} · {doing}", completed=latest.get("step", 0), numbers=numbers
            )


def _plain(
    console: Console,
    directory: RunDirectory,
    offset: int,
    label: str,
    total_steps: int,
    finished: threading.Event,
) -> None:
    tail = Tail(directory.metrics, offset)
    done = False
    while not done:
        done = finished.wait(POLL_SECONDS)
        for line in tail.read():
            if line["event"] == "evaluate":
                steps = f"step {line['step']}/{total_steps}"
                console.print(
                    f"{label}  {steps}  {describe(line)}  {line['train_seconds']:.1f} s", soft_wrap=True
                )
