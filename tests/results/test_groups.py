"""Runs that differ in their seed only make one row."""

import json
import math
from statistics import mean, stdev

import pytest
from recorded import write_ended, write_run

from layerpar.results.groups import by_task, summarise
from layerpar.results.load import load
from layerpar.results.tables import report_tables
from layerpar.results.verdicts import conclusion


def groups_of(root):
    return summarise(load([root]))


def test_a_group_is_mean_deviation_and_interval_over_seeds(tmp_path):
    seconds = [9.0, 10.0, 12.5]
    for seed, value in enumerate(seconds):
        write_run(tmp_path / f"{seed}", seed=seed, measured={"train_seconds": value})
    (group,) = groups_of(tmp_path).to_dict("records")
    assert group["train_seconds"] == pytest.approx(mean(seconds))
    assert group["train_seconds_std"] == pytest.approx(stdev(seconds))
    assert group["train_seconds_ci95"] == pytest.approx(4.302653 * stdev(seconds) / math.sqrt(3))
    assert (group["num_runs"], group["num_done"], group["statuses"]) == (3, 3, "3 done")


def test_repeats_with_one_seed_are_one_value(tmp_path):
    """Most ways repeat to the bit: an interval over repeats would be zero, and every difference real."""
    for repeat, value in enumerate([9.0, 11.0]):
        write_run(tmp_path / f"a{repeat}", measured={"train_seconds": value, "test_accuracy": 0.9})
    (group,) = groups_of(tmp_path).to_dict("records")
    assert (group["train_seconds"], group["train_seconds_count"], group["num_done"]) == (10.0, 1, 2)
    assert math.isnan(group["train_seconds_ci95"])
    assert math.isnan(group["test_accuracy_ci95"])
    write_run(tmp_path / "b", seed=1, measured={"train_seconds": 12.0})
    (group,) = groups_of(tmp_path).to_dict("records")
    assert (group["train_seconds"], group["train_seconds_count"]) == (11.0, 2)


def test_repeats_of_two_seeds_are_two_values_of_which_none_is_missing(tmp_path):
    for seed, repeat in ((0, 0), (0, 1), (1, 0), (1, 1)):
        measured = {"train_seconds": 9.0 + seed + repeat / 2, "time_to_target_seconds": 5.0}
        write_run(tmp_path / f"{seed}{repeat}", seed=seed, measured=measured)
    groups = groups_of(tmp_path)
    (group,) = groups.to_dict("records")
    assert (group["num_runs"], group["num_seeds"], group["num_reached"]) == (4, 2, 2)
    (table,) = report_tables(load([tmp_path]))
    cells = dict(zip(table.heads, table.rows[0], strict=True))
    assert cells["train seconds"] == "9.75 ± 6.35"
    assert "2 seeds" in table.notes[-1]


def test_one_run_has_no_deviation(tmp_path):
    write_run(tmp_path / "run")
    assert math.isnan(groups_of(tmp_path)["train_seconds_std"].iloc[0])


def test_a_target_that_one_seed_missed_is_never_reached_on_average(tmp_path):
    for seed, value in enumerate([4.0, None, 5.0]):
        write_run(tmp_path / f"{seed}", seed=seed, measured={"time_to_target_seconds": value})
    (group,) = groups_of(tmp_path).to_dict("records")
    assert group["time_to_target_seconds"] == math.inf
    assert math.isnan(group["time_to_target_seconds_std"])
    assert group["num_reached"] == 2


def test_a_diverged_seed_never_reaches_the_target_but_leaves_the_other_means_alone(tmp_path):
    write_run(tmp_path / "0", "data", measured={"train_seconds": 3.0})
    write_ended(tmp_path / "1", "data", seed=1, status="diverged", message="loss became nan\n at step 7")
    (group,) = groups_of(tmp_path).to_dict("records")
    assert group["time_to_target_seconds"] == math.inf
    assert group["train_seconds"] == 3.0
    assert group["statuses"] == "1 done, 1 diverged"
    assert group["messages"] == [f"diverged: {tmp_path / '1'}: loss became nan at step 7"]


def test_groups_that_look_alike_tell_their_settings(tmp_path):
    for blocks in (4, 8):
        write_run(tmp_path / f"b{blocks}", "layerwise", mode__blocks=blocks)
    write_run(tmp_path / "workers", "layerwise", workers=4)
    write_run(tmp_path / "rule", "layerwise", aggregation__name="momentum")
    found = groups_of(tmp_path)
    told = {(group["aggregation"], group["workers"], group["settings"]) for group in found.to_dict("records")}
    assert told == {
        ("replace", 2, "blocks=4"),
        ("replace", 2, "blocks=8"),
        ("replace", 4, ""),
        ("momentum", 2, ""),
    }


def test_settings_that_a_mode_ignores_do_not_split_its_group(tmp_path):
    write_run(tmp_path / "0", seed=0, objective__name="local", workers=2)
    write_run(tmp_path / "1", seed=1, objective__name="delayed", workers=4, aggregation__name="ema")
    assert groups_of(tmp_path)["num_runs"].tolist() == [2]


def test_tasks_are_data_sets_and_architectures_and_modes_have_an_order(tmp_path):
    for depth in (8, 16):
        for mode in ("layerwise", "data", "serial", "pipeline"):
            write_run(tmp_path / f"{mode}{depth}", mode, architecture__depth=depth)
    write_run(tmp_path / "other", dataset__name="cifar10")
    found = [
        (group["dataset"].iloc[0], group["depth"].iloc[0], group["mode"].tolist())
        for group in by_task(groups_of(tmp_path))
    ]
    every = ["serial", "data", "pipeline", "layerwise"]
    assert found == [("cifar10", 8, ["serial"]), ("digits", 8, every), ("digits", 16, every)]


def test_machines_are_not_mixed(tmp_path):
    write_run(tmp_path / "here")
    elsewhere = write_run(tmp_path / "elsewhere", seed=1) / "env.json"
    elsewhere.write_text(elsewhere.read_text().replace('"cores": 2', '"cores": 64'))
    found = groups_of(tmp_path)
    assert sorted(found["settings"]) == [
        "Intel Xeon Platinum 8481C, 2 cores",
        "Intel Xeon Platinum 8481C, 64 cores",
    ]


def test_the_share_of_steps_a_trust_region_took_is_its_last(tmp_path):
    root = write_run(tmp_path / "run", "data", aggregation__name="trust_region", epochs=1)
    line = json.loads((root / "metrics.jsonl").read_text().splitlines()[-1])
    (root / "metrics.jsonl").write_text(json.dumps(line | {"aggregation/accepted_fraction": 0.75}) + "\n")
    write_run(tmp_path / "serial")
    found = groups_of(tmp_path).set_index("label")["accepted_fraction"]
    assert found["data"] == 0.75
    assert math.isnan(found["serial"])


def test_the_conclusion_names_what_tells_rows_apart_and_compares_the_same_work_only(tmp_path):
    for rule, value in (("momentum", 3.0), ("ema", 4.0)):
        for seed in (0, 1):
            changes = {"aggregation__name": rule, "seed": seed, "target_accuracy": None}
            write_run(tmp_path / f"{rule}{seed}", "data", measured={"train_seconds": value}, **changes)
    told = "Fastest: data, momentum, 3.00 s; next: data, ema, 4.00 s"
    assert conclusion(groups_of(tmp_path)).startswith(told)
    write_run(tmp_path / "short", "data", epochs=1, target_accuracy=None, measured={"train_seconds": 1.0})
    assert conclusion(groups_of(tmp_path)) is None, "one epoch is no way of doing the work of five"


def test_the_conclusion_goes_by_the_seeds_that_all_have(tmp_path):
    """Serial training is fastest on a seed that the others have not been run with."""
    for seed, value in enumerate([30.0, 31.0, 5.0]):
        write_run(tmp_path / f"s{seed}", seed=seed, target_accuracy=None, measured={"train_seconds": value})
    for seed, value in enumerate([25.0, 25.9]):
        changes = {"seed": seed, "target_accuracy": None}
        write_run(tmp_path / f"d{seed}", "data", measured={"train_seconds": value}, **changes)
    told = conclusion(groups_of(tmp_path))
    assert told.startswith("Fastest: data, 25.4 s; next: serial, 30.5 s (1.20 times as long).")
    assert "exceeds its 95 % interval over 2 seeds" in told


def test_the_conclusion_says_that_contended_ways_are_left_out(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"s{seed}", seed=seed, target_accuracy=0.99)
        write_run(tmp_path / f"p{seed}", "pipeline", seed=seed, target_accuracy=0.99)
        fast = {"time_to_target_seconds": 1.0}
        write_run(tmp_path / f"d{seed}", "data", seed=seed, workers=4, target_accuracy=0.99, measured=fast)
    told = conclusion(groups_of(tmp_path))
    assert told == "No way of training always reaches 99.00%. Contended ways are left out."
