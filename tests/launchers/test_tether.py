"""A command on a tether: ends as it does, or when nobody holds the other end any more."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import wait_until

from layerpar.launchers.tether import tether_command, tether_message


def tied(*words: str, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(tether_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(tether_message(words, environment))
    process.stdin.flush()
    return process


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 128 + 9)])
def test_the_exit_code_is_the_commands(script: str, code: int) -> None:
    with tied("sh", "-c", script) as process:
        assert process.wait(timeout=60) == code


def test_it_runs_in_this_folder_with_the_environment_it_was_given() -> None:
    with tied("sh", "-c", "pwd; echo $COLOUR", COLOUR="blue") as process:
        assert process.stdout is not None
        assert process.stdout.read().split() == [str(Path.cwd()), "blue"]


def test_a_closed_input_ends_the_command_and_what_it_started() -> None:
    with tied("sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        child = int(process.stdout.readline())
        before = time.monotonic()
        process.stdin.close()
        assert process.wait(timeout=60) == 128 + signal.SIGKILL
        assert time.monotonic() - before < 30
        wait_until(lambda: not alive(child))


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
