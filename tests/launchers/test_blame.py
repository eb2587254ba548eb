"""Which worker is named as the cause of a failed run: a table of ends, and whom they convict."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpar.launchers.blame import WATCHDOG, Ended, blame
from layerpar.paths import RunDirectory
from layerpar.rendezvous.failure import Failure

LOST = Failure("lost another worker", lost_peer=True)
LATE = Failure("waited for another worker in vain", lost_peer=True, timed_out=True)
OWN = Failure("RuntimeError: the wire is cut")
SILENT = "gave no sign of life for launcher.timeout_seconds=7"

ENDS = {
    "its own error, though another ended first": ([1, 1], [LOST, OWN], "worker 1 failed: RuntimeError: the"),
    "a kill, not the peers that lost it": ([1, -9, 1], [LOST, None, LOST], "worker 1 was killed by SIGKILL"),
    "a kill behind a shell": ([1, 137], [LOST, None], "worker 1 was killed by SIGKILL"),
    "silence, as signs of life tell": (
        [1, None, None],
        [Failure("-", lost_peer=True, timed_out=True, silent=(2,)), None, None],
        f"worker 2 {SILENT}",
    ),
    "silence, though the silent was ended for it": (
        [1, -9],
        [Failure("-", lost_peer=True, timed_out=True, silent=(1,)), None],
        f"worker 1 {SILENT}",
    ),
    "silence, by who has not ended": ([1, None, 1], [LATE, None, LATE], f"worker 1 {SILENT}"),
    "all waited for each other": ([1, 1], [LATE, LATE], "worker 0 failed: waited for another worker"),
    "no word at all": ([3, None], [None, None], "worker 0 ended with exit code 3: the last line"),
}


@pytest.mark.parametrize(("said", "blamed"), [("", 0), (f"{WATCHDOG}: WorkNCCL(SeqNum=7) ran for 7 ms", 1)])
def test_a_worker_that_torch_ends_for_waiting_by_nccl_is_not_the_cause(
    said: str, blamed: int, tmp_path: Path
) -> None:
    log = tmp_path / "stderr.log"
    log.write_text(f"terminate called\n{said}\n")
    ended = [Ended(0, None, -6, log), Ended(1, None, None, log)]
    error = blame(ended, {0: None, 1: None}, RunDirectory(tmp_path), timeout_seconds=7)
    assert error.rank == blamed
    assert (SILENT in str(error)) == bool(said)


@pytest.mark.parametrize("name", ENDS)
def test_the_cause(name: str, tmp_path: Path) -> None:
    codes, words, message = ENDS[name]
    log = tmp_path / "stderr.log"
    log.write_text("the first line\nthe last line\n\n")
    ended = [Ended(rank, None, code, log) for rank, code in enumerate(codes)]
    error = blame(ended, dict(enumerate(words)), RunDirectory(tmp_path), timeout_seconds=7)
    assert str(error).startswith(message)
    assert str(error).endswith(f"logs/{error.rank}/stderr.log")


def test_a_command_for_all_that_starts_none_is_named_itself(tmp_path: Path) -> None:
    log = tmp_path / "srun.log"
    log.write_text("srun: error: invalid partition specified: gpu\n")
    error = blame([Ended(None, None, 1, log)], {0: None}, RunDirectory(tmp_path), timeout_seconds=7)
    assert str(error) == (
        "the launcher's command ended with exit code 1: "
        f"srun: error: invalid partition specified: gpu; its log: {log}"
    )


def test_the_host_is_named(tmp_path: Path) -> None:
    ended = [Ended(0, "n1", None, tmp_path), Ended(1, "n2", -9, tmp_path)]
    error = blame(ended, {0: None, 1: None}, RunDirectory(tmp_path), timeout_seconds=7)
    assert str(error).startswith("worker 1 on n2 was killed")
