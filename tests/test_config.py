"""The configuration: every choice composes, and every YAML says what its class wants."""

from __future__ import annotations

from dataclasses import fields
from itertools import cycle, product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf
from tiny import composed

from layerpar.config import GROUPS, parse
from layerpar.errors import UserError
from layerpar.paths import config_directory


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))


YAMLS = [(group, option) for group in GROUPS for option in options(group)]
EXPERIMENT_FOLDER = config_directory() / "experiment"
COMPARISONS = {path.stem for path in (EXPERIMENT_FOLDER / "quick").glob("*.yaml")}
"""Experiments that `compare` composes; test_experiments.py has those."""
EXPERIMENTS = sorted({path.stem for path in EXPERIMENT_FOLDER.glob("*.yaml")} - COMPARISONS)


@pytest.mark.parametrize(("group", "option"), YAMLS)
def test_a_yaml_has_a_value_for_every_field_and_no_more(group: str, option: str) -> None:
    content = OmegaConf.load(config_directory() / group / f"{option}.yaml")
    wanted = {field.name for field in fields(get_class(content.pop("_target_")))}
    content.pop("defaults", None)
    assert set(content) == wanted


def test_all_combinations_of_choices_compose() -> None:
    """Every mode x objective x aggregation and every dataset x architecture, the rest in turn."""
    inner = product(options("mode"), options("objective"), options("aggregation"))
    outer = product(options("dataset"), options("architecture"), options("optimizer"))
    ways = list(inner), list(outer)
    rows = max(len(ways[0]), len(ways[1]))
    with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
        for _, (mode, objective, aggregation), (dataset, architecture, optimizer) in zip(
            range(rows), cycle(ways[0]), cycle(ways[1]), strict=False
        ):
            choices = {
                "mode": mode,
                "objective": objective,
                "aggregation": aggregation,
                "dataset": dataset,
                "architecture": architecture,
                "optimizer": optimizer,
            }
            config = parse(compose("train", overrides=[f"{group}={name}" for group, name in choices.items()]))
            for group in ("mode", "objective", "aggregation", "dataset"):
                assert getattr(config, group).name == choices[group]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment: str) -> None:
    assert composed(f"experiment={experiment}").epochs >= 1


def test_a_value_of_the_wrong_type_is_refused_with_an_example() -> None:
    with pytest.raises(UserError, match=r"architecture.depth: Value 'deep' .* try architecture.depth=1"):
        composed("architecture.depth=deep")


def test_an_option_in_a_file_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One Python file and one YAML, anywhere: `hydra.searchpath` finds the YAML, the YAML names the class."""
    (tmp_path / "shallow_mlp.py").write_text(
        "from dataclasses import dataclass\n"
        "from layerpar.architectures.mlp import MLP\n"
        "@dataclass(kw_only=True)\n"
        "class ShallowMLP(MLP):\n"
        "    temperature: float\n"
    )
    (tmp_path / "conf" / "architecture").mkdir(parents=True)
    (tmp_path / "conf" / "architecture" / "shallow.yaml").write_text(
        "_target_: shallow_mlp.ShallowMLP\n"
        "name: shallow\ndepth: 1\nwidth: 8\nnorm: none\nresidual: false\ntemperature: 0.5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    search = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
    config = composed(search, "architecture=shallow")
    assert type(config.architecture).__name__ == "ShallowMLP"
    with pytest.raises(UserError, match=r"architecture\.temperature"):
        composed(search, "architecture=shallow", "architecture.temperature=warm")
