"""What a person types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from layerpar import __version__, cli


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments, started=0.0) == 0
    shown = capsys.readouterr().out
    for command in (*cli.RUNNING, *cli.COMMANDS):
        assert f"\n  {command}" in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"], started=0.0) == 0
    assert capsys.readouterr().out == f"layerpar {__version__}\n"


@pytest.mark.parametrize("command", ["train", "compare"])
def test_command_help_shows_choices_and_keys(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run([command, "--help"], started=0.0)
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "mode: data, layerwise" in shown
    assert "batch_size: 128" in shown


@pytest.mark.parametrize("command", ["resume", *cli.COMMANDS])
def test_other_commands_answer_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run([command, "--help"], started=0.0)
    assert ended.value.code == 0
    assert f"layerpar {command}" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["layerpar.cli", "layerpar.app", "layerpar.comparison"])
def test_the_command_line_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_imports_no_hydra() -> None:
    code = "import sys, layerpar.cli as c; c.run(['--help'], started=0); sys.exit('hydra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("layerpar train mode=", "mode=layerwise"),
        ("layerpar train architecture.de", "architecture.depth="),
        ("layerpar compare mod", "mode="),
    ],
)
def test_completion_knows_the_commands(
    line: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    cli.run(["-sc", "query=bash"], started=0.0)
    assert expected in capsys.readouterr().out.split()


def test_overrides_may_stand_on_both_sides_of_an_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else what a command prints to go on with, which adds to the words given, would be refused."""
    asked = ["seed=0,1", "-m", "epochs=0", f"hydra.sweep.dir={tmp_path}"]
    assert cli.run(["train", *asked], started=0.0) == 2
    assert "run 2 of 2" in capsys.readouterr().out
