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

from layerpar.config import GROUPS, load, parse
from layerpar.errors import UserError
from layerpar.paths import config_directory


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))


YAMLS = [(group, option) for group in GROUPS for option in options(group)]
EXPERIMENT_FOLDER = config_directory() / "experiment"
COMPARISONS = {path.stem for path in (EXPERIMENT_FOLDER / "quick").glob("*.yaml")} | {"tune"}
"""Experiments that `compare` composes; test_experiments.py and test_tune.py have those."""
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
    outer = product(options("dataset"), options("architecture"))
    ways = list(inner), list(outer), options("optimizer")
    rows = max(map(len, ways))
    with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
        for _, (mode, objective, aggregation), (dataset, architecture), optimizer in zip(
            range(rows), *map(cycle, ways), strict=False
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


REFUSED = {
    "seed=18446744073709551616": "seed=18446744073709551616 is not between 0 and 2^64 - 1; try seed=0",
    "seed=-1": "seed=-1 is not between 0 and 2^64 - 1; try seed=0",
    "optimizer.lr=inf": "optimizer.lr=inf is not positive and finite; try optimizer.lr=0.1",
    "optimizer.arguments=3": "optimizer.arguments: Cannot assign int to Dict[str, Any]; "
    "try optimizer.arguments={}",
    "+optimizer.schedule.extra=1": "optimizer.schedule.extra is not a key of Schedule; "
    "leave out +optimizer.schedule.extra=…",
    "~optimizer.schedule.factor": "optimizer.schedule.factor has no value; give +optimizer.schedule.factor=…",
    "optimizer.schedule.factor=x": "optimizer.schedule.factor: Value 'x' of type 'str' could not be "
    "converted to Float; try optimizer.schedule.factor=0.1",
    "optimizer.schedule.milestones=[a]": "optimizer.schedule.milestones[0]: Value 'a' of type 'str' could "
    "not be converted to Float; try optimizer.schedule.milestones=[0.1]",
    "dataset.augment=null": "dataset.augment: field 'augment' is not Optional; "
    "try dataset.augment='{pad:1,flip:true,cutout:1}'",
    "dataset.train_limit=1.5": "dataset.train_limit: Value '1.5' of type 'float' could not be converted to "
    "Integer; try dataset.train_limit=1",
    "~dataset": "dataset has no choice; leave out ~dataset",
    "seed=???": "seed: Missing mandatory value: seed; try seed=VALUE",
    "architecture.depth=${nothing}": "architecture.depth: Interpolation key 'nothing' not found; "
    "try architecture.depth=VALUE",
    "phases=3": "phases=3 is no mapping; try +phases.NAME.epochs=1",
    "mode._target_=os.system": "mode: _target_ os.system is no subclass of layerpar.modes.base.Mode; "
    "repair the YAML",
    "mode._target_=layerpar.modes.data.Nothing": "mode: cannot import _target_ layerpar.modes.data.Nothing "
    "(module 'layerpar.modes.data' has no attribute 'Nothing'); repair the YAML",
}


@pytest.mark.parametrize("override", REFUSED)
def test_a_value_that_cannot_be_is_refused_with_its_repair(override: str) -> None:
    with pytest.raises(UserError) as refused:
        composed(override)
    assert str(refused.value) == REFUSED[override]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "layerpar.config.load",
        "layerpar.worker.main",
        "torch.optim.SGD",
        "pathlib.Path",
        "layerpar.errors.UserError",
    ],
)
def test_a_run_yaml_can_name_options_only(group: str, target: str, tmp_path: Path) -> None:
    """A run.yaml from somebody else makes objects of our options' classes; it calls nothing."""
    with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
        content = compose("train")
    content[group]["_target_"] = target
    OmegaConf.save(content, tmp_path / "run.yaml", resolve=True)
    with pytest.raises(UserError, match=rf"{group}: _target_ {target} is no subclass of layerpar\."):
        load(tmp_path / "run.yaml")


@pytest.mark.parametrize("node", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system"])
def test_the_yaml_itself_makes_no_objects(node: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"seed: {node}\n")
    with pytest.raises(UserError, match=r"run\.yaml is damaged"):
        load(tmp_path / "run.yaml")
