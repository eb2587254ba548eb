"""The kinds of fault: each is a function that does it to a trial and notes what is wrong afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trial import Trial
from ways import SINGLE, WAYS, Way

LAST = 3
"""The last epoch after which something is done, of five."""

BREAKS = """\
from dataclasses import dataclass
import os
from torch import nn
from layerpar.architectures.mlp import MLP

class Breaks(nn.Module):
    calls = 0

    def forward(self, activation):
        self.calls += activation.requires_grad
        if activation.device.type != "meta" and self.calls > {calls} and os.environ.get("RANK") == "{rank}":
            {act}
        return activation

@dataclass(kw_only=True)
class Breaking(MLP):
    def build(self, input_shape, num_classes):
        network = super().build(input_shape, num_classes)
        for layer in network.layers:
            if hasattr(layer, "norm"):
                layer.norm = Breaks()
        return network
"""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: As the table shows it.
        inject: Does it.
        number: How often a whole campaign does it.
        ways: To which ways of training; its faults go round them.
        quick: Whether a short campaign has one of it.
        needs: The programs, or `root`, without which it is left out.
    """

    name: str
    inject: Callable[[Trial], None]
    number: int
    ways: tuple[Way, ...] = WAYS
    quick: bool = False
    needs: tuple[str, ...] = ()


def worker_signal(number: signal.Signals) -> Callable[[Trial], None]:
    """A signal to a worker, by rank, somewhere in its training."""

    def inject(trial: Trial) -> None:
        silent = number == signal.SIGSTOP  # of a worker that the others have met
        process = trial.start(*trial.command(*(["launcher.timeout_seconds=10"] if silent else [])))
        trial.wait_for_epoch(process, trial.draw.randint(int(silent), LAST))
        workers = trial.workers()
        rank = trial.draw.choice(sorted(workers)) if workers else 0
        if workers and _send(workers[rank], number):
            ended = trial.end(process)
            words = "gave no sign of life" if silent else f"was killed by {number.name}"
            trial.judge_status(ended, "failed", 1, f"worker {rank} {words}")
        else:
            trial.end(process)
        trial.judge_way_on()

    return inject


def command_signal(*numbers: signal.Signals, at: str, ignored: bool = False) -> Callable[[Trial], None]:
    """A signal, or several at once, to the command.

    Args:
        numbers: The signals.
        at: `start` while workers are started, `training`, or `end` between `done` and its return.
        ignored: The command was told to ignore them: it comes to its end.
    """

    def inject(trial: Trial) -> None:
        process = trial.start(*trial.command(), before=["nohup"] if ignored else [])
        if at == "start":
            trial.wait(process, lambda: len(trial.alive()) > 1)
            time.sleep(trial.draw.uniform(0, 2.5))
        elif at == "training":
            trial.wait_for_epoch(process, trial.draw.randint(0, LAST))
        else:
            trial.wait(process, lambda: '"done"' in _text(trial.directory.status))
            time.sleep(trial.draw.uniform(0, 0.2))
        for number in numbers:
            _send(process.pid, number)
            time.sleep(trial.draw.uniform(0, 0.1))
        ended = trial.end(process)
        number = numbers[0]
        if ignored:
            trial.expect(ended.code == 0, "lost results", f"exit code {ended.code}: {ended.error}")
        elif number == signal.SIGKILL:
            trial.judge_status(ended, "stopped", -signal.SIGKILL, "its process ended without a word")
        elif ended.code != -number:  # it came before the command could take it
            trial.judge_status(ended, "interrupted", 128 + number, number.name)
        trial.judge_way_on()

    return inject


def server_killed(trial: Trial) -> None:
    """The process from which workers are forked is gone, and its workers with it."""
    process = trial.start(*trial.command())
    trial.wait_for_epoch(process, trial.draw.randint(0, LAST))
    servers = [number for number in trial.alive() if _parent(number) == process.pid]
    if servers and _send(servers[0], signal.SIGKILL):
        trial.judge_status(trial.end(process), "failed", 1, "SIGKILL")
    else:
        trial.end(process)
    trial.judge_way_on()


def raising(act: str, status: str, *words: str) -> Callable[[Trial], None]:
    """One rank's part of the network does something bad after some steps."""

    def inject(trial: Trial) -> None:
        rank, calls = trial.draw.randrange(trial.way.workers), trial.draw.randint(1, 60)
        trial.folder.mkdir(parents=True, exist_ok=True)
        (trial.folder / "breaking.py").write_text(BREAKS.format(rank=rank, calls=calls, act=act))
        more = ["architecture._target_=breaking.Breaking"]
        process = trial.start(*trial.command(*more), PYTHONPATH=_python_path(trial.folder))
        who = [f"worker {rank}"] if status == "failed" else []
        trial.judge_status(trial.end(process), status, 1, *who, *words)

    return inject


def diverging(trial: Trial) -> None:
    """The loss stops being a number."""
    more = ["architecture.norm=none", "optimizer.lr=1e30"]
    trial.judge_status(trial.finished(*trial.command(*more)), "diverged", 1, "loss became")


def no_memory(trial: Trial) -> None:
    """The network needs more memory than any machine has."""
    ended = trial.finished(*trial.command("architecture.width=2000000"))
    trial.judge_status(ended, "failed", 1, "the memory is not enough")


def full_disk(trial: Trial) -> None:
    """The disk is full at some point, later it is not any more."""
    trial.root.mkdir(parents=True)
    size = f"{trial.draw.randint(100, 700)}k"
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(trial.root))
    try:
        ended = trial.finished(*trial.command())
        if ended.code == 1:
            trial.judge_status(ended, "failed", 1)
            said = ended.error + ended.output
            trial.expect("No space left" in said or "is full" in said, "wrong blame", f"size {size}: {said}")
            trial.expect(str(trial.root) in said, "wrong blame", f"size {size}: names no path: {said}")
        else:
            said = ended.error + ended.output
            trial.expect(ended.code == 0 or "cannot write /" in said, "wrong blame", f"size {size}: {said}")
        _mount("-o", "remount,size=64m", str(trial.root))
        trial.judge_way_on()
    finally:
        subprocess.run(["umount", str(trial.root)], check=True)


def damaged_checkpoint(damage: Callable[[Trial, Path], None]) -> Callable[[Trial], None]:
    """A part of the last checkpoint of an interrupted run is not what it was."""

    def inject(trial: Trial) -> None:
        process = trial.start(*trial.command())
        trial.wait_for_epoch(process, 3)
        _send(process.pid, signal.SIGTERM)
        trial.end(process)
        folders = trial.directory.whole_checkpoints()
        if not folders:
            return trial.judge_weights()
        path = trial.draw.choice(sorted(folders[-1].iterdir()))
        damage(trial, path)
        ended = trial.finished("resume", str(trial.root))
        trial.expect(ended.code == 2, "lost results", f"exit code {ended.code} with a damaged {path}")
        named = path.name in ended.error
        trial.expect(named and ended.error.count("\n") == 1, "wrong blame", f"{path}: {ended.error}")
        if len(folders) > 1:
            trial.expect(f"rm -r {path.parent}" in ended.error, "lost results", ended.error)
            shutil.rmtree(path.parent)
            trial.judge_way_on()

    return inject


def flip(trial: Trial, path: Path) -> None:
    """One bit of a file."""
    content = bytearray(path.read_bytes())
    content[trial.draw.randrange(len(content))] ^= 1 << trial.draw.randrange(8)
    path.write_bytes(content)


def truncate(trial: Trial, path: Path) -> None:
    """The end of a file is missing."""
    os.truncate(path, trial.draw.randrange(path.stat().st_size))


def remove(_: Trial, path: Path) -> None:
    """A file is missing."""
    path.unlink()


def damaged_result(trial: Trial) -> None:
    """A file of one of two finished runs is damaged: the other one is in the table.

    What tables and figures are made from is named; what run.yaml says only predictions read.
    """
    trial.finished(*trial.command())
    other = trial.root.with_name("other")
    shutil.copytree(trial.root, other)
    names = ["summary.json", "metrics.jsonl", "run.yaml", "env.json", "status.json"]
    path = other / trial.draw.choice(names)
    trial.draw.choice([truncate, remove])(trial, path)
    for command in (
        ["report"],
        ["report", "--predicted", "loopback"],
        ["plot", "--output", str(trial.folder / "plots")],
    ):
        ended = trial.finished(*command, str(trial.folder))
        trial.expect(ended.code == 0, "lost results", f"{command} with {path.name}: {ended.error}")
        if path.name in ("summary.json", "metrics.jsonl") or not path.exists():
            trial.expect(
                "other" in ended.error, "wrong blame", f"{command}: nothing of {path.name}: {ended.error}"
            )
    trial.expect(_text(trial.directory.status) != "", "lost results", "the other run is gone")


def second_command(trial: Trial) -> None:
    """The same command again while the first is running."""
    process = trial.start(*trial.command())
    trial.wait_for_epoch(process, 0)
    again = trial.start(*trial.command())
    try:
        said, error = again.communicate(timeout=60)
        refused = again.returncode == 2 and error.count("\n") == 1
        over = process.poll() is not None or "done before" in said
        trial.expect(refused or over, "lost results", f"exit code {again.returncode}: {error}")
        good = "still running" in error or "already holds a run" in error
        trial.expect(good or over, "wrong blame", error)
    except subprocess.TimeoutExpired:
        again.kill()
        trial.blames("too slow", "the second command waits")
    ended = trial.end(process)
    trial.expect(ended.code == 0, "lost results", f"the first command: {ended.error}")
    trial.judge_way_on()


def on_a_finished_run(trial: Trial) -> None:
    """Other commands on the directory of a finished run change nothing of it."""
    trial.finished(*trial.command())
    before = _content(trial.root)
    by_hand = [sys.executable, "-m", "layerpar.worker", str(trial.root)]
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    for words in (
        trial.command("seed=7"),
        ["compare", f"hydra.run.dir={trial.root}", *trial.command()[2:]],
        ["resume", str(trial.root)],
    ):
        trial.expect(trial.finished(*words).code == 2, "lost results", f"{words} was let in")
    code = subprocess.run(by_hand, env=os.environ | alone, capture_output=True, check=False).returncode
    trial.expect(code != 0, "lost results", "a worker by hand was let in")
    trial.expect(_content(trial.root) == before, "lost results", "the finished run was changed")


def _content(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != ".lock"}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _send(number: int, number_of_signal: int) -> bool:
    try:
        os.kill(number, number_of_signal)
    except ProcessLookupError:
        return False
    return True


def _parent(number: int) -> int:
    try:
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _python_path(folder: Path) -> str:
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


PARALLEL = tuple(way for way in SINGLE if way.workers > 1 and way.name != "phases")
KILL, TERM, STOP = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP
INT, HUP, USR1 = signal.SIGINT, signal.SIGHUP, signal.SIGUSR1
RAISE = "raise RuntimeError('the wire is cut')"

KINDS = (
    Kind("SIGKILL of a worker", worker_signal(KILL), 13),
    Kind("SIGTERM of a worker", worker_signal(TERM), 5),
    Kind("SIGSTOP of a worker for ever", worker_signal(STOP), 6, PARALLEL),
    Kind("SIGKILL of the fork server", server_killed, 5, quick=True),
    Kind("SIGKILL of the command at its start", command_signal(KILL, at="start"), 4),
    Kind("SIGKILL of the command", command_signal(KILL, at="training"), 13),
    Kind("SIGKILL of the command at its end", command_signal(KILL, at="end"), 3),
    Kind("SIGTERM of the command at its start", command_signal(TERM, at="start"), 4),
    Kind("SIGTERM of the command", command_signal(TERM, at="training"), 5),
    Kind("SIGTERM of the command at its end", command_signal(TERM, at="end"), 3, quick=True),
    Kind("Ctrl-C", command_signal(INT, at="training"), 4),
    Kind("Ctrl-C twice", command_signal(INT, INT, at="training"), 5),
    Kind("Ctrl-C twice at the start", command_signal(INT, INT, at="start"), 3),
    Kind("hang-up", command_signal(HUP, at="training"), 3),
    Kind("hang-up under nohup", command_signal(HUP, at="training", ignored=True), 3),
    Kind("SIGUSR1", command_signal(USR1, at="training"), 3),
    Kind(
        "exception in a worker",
        raising(RAISE, "failed", "the wire is cut"),
        4,
        PARALLEL,
    ),
    Kind("exit of a worker", raising("os._exit(7)", "failed", "exit code 7"), 3, PARALLEL),
    Kind("divergence", diverging, 3, SINGLE),
    Kind("no memory", no_memory, 2, SINGLE),
    Kind("full disk", full_disk, 8, WAYS, needs=("root",)),
    Kind("flipped bit in a checkpoint", damaged_checkpoint(flip), 4, SINGLE),
    Kind("truncated checkpoint", damaged_checkpoint(truncate), 4, SINGLE),
    Kind("missing part of a checkpoint", damaged_checkpoint(remove), 3, SINGLE),
    Kind("damaged result", damaged_result, 5, SINGLE),
    Kind("second command at once", second_command, 5),
    Kind("other commands on a finished run", on_a_finished_run, 3, SINGLE),
)
