"""Names of runs follow from the settings in which they differ."""

from layerpar.results.settings import describe, differing, disambiguate


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
    assert disambiguate(["data", "data", "pipeline"], runs, ignore=()) == [
        "data, 2 workers",
        "data, 4 workers",
        "pipeline",
    ]
    assert disambiguate(["data"] * 3, runs, ignore={"workers"}) == ["data"] * 3
