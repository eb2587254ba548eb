"""What the watch loop makes of signals that arrive while nobody waits for them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerpar.launchers import watch
from layerpar.launchers.base import Interrupted
from layerpar.launchers.command import Command
from layerpar.paths import RunDirectory


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    with watch.handlers_kept():
        yield
    assert signal.getsignal(signal.SIGTERM) is before


def run(word: str, folder: Path) -> None:
    directory = RunDirectory(folder)
    commands = [Command([word], os.environ, directory.log(0), rank=0)]
    watch.run_commands(commands, directory, workers=1, timeout_seconds=7)


def signalled_at_the_end(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    end = watch._end

    def signal_and_end(*arguments: object) -> None:
        os.kill(os.getpid(), number)
        end(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(watch, "_end", signal_and_end)


@pytest.mark.parametrize("word", ["true", "false"])
def test_a_signal_is_obeyed_that_arrives_while_a_run_is_being_ended(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled_at_the_end(monkeypatch, signal.SIGTERM)
    with pytest.raises(Interrupted):
        run(word, tmp_path)


def test_a_warning_at_the_end_of_a_run_holds_for_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled_at_the_end(monkeypatch, signal.SIGUSR1)
    run("true", tmp_path)
    with watch._received() as signals:
        assert signals.warning == signal.SIGUSR1
