"""One fault: a small run in a folder of its own, what is done to it, and what that has cost."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from forking import heed_signals
from ways import WORK, Way

from layerpar.measure.status import current_status, read_status
from layerpar.paths import RunDirectory

TAG = "LAYERPAR_FAULT"
"""In the environment of every process that a fault's commands start, whatever becomes of them."""
PATIENCE_SECONDS = 90
ORPHAN_SECONDS = 5
"""After the end of a command nothing that it has started is alive for longer."""

COLUMNS = ("lost results", "orphans", "wrong blame", "untrue status", "too slow")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    output: str
    error: str
    seconds: float


@dataclass
class Trial:
    """A fault under way.

    Attributes:
        name: Kind and number, unique.
        folder: All of its files lie below.
        way: How it trains.
        draw: Its random numbers.
        references: The weights that undisturbed runs of a way have, by the run's path below its root.
        found: What was wrong, by column.
    """

    name: str
    folder: Path
    way: Way
    draw: random.Random
    references: Callable[[Way], dict[str, dict[str, torch.Tensor]]]
    found: list[tuple[str, str]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """Of the run, the sweep or the comparison."""
        return self.folder / "run"

    @property
    def directory(self) -> RunDirectory:
        """Of the run that is trained now, where there are several."""
        runs = sorted(self.root.rglob("status.json"), key=lambda path: path.stat().st_mtime)
        return RunDirectory(runs[-1].parent if runs else self.root)

    def blames(self, column: str, words: str) -> None:
        """Note what is wrong."""
        assert column in COLUMNS
        self.found.append((column, words))

    def expect(self, holds: bool, column: str, words: str) -> None:
        """Note what is wrong unless it holds."""
        if not holds:
            self.blames(column, words)

    def command(self, *more: str) -> list[str]:
        """The command line that trains."""
        return [*self.way.words(self.root), *WORK, *self.way.overrides, *more]

    def start(self, *words: str, before: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
        """`layerpar WORDS`, which Ctrl-C and a hang-up end even where the faults run in the background."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [*before, sys.executable, "-m", "layerpar.cli", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=self.folder,
            env=os.environ | {TAG: self.name} | environment,
            preexec_fn=heed_signals,
        )

    def end(self, process: subprocess.Popen[str], *, seconds: float = PATIENCE_SECONDS) -> Ended:
        """Wait for a command; what it started may outlive it for `ORPHAN_SECONDS`."""
        begun = time.monotonic()
        try:
            output, error = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.blames("too slow", f"the command had not ended after {seconds} s")
            process.kill()
            output, error = process.communicate()
        took, deadline = time.monotonic() - begun, time.monotonic() + ORPHAN_SECONDS
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.1)
        if left:
            self.blames("orphans", ", ".join(_command_line(number) for number in left))
            for number in left:
                os.kill(number, signal.SIGKILL)
        self.expect("Traceback" not in error + output, "wrong blame", f"a traceback: {error[-300:]}")
        return Ended(process.returncode, output, error, took)

    def finished(self, *words: str) -> Ended:
        """A command from its start to its end."""
        return self.end(self.start(*words))

    def alive(self) -> list[int]:
        """The processes that its commands have started and that live."""
        tag, found = f"{TAG}={self.name}\0".encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                state = (path / "stat").read_text().rpartition(")")[2].split()[0]
                if tag in (path / "environ").read_bytes() and state != "Z":
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def wait(self, process: subprocess.Popen[str], holds: Callable[[], bool]) -> None:
        """Until it holds or the command has ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)

    def wait_for_epoch(self, process: subprocess.Popen[str], epoch: int) -> None:
        """Until the run that is trained now has come to the end of an epoch, and a moment longer."""
        self.wait(process, lambda: evaluations(self.directory) >= epoch and bool(self.workers()))
        time.sleep(self.draw.uniform(0, 0.3))

    def workers(self) -> dict[int, int]:
        """The process numbers of the workers that train, by rank."""
        from processes import rank_of, workers_of

        found = {}
        for number in workers_of(self.root):
            try:
                rank = rank_of(number)
            except (OSError, ValueError):
                continue
            if rank.isdigit():
                found[int(rank)] = number
        return found

    def judge_weights(self) -> None:
        """Every run that says it is done has the weights of the undisturbed one, and its records."""
        references = self.references(self.way)
        for path in sorted(self.root.rglob("status.json")):
            directory = RunDirectory(path.parent)
            if read_status(directory)["status"] == "done":
                place = str(directory.root.relative_to(self.root))
                self.expect(_same(directory, references[place]), "lost results", f"{place} has other weights")

    def judge_way_on(self, *more: str) -> None:
        """What was stopped can be gone on with, to the weights of the undisturbed run."""
        self.judge_weights()
        if self.way.several:
            before = {path: path.read_bytes() for path in self.root.rglob("model.pt")}
            ended = self.finished(*self.command(*more))
            self.expect(ended.code == 0, "lost results", f"the command again: {ended.error or ended.output}")
            same = all(path.read_bytes() == content for path, content in before.items())
            self.expect(same, "lost results", "a finished run was changed")
            names = {str(path.parent.relative_to(self.root)) for path in self.root.rglob("model.pt")}
            expected = set(self.references(self.way))
            self.expect(names == expected, "lost results", f"{names} instead of {expected}")
        else:
            status = current_status(self.directory)["status"] if self.directory.status.exists() else "none"
            begun = bool(self.directory.whole_checkpoints())
            if status == "done":
                return
            if evaluations(self.directory) > 1:
                self.expect(begun, "lost results", "there is no checkpoint")
            if not begun:
                return
            ended = self.finished("resume", str(self.root))
            self.expect(ended.code == 0, "lost results", f"resume: {ended.error or ended.output}")
        self.judge_weights()
        for path in self.root.rglob("status.json"):
            status = read_status(RunDirectory(path.parent))["status"]
            self.expect(status == "done", "lost results", f"{path.parent.name} is {status} in the end")

    def judge_status(self, ended: Ended, status: str, code: int, *words: str) -> None:
        """The run that was disturbed says what happened to it, unless it was done by then."""
        if not self.directory.status.exists():
            self.expect(ended.code == code, "untrue status", f"exit code {ended.code} instead of {code}")
            return
        found = current_status(self.directory)
        if found["status"] == "done":
            return
        self.expect(
            found["status"] == status, "untrue status", f"{found['status']} instead of {status}: {found}"
        )
        self.expect(
            ended.code == code, "untrue status", f"exit code {ended.code} instead of {code}: {ended.error}"
        )
        for word in words:
            self.expect(word in str(found["message"]), "wrong blame", f"no {word!r} in {found['message']!r}")

    def __str__(self) -> str:
        return f"{self.name} ({self.way.name}): {shlex.join(self.command())}"


def evaluations(directory: RunDirectory) -> int:
    """How many evaluations a run has written down."""
    try:
        return directory.metrics.read_text().count('"evaluate"')
    except OSError:
        return 0


def _same(directory: RunDirectory, reference: dict[str, torch.Tensor]) -> bool:
    try:
        state = torch.load(directory.model, weights_only=True)
        summary = json.loads(directory.summary.read_text())
    except Exception:
        return False
    same = all(torch.equal(state[name], reference[name]) for name in reference)
    return same and summary["status"] == "done"


def _command_line(number: int) -> str:
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:80]
    except OSError:
        return str(number)
