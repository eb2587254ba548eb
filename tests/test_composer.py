"""What is composed once for several runs is what Hydra composes for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
import pytest
from hydra.errors import HydraException
from omegaconf import DictConfig

from layerpar.composer import Composer
from layerpar.paths import config_directory

GIVEN = (
    [],
    ["seed=3", "epochs=2"],
    ["seed=3", "architecture=cnn", "architecture.depth=4", "architecture.width=8"],
    ["architecture.width=8", "architecture=cnn"],
    ["target_accuracy=null", "mode=layerwise", "mode.partition=[2,3]", "mode.blocks=3"],
    ["mode=layerwise", "objective=delayed", "objective.link_delay=1", "objective.link_delay=2"],
    ["optimizer.lr='${seed}'", "seed=2"],
    ["dataset.root='a b=c'", "dataset=mnist"],
    ["optimizer.schedule={name: constant}"],
    ["+mode@phases.a.mode=serial", "+phases.a.epochs=1", "phases.a.epochs=2", "epochs=2"],
    ["seed=3", "~target_accuracy", "+target_accuracy=0.5", "target_accuracy=0.25"],
    ["optimizer.lr=0.5", "+optimizer.lr=0.25"],
    ["~optimizer.lr", "optimizer.lr=1"],
    ["experiment=hybrid", "phases.layerwise.epochs=4", "mode@phases.finish.mode=serial", "epochs=6"],
    ["hydra.run.dir=elsewhere", "hydra.verbose=true", "seed=1"],
    ["seed=1,2"],
    ["no.such.key=1", "seed=1"],
    ["architecture=nowhere"],
    ["architecture.depth.deeper=1"],
)


@pytest.fixture(autouse=True)
def _context() -> Iterator[None]:
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
        yield


@pytest.fixture(scope="module")
def compose() -> Composer:
    return Composer("train")


def outcome(compose: Callable[[list[str]], DictConfig], overrides: list[str]) -> DictConfig | str:
    """What is composed, or why nothing is."""
    try:
        return compose(overrides)
    except HydraException as error:
        return f"{type(error)}: {error}"


def by_hydra(overrides: list[str]) -> DictConfig:
    return hydra.compose("train", overrides=overrides)


@pytest.mark.parametrize("overrides", GIVEN, ids=" ".join)
def test_it_is_what_hydra_composes(overrides: list[str], compose: Composer) -> None:
    """Whatever was composed before, and again."""
    expected = outcome(by_hydra, overrides)
    assert outcome(compose, overrides) == expected
    assert outcome(compose, overrides) == expected


@pytest.mark.parametrize("own", [["+extra=one", "extra.value=2"], ["extra=one"]])
def test_a_group_of_the_users_own_is_chosen_from(own: list[str], tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "one.yaml").write_text("value: 1\n")
    overrides = [f"hydra.searchpath=[file://{tmp_path}]", *own]
    assert outcome(Composer("train"), overrides) == outcome(by_hydra, overrides)


def test_runs_that_differ_in_values_are_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compose, plain, asked = Composer("train"), hydra.compose, []

    def counted(*arguments: object, **named: object) -> object:
        asked.append(named["overrides"])
        return plain(*arguments, **named)

    monkeypatch.setattr(hydra, "compose", counted)
    first, second = (compose(["mode=data", f"seed={seed}", f"architecture.depth={seed}"]) for seed in (3, 4))
    assert asked == [["mode=data"]]
    assert (first.seed, second.seed) == (first.architecture.depth, second.architecture.depth) == (3, 4)
