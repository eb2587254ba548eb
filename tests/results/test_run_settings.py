"""Names of runs follow from the settings in which they differ."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from recorded import config

from layerpar.results.settings import describe, differing, distinguished, effective, flatten, mode_label

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text("abc: #", max_size=5)


@given(
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=5),
        SCALARS | st.dictionaries(st.text("ghi", min_size=1), SCALARS, min_size=1) | st.lists(SCALARS),
        min_size=1,
    )
)
def test_flat_keys_are_what_yaml_holds(content):
    flat = flatten(yaml.safe_dump(content, sort_keys=False))
    for key, value in content.items():
        if isinstance(value, dict):
            assert {inner: flat[f"{key}.{inner}"] for inner in value} == value
        elif isinstance(value, list):
            assert yaml.safe_load(flat[key]) == value
        else:
            assert flat[key] == value


def test_a_class_name_is_no_setting():
    assert flatten("mode:\n  _target_: layerpar.modes.serial.Serial\n  name: serial\n") == {
        "mode.name": "serial"
    }


@pytest.mark.parametrize("text", ["", "mode: [", "- 1\n- 2\n", "mode:\n  name: x\n y: 1\n"])
def test_what_is_no_mapping_is_refused(text):
    with pytest.raises(ValueError, match=r"no keys|not YAML|not a mapping"):
        flatten(text)


def test_a_mode_without_objective_ignores_that_group():
    flat = flatten(yaml.safe_dump(config("serial")))
    settings = effective(flat, objective=None, aggregation=None, workers=1)
    assert not [key for key in settings if key.startswith(("objective.", "aggregation."))]
    assert settings["workers"] == 1
    assert "dataset.root" not in settings


@pytest.mark.parametrize(
    ("mode", "objective", "schedule", "threads", "label"),
    [
        ("serial", None, None, 1, "serial"),
        ("serial", None, None, 2, "serial (2 threads)"),
        ("data", None, None, 2, "data"),
        ("pipeline", None, "1f1b", 1, "pipeline 1f1b"),
        ("layerwise", "delayed", None, 1, "layerwise delayed"),
    ],
)
def test_labels(mode, objective, schedule, threads, label):
    assert mode_label(mode, objective=objective, schedule=schedule, threads_per_worker=threads) == label


def test_a_key_counts_only_among_runs_that_chose_the_same_option():
    sgd = {"optimizer.name": "sgd", "optimizer.lr": 0.1, "optimizer.momentum": 0.9}
    adam = {"optimizer.name": "adam", "optimizer.lr": 0.001}
    assert differing([sgd, adam]) == ["optimizer.name"]
    assert differing([sgd, adam, sgd | {"optimizer.lr": 0.2}]) == ["optimizer.name", "optimizer.lr"]
    assert differing([sgd, sgd]) == []


def test_settings_in_words_start_with_the_workers():
    run = {"mode.blocks": 8, "aggregation.name": "momentum", "workers": 1, "mode.cache": True, "x": None}
    assert describe(run, run) == "momentum, 1 worker, blocks=8, cache=true, x=null"


def test_runs_are_told_apart_within_their_label_only():
    runs = [{"workers": 2}, {"workers": 4}, {"workers": 2}]
    assert distinguished(["data", "data", "pipeline"], runs, ignore=()) == [
        "data, 2 workers",
        "data, 4 workers",
        "pipeline",
    ]
    assert distinguished(["data"] * 3, runs, ignore={"workers"}) == ["data"] * 3
