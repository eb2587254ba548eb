"""What a person sees while a run goes on, read from its growing files."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from layerpar.measure.metrics import MetricsLog
from layerpar.measure.records import write_status
from layerpar.paths import RunDirectory
from layerpar.progress import Tail, show_progress

LINE = {"epoch": 2, "step": 20, "train_seconds": 1.5, "test_accuracy": 0.875, "samples_per_second": 1234.0}


class Terminal(io.StringIO):
    """Whatever is written to it, it says that a person reads it."""

    def isatty(self) -> bool:
        return True


def test_a_half_written_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_text('{"step": 1}\n{"st')
    assert tail.read() == [{"step": 1}]
    assert tail.read() == []
    with path.open("a") as file:
        file.write('ep": 2}\n')
    assert tail.read() == [{"step": 2}]


def test_plain_lines_off_a_terminal(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    screen = io.StringIO()
    with show_progress(Console(file=screen), directory, label="serial", total_steps=40):
        log = MetricsLog(directory)
        log.write("train", epoch=2, step=10, train_loss=0.5)
        log.write("evaluate", **LINE)
        log.close()
    assert screen.getvalue().splitlines() == [
        "serial  step 20/40  epoch 2  accuracy 87.50%  1,234 samples/s  1.5 s"
    ]


def test_a_live_bar_on_a_terminal(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    write_status(directory, "running", phase="training")
    directory.metrics.write_text(json.dumps({"event": "evaluate"} | LINE) + "\n")
    screen = Terminal()
    console = Console(file=screen, force_terminal=True, width=120)
    with show_progress(console, directory, label="layerwise", total_steps=40):
        pass
    with show_progress(console, directory, label="layerwise", total_steps=40):
        import time

        time.sleep(0.5)
    shown = screen.getvalue()
    assert "layerwise" in shown
    assert "training" in shown
    assert "20/40" in shown
    assert "87.50%" in shown
