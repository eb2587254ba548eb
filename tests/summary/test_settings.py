"""What `summary.json` tells of a run's configuration: its label, its place, the settings that took effect."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from tiny import composed

import layerpar
from layerpar.config import RunConfig
from layerpar.summary.content import Results, summary
from layerpar.summary.settings import effective, label

HYBRID = (
    "mode=serial",
    "workers=2",
    "epochs=5",
    "+mode@phases.warmup.mode=serial",
    "+phases.warmup.epochs=1",
    "+mode@phases.middle.mode=layerwise",
    "+objective@phases.middle.objective=delayed",
    "+phases.middle.epochs=3",
    "+mode@phases.finish.mode=data",
    "+phases.finish.epochs=1",
)


@pytest.mark.parametrize(
    ("overrides", "name", "order"),
    [
        (["mode=serial"], "serial", 0),
        (["mode=serial", "threads_per_worker=2"], "serial (2 threads)", 1),
        (["mode=sequential"], "sequential", 2),
        (["mode=data", "threads_per_worker=2"], "data", 3),
        (["mode=pipeline", "mode.schedule=gpipe"], "pipeline gpipe", 4),
        (["objective=local"], "layerwise local", 5),
        (["objective=delayed"], "layerwise delayed", 6),
        (["objective=frozen", "mode.exchange=weights"], "layerwise frozen", 7),
        (HYBRID, "serial 1 → layerwise delayed 3 → data 1", 9),
    ],
)
def test_a_run_says_what_to_call_it_and_where_to_list_it(overrides: list[str], name: str, order: int) -> None:
    told = summary(composed(*overrides), "created", Results())
    assert (told["label"], told["order"]) == (name, order)


@pytest.mark.parametrize(
    ("overrides", "num_blocks"),
    [
        (["mode=serial"], 1),
        (["mode=data"], 1),
        (["mode=sequential", "mode.blocks=3"], 3),
        (["mode=pipeline", "workers=3"], 3),
        (["workers=4", "mode.replicas=2"], 2),
        (["mode.blocks=layers"], 9),
        (["mode.partition=[2,5]"], 3),
        (HYBRID, 2),
    ],
)
def test_the_number_of_blocks_is_known_once_the_layers_are(overrides: list[str], num_blocks: int) -> None:
    config = composed(*overrides)
    assert summary(config, "created", Results())["num_blocks"] is None
    assert summary(config, "done", Results(num_layers=9))["num_blocks"] == num_blocks


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (["aggregation=average"], 1),
        (["aggregation=ema"], 1),
        (["aggregation=damped"], 8),
        (["aggregation=average", "mode.replicas=2", "workers=2"], 8),
        (["mode=data", "workers=2", "aggregation=average"], 8),
    ],
)
def test_weights_are_common_again_after_a_round_where_they_were_apart(
    overrides: list[str], steps: int
) -> None:
    config = composed("mode=layerwise", "aggregation.every=8", *overrides)
    assert config.mode.steps_per_update(config) == steps


def test_settings_are_flat_and_plain() -> None:
    settings = effective(composed("optimizer.lr=0.3", "mode.partition=[2,5]"))
    assert settings["optimizer.lr"] == 0.3
    assert settings["optimizer.schedule.name"] == "cosine"
    assert settings["mode.partition"] == "[2, 5]"
    assert not [value for value in settings.values() if isinstance(value, list | dict)]
    json.dumps(settings, allow_nan=False)


def test_what_changes_neither_result_nor_time_is_left_out() -> None:
    one = composed(
        "dataset=mnist",
        "dataset.root=/here",
        "warmup_steps=0",
        "launcher.timeout_seconds=9",
        "logger=tensorboard",
    )
    assert effective(one) == effective(
        composed("dataset=mnist", "dataset.root=/there", "log_every_steps=1", "device=cpu")
    )


@pytest.mark.parametrize(
    ("mode", "groups", "workers"),
    [
        ("serial", set(), 1),
        ("sequential", set(), 1),
        ("data", {"aggregation"}, 2),
        ("pipeline", set(), 2),
        ("layerwise", {"objective", "aggregation"}, 2),
    ],
)
def test_a_group_that_the_mode_does_not_obey_has_no_effect(mode: str, groups: set[str], workers: int) -> None:
    settings = effective(composed(f"mode={mode}"))
    assert {key.partition(".")[0] for key in settings} & {"objective", "aggregation"} == groups
    assert settings["workers"] == workers


def test_groups_that_every_phase_replaces_have_no_effect() -> None:
    settings = effective(composed(*HYBRID))
    assert not [key for key in settings if key.startswith("mode.")]
    assert settings["phases"] == label(composed(*HYBRID))
    assert settings["phases.middle.objective.name"] == "delayed"
    assert "objective.name" not in settings, "no phase is left that obeys it"
    assert settings["aggregation.name"] == "replace", "two phases obey the run's"
    assert settings["optimizer.name"] == "sgd"


def test_phases_in_another_order_are_another_way() -> None:
    turned = (*HYBRID[:3], *HYBRID[7:], *HYBRID[3:7])
    assert _but_order(effective(composed(*turned))) == _but_order(effective(composed(*HYBRID)))
    assert label(composed(*turned)) != label(composed(*HYBRID))


def _but_order(settings: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in settings.items() if key != "phases"}


def test_no_module_but_the_modes_knows_them_by_name() -> None:
    """Neither a comparison with the name of one, nor a list of them."""
    names = {"serial", "sequential", "data", "pipeline", "layerwise"}
    package = Path(layerpar.__file__).parent
    found = []
    for path in package.rglob("*.py"):
        if path.parent.name == "modes":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                values = [node.left, *node.comparators]
                limit = 1
            elif isinstance(node, ast.Tuple | ast.List | ast.Set):
                values, limit = node.elts, 2
            elif isinstance(node, ast.Dict):
                values, limit = [key for key in node.keys if key is not None], 2
            else:
                continue
            known = [value for value in values if isinstance(value, ast.Constant) and value.value in names]
            if len(known) >= limit:
                found.append(f"{path.relative_to(package)}:{node.lineno}")
    assert found == []


def test_a_run_that_has_only_begun_says_already_what_it_is() -> None:
    config: RunConfig = composed("mode=data", "aggregation=average")
    told = summary(config, "created", Results())
    assert (told["mode"], told["aggregation"], told["workers"]) == ("data", "average", 2)
    assert told["train_seconds"] is None
    assert told["settings"] == effective(config)


def test_runs_on_one_worker_tell_how_many_blocks_the_workers_asked_for_mean() -> None:
    def blocks(*overrides: str) -> list[object]:
        keys = ("mode.blocks", "phases.first.mode.blocks")
        settings = [effective(composed(f"workers={count}", *overrides)) for count in (2, 4)]
        return [found[key] for found in settings for key in keys if key in found]

    assert blocks("mode=sequential") == [2, 4]
    assert blocks("mode=sequential", "mode.blocks=layers") == ["layers", "layers"]
    assert blocks("mode=layerwise") == ["workers", "workers"], "there the workers tell"
    assert blocks("+mode@phases.first.mode=sequential", "+phases.first.epochs=1", "epochs=1") == [2, 4]
