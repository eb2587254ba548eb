"""Is this machine ready, and what is to be done if not."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from tiny import launched

from layerpar import cli, doctor


def test_a_ready_machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.run(["doctor"], started=0.0) == 0
    shown = capsys.readouterr().out
    for subject in ("torch", "torchvision", "hydra-core", "cores", "gloo", "dataset=mnist", "dataset=digits"):
        assert subject in shown
    assert "wrong" not in shown


def test_a_run_is_tried(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("layerpar.launchers.local.LocalLauncher.launch", launched)
    assert cli.run(["doctor", "launcher=local", "device=cpu"], started=0.0) == 0
    shown = capsys.readouterr().out
    assert "a run with launcher=local" in shown
    assert "link between two workers of a node" in shown
    assert cli.run(["doctor", "launcher=loca"], started=0.0) == 2
    assert "launcher=loca is not known" in capsys.readouterr().err


def test_torch_and_torchvision_of_different_builds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def broken(name: str) -> ModuleType:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name)

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(doctor, "import_module", broken)
    assert cli.run(["doctor"], started=0.0) == 1
    shown = capsys.readouterr().out
    assert "torchvision::nms does not exist" in shown
    assert "pip install --force-reinstall torch torchvision" in shown


def test_a_missing_package(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(doctor, "installed_version", lambda name: None if name == "pandas" else "1.0")
    assert cli.run(["doctor"], started=0.0) == 1
    assert "pip install pandas" in capsys.readouterr().out


def test_a_trial_has_data_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "dataset=mnist"], started=0.0) == 2
    assert "leave out dataset=mnist" in capsys.readouterr().err
