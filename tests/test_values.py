"""Whatever a key is set to, it works or is refused in one line; nothing is started for that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tiny import TINY

from layerpar import cli
from layerpar.check import check
from layerpar.config import GROUPS, parse
from layerpar.errors import UserError
from layerpar.paths import config_directory

VALUES: tuple[Any, ...] = (10**20, 10**19, 0, -1, float("inf"), float("nan"), [1], {"a": 1}, "", None)
CHOICES = [
    f"{group}={path.stem}"
    for group in GROUPS
    for path in sorted((config_directory() / group).glob("*.yaml"))
    if group != "dataset" or path.stem in ("digits", "synthetic", "image_folder")
    if not path.stem.startswith("resnet") or path.stem in ("resnet", "resnet18")
]


def keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """All that hold a value, by their path."""
    for key, value in node.items():
        if isinstance(value, DictConfig) and value:
            yield from keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def composition(*overrides: str) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
        return compose("train", overrides=[*TINY, *overrides])


def tried(composed: DictConfig, key: str, value: Any) -> str | None:
    """What is said of a value; None if it can be worked with."""
    changed = composed.copy()
    OmegaConf.update(changed, key, value, merge=False, force_add=True)
    try:
        check(parse(changed))
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("choice", CHOICES)
def test_a_value_works_or_is_refused_in_one_line(choice: str) -> None:
    group = choice.partition("=")[0]
    needed = {"aggregation": ["mode=data"], "dataset": ["dataset.train_limit=96"]}.get(group, [])
    composed = composition(choice, *needed)
    for key in keys(composed[group], f"{group}."):
        for value in VALUES:
            said = tried(composed, key, value)
            assert said is None or "\n" not in said, f"{key}={value}: {said}"
            assert value != 10**20 or said is not None, f"{key}={value} is let in"


def test_the_same_for_the_keys_of_every_run() -> None:
    composed = composition("mode=serial")
    for key in (str(key) for key in composed if key not in GROUPS):
        for value in VALUES:
            said = tried(composed, key, value)
            assert said is None or "\n" not in said, f"{key}={value}: {said}"
            assert value != 10**20 or said is not None, f"{key}={value} is let in"


ASKED = [
    *(f"{group}=null" for group in GROUPS),
    "experiment=null",
    "hydra/launcher=null",
    "mode@phases.first.mode=null",
    "architecture.width=100000000000000000000",
    "architecture.depth=1000000000",
    "phases=3",
]


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize("override", ASKED)
def test_a_command_says_it_in_one_line(
    override: str, command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([command, f"hydra.run.dir={tmp_path / 'run'}", override], started=0.0) == 2
    error = capfd.readouterr().err
    assert error.startswith("layerpar: ")
    assert error.count("\n") == 1, error
    assert not list(tmp_path.rglob("logs")), "no worker may have been started"


def test_values_side_by_side_are_a_sweep_of_the_same_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for command in ("train", "compare"):
        assert cli.run([command, "seed=0,1", f"hydra.run.dir={tmp_path / 'run'}"], started=0.0) == 2
        assert f"try layerpar {command} -m" in capfd.readouterr().err


def test_a_comparison_may_name_a_launcher(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["compare", "launcher=hosts", f"hydra.run.dir={tmp_path / 'run'}"]
    assert cli.run(asked, started=0.0) == 2
    assert "launcher.hosts is empty" in capfd.readouterr().err


def test_a_prediction_says_it_in_one_line_too(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["predict", "mode=null"], started=0.0) == 2
    assert capfd.readouterr().err.startswith("layerpar: mode=null chooses nothing; try mode=data")


def test_a_variant_without_a_choice_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    overrides = [f"hydra.run.dir={tmp_path / 'run'}", '+variants.none=["mode=null"]']
    assert cli.run(["compare", *overrides], started=0.0) == 2
    error = capfd.readouterr().err
    assert error.startswith("layerpar: mode=null chooses nothing; try mode=data (one of data, layerwise")
    assert error.count("\n") == 1
