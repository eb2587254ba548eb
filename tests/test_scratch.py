"""A folder for a while goes with its owner, at the latest when the next one is made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerpar import scratch
from layerpar.scratch import private_folder

KILLED = """
import os, sys
from layerpar.scratch import private_folder
with private_folder() as folder:
    (folder / "store").write_text("")
    print(folder, flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_nobody_else_can_look_in_and_it_goes(temporary: Path) -> None:
    with private_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_what_a_killed_owner_has_left_goes_with_the_next(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = os.environ | {"TMPDIR": str(temporary)}
    killed = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, check=False)
    left = Path(killed.stdout.decode().strip())
    stranger = temporary / "layerpar-of-somebody"
    stranger.mkdir()
    assert left.exists()
    with private_folder():
        assert left.exists(), "its owner may only just have made it"
    monkeypatch.setattr(scratch, "LEAST_AGE_SECONDS", -1)
    with private_folder() as living:
        assert not left.exists()
        with private_folder():
            assert living.exists()
    assert stranger.exists(), "it is none of ours"
