"""Runs that differ in their seed only make one line."""

import math
from statistics import mean, stdev

import pytest
from recorded import write_ended, write_run

from layerpar.results.lines import groups, summarise
from layerpar.results.load import load
from layerpar.results.speedup import with_speed_up


def lines_of(root):
    return summarise(with_speed_up(load([root]).runs))


def test_a_line_is_mean_and_sample_deviation_over_seeds(tmp_path):
    seconds = [9.0, 10.0, 12.5]
    for seed, value in enumerate(seconds):
        write_run(tmp_path / f"{seed}", seed=seed, measured={"train_seconds": value})
    (line,) = lines_of(tmp_path).to_dict("records")
    assert line["train_seconds"] == pytest.approx(mean(seconds))
    assert line["train_seconds_std"] == pytest.approx(stdev(seconds))
    assert (line["num_runs"], line["num_done"], line["statuses"]) == (3, 3, "3 done")


def test_one_run_has_no_deviation(tmp_path):
    write_run(tmp_path / "run")
    assert math.isnan(lines_of(tmp_path)["train_seconds_std"].iloc[0])


def test_a_target_that_one_seed_missed_is_never_reached_on_average(tmp_path):
    for seed, value in enumerate([4.0, None, 5.0]):
        write_run(tmp_path / f"{seed}", seed=seed, measured={"time_to_target_seconds": value})
    (line,) = lines_of(tmp_path).to_dict("records")
    assert line["time_to_target_seconds"] == math.inf
    assert math.isnan(line["time_to_target_seconds_std"])
    assert line["num_reached"] == 2


def test_a_diverged_seed_never_reaches_the_target_but_leaves_the_other_means_alone(tmp_path):
    write_run(tmp_path / "0", "data", measured={"train_seconds": 3.0})
    write_ended(tmp_path / "1", "data", seed=1, status="diverged", message="loss became nan\n at step 7")
    (line,) = lines_of(tmp_path).to_dict("records")
    assert line["time_to_target_seconds"] == math.inf
    assert line["train_seconds"] == 3.0
    assert line["statuses"] == "1 done, 1 diverged"
    assert line["messages"] == [f"diverged: {tmp_path / '1'}: loss became nan at step 7"]


def test_lines_that_look_alike_tell_their_settings(tmp_path):
    for blocks in (4, 8):
        write_run(tmp_path / f"b{blocks}", "layerwise", mode__blocks=blocks)
    write_run(tmp_path / "workers", "layerwise", workers=4)
    write_run(tmp_path / "rule", "layerwise", aggregation__name="momentum")
    found = lines_of(tmp_path)
    told = {(line["aggregation"], line["workers"], line["settings"]) for line in found.to_dict("records")}
    assert told == {
        ("replace", 2, "blocks=4"),
        ("replace", 2, "blocks=8"),
        ("replace", 4, ""),
        ("momentum", 2, ""),
    }


def test_settings_that_a_mode_ignores_do_not_split_its_line(tmp_path):
    write_run(tmp_path / "0", seed=0, objective__name="local", workers=2)
    write_run(tmp_path / "1", seed=1, objective__name="delayed", workers=4, aggregation__name="ema")
    assert lines_of(tmp_path)["num_runs"].tolist() == [2]


def test_groups_are_data_sets_and_architectures_and_modes_have_an_order(tmp_path):
    for depth in (8, 16):
        for mode in ("layerwise", "data", "serial", "pipeline"):
            write_run(tmp_path / f"{mode}{depth}", mode, architecture__depth=depth)
    write_run(tmp_path / "other", dataset__name="cifar10")
    found = [
        (group["dataset"].iloc[0], group["depth"].iloc[0], group["mode"].tolist())
        for group in groups(lines_of(tmp_path))
    ]
    every = ["serial", "data", "pipeline", "layerwise"]
    assert found == [("cifar10", 8, ["serial"]), ("digits", 8, every), ("digits", 16, every)]


def test_machines_are_not_mixed(tmp_path):
    write_run(tmp_path / "here")
    elsewhere = write_run(tmp_path / "elsewhere", seed=1) / "env.json"
    elsewhere.write_text(elsewhere.read_text().replace('"cores": 2', '"cores": 64'))
    found = lines_of(tmp_path)
    assert sorted(found["settings"]) == [
        "Intel Xeon Platinum 8481C, 2 cores",
        "Intel Xeon Platinum 8481C, 64 cores",
    ]
