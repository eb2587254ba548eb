"""An error of the system names the file, whatever the system says."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from layerpar.errors import UserError
from layerpar.measure.live import LiveStep
from layerpar.measure.metrics import MetricsLog
from layerpar.measure.writing import naming, overwrite_json, write_json
from layerpar.paths import RunDirectory
from layerpar.session import Session, carrying_out

FULL = Path("/dev/full")
"""Takes no byte."""


def test_a_write_without_room_names_its_file(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.metrics.symlink_to(FULL)
    directory.live.symlink_to(FULL)
    with pytest.raises(OSError, match="No space left on device") as raised:
        (log := MetricsLog(directory)).write("train", step=1)
    assert raised.value.filename == str(directory.metrics)
    with pytest.raises(OSError, match="No space left on device"):
        log.close()
    with pytest.raises(OSError, match="No space left on device") as raised:
        LiveStep(directory.live).show(1)
    assert raised.value.filename == str(directory.live)


def test_a_name_that_is_known_stays_and_a_message_of_ours_too(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised, naming(tmp_path):
        (tmp_path / "nothing").read_text()
    assert raised.value.filename == str(tmp_path / "nothing")
    with pytest.raises(OSError, match="words of ours"), naming(tmp_path):
        raise OSError("words of ours")


def test_strict_json_over_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_json(path, {"loss": float("nan")})
    overwrite_json(path, {"loss": 1})
    assert path.read_text() == '{\n  "loss": 1\n}\n'


def raised_within(session: Session, error: OSError) -> str:
    with pytest.raises((OSError, UserError)) as raised, carrying_out(session):
        raise error
    return f"{type(raised.value).__name__}: {raised.value}"


def test_a_command_names_what_it_cannot_write(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    session = Session("compare", (), 0.0, directory=tmp_path, key="hydra.run.dir")
    said = raised_within(session, full)
    assert said == f"UserError: cannot write {tmp_path}: No space left on device; try hydra.run.dir=ANOTHER"
    resumed = Session("resume", (), 0.0, interrupted=RunDirectory(tmp_path))
    assert raised_within(resumed, full).endswith(
        f"write {tmp_path}: No space left on device; try again once there is room"
    )
    assert raised_within(Session("train", (), 0.0), OSError("no file")) == "OSError: no file"
    assert raised_within(Session("train", (), 0.0), BrokenPipeError(32, "Broken pipe")).startswith(
        "BrokenPipe"
    )
