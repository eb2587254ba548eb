"""What a speed-up is measured against."""

import math
from pathlib import Path

import pytest
from recorded import write_ended, write_run

from layerpar.errors import UserError
from layerpar.results.load import load
from layerpar.results.speedup import with_speed_up
from layerpar.results.tables import report_tables


def seconds(value):
    return {"train_seconds": value}


def speed_ups(root, **options):
    runs = with_speed_up(load([root]).summaries, **options)
    return {
        path.rsplit("/", 1)[1]: (value, reason)
        for path, value, reason in zip(runs["path"], runs["speed_up"], runs["speed_up_missing"], strict=True)
    }


def test_the_unit_is_the_serial_run_with_the_same_seed_and_threads(tmp_path):
    write_run(tmp_path / "serial", measured=seconds(12.0))
    write_run(tmp_path / "serial-seed1", seed=1, measured=seconds(9.0))
    write_run(tmp_path / "serial-all", threads_per_worker=2, measured=seconds(6.0))
    write_run(tmp_path / "data", "data", measured=seconds(8.0))
    write_run(tmp_path / "data-seed1", "data", seed=1, measured=seconds(3.0))
    write_run(tmp_path / "data-all", "data", threads_per_worker=2, measured=seconds(5.0))
    assert {name: value for name, (value, _) in speed_ups(tmp_path).items()} == {
        "serial": 1.0,
        "serial-seed1": 1.0,
        "serial-all": 2.0,
        "data": 1.5,
        "data-seed1": 3.0,
        "data-all": 1.2,
    }


def test_cores_that_a_scheduler_reserves_for_more_threads_are_no_other_work(tmp_path):
    slurm = {"launcher__name": "slurm"}
    write_run(tmp_path / "one", measured=seconds(12.0), launcher__cpus_per_worker=1, **slurm)
    both = {"launcher__cpus_per_worker": 2, "threads_per_worker": 2}
    write_run(tmp_path / "two", measured=seconds(6.0), **both, **slurm)
    assert speed_ups(tmp_path)["two"] == (2.0, None)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 1}, "seed"),
        ({"epochs": 7}, "epochs"),
        ({"batch_size": 64}, "batch_size"),
        ({"precision": "bf16"}, "precision"),
        ({"compile": True}, "compile"),
        ({"trace_steps": 4}, "trace_steps"),
        ({"launcher__name": "hosts"}, "launcher.name"),
        ({"architecture__norm": "batch"}, "architecture.norm"),
        ({"architecture__depth": 4}, "architecture.depth"),
        ({"dataset__train_limit": 100}, "dataset.train_limit"),
        ({"dataset__name": "mnist", "seed": 2}, "dataset.name, seed"),
    ],
)
def test_without_the_same_work_there_is_none_and_the_difference_is_named(tmp_path, changes, key):
    write_run(tmp_path / "serial")
    write_run(tmp_path / "other", "data", **changes)
    value, reason = speed_ups(tmp_path)["other"]
    assert math.isnan(value)
    assert reason == f"the nearest serial run differs in {key}"


def test_other_reasons_for_none(tmp_path):
    write_run(tmp_path / "threads", "data", threads_per_worker=4)
    write_ended(tmp_path / "failed", "serial", status="failed")
    assert speed_ups(tmp_path)["threads"][1] == "no finished serial run"
    write_run(tmp_path / "serial")
    assert speed_ups(tmp_path)["threads"][1] == "no serial run with 4 threads per worker"
    assert speed_ups(tmp_path)["failed"][1] == "the run is failed"


def test_where_data_lies_and_how_often_is_logged_do_not_matter(tmp_path):
    write_run(tmp_path / "serial", measured=seconds(4.0), dataset__root="/here", log_every_steps=1)
    write_run(tmp_path / "data", "data", measured=seconds(2.0), dataset__root="/there", warmup_steps=0)
    assert speed_ups(tmp_path)["data"] == (2.0, None)


def test_of_several_units_those_with_the_same_optimizer_count_and_repeats_are_averaged(tmp_path):
    write_run(tmp_path / "again", measured=seconds(8.0))
    write_run(tmp_path / "serial", measured=seconds(12.0))
    write_run(tmp_path / "tuned", optimizer__lr=0.1, measured=seconds(100.0))
    write_run(tmp_path / "data", "data", measured=seconds(5.0))
    write_run(tmp_path / "faster", "data", optimizer__lr=0.1, measured=seconds(5.0))
    found = speed_ups(tmp_path)
    assert found["data"][0] == 2.0
    assert found["faster"][0] == 20.0
    assert found["tuned"][0] == 1.0


def test_another_baseline_prefers_as_many_workers(tmp_path):
    write_run(tmp_path / "serial", measured=seconds(10.0))
    for workers, value in ((2, 8.0), (4, 6.0)):
        write_run(tmp_path / f"data{workers}", "data", workers=workers, measured=seconds(value))
        write_run(tmp_path / f"layerwise{workers}", "layerwise", workers=workers, measured=seconds(2.0))
    found = {name: value for name, (value, _) in speed_ups(tmp_path, baseline="data").items()}
    assert found["serial"] == 0.8
    assert (found["layerwise2"], found["layerwise4"]) == (4.0, 3.0)
    assert (found["data2"], found["data4"]) == (1.0, pytest.approx(8 / 6))
    assert speed_ups(tmp_path, baseline="layerwise local")["serial"][0] == 0.2


def test_an_unknown_baseline_is_refused_with_those_there_are(tmp_path):
    write_run(tmp_path / "data", "data")
    with pytest.raises(UserError, match=r"--baseline=magic is not known; try --baseline=data"):
        speed_ups(tmp_path, baseline="magic")
    assert math.isnan(speed_ups(tmp_path, baseline="serial")["data"][0])


def test_of_several_ways_of_the_baseline_the_fastest_over_all_seeds_is_the_unit(tmp_path):
    """Serial training in one and in four micro-batches is not the same work: they are never averaged."""
    for seed, (whole, parts) in enumerate([(10.0, 8.0), (10.0, 11.0)]):
        write_run(tmp_path / f"whole{seed}", seed=seed, mode__microbatches=1, measured=seconds(whole))
        write_run(tmp_path / f"parts{seed}", seed=seed, mode__microbatches=4, measured=seconds(parts))
        write_run(tmp_path / f"data{seed}", "data", seed=seed, measured=seconds(4.0))
    found = {name: value for name, (value, _) in speed_ups(tmp_path).items()}
    assert (found["data0"], found["data1"]) == (2.0, 2.75)
    assert (found["whole0"], found["parts1"]) == (0.8, 1.0)


def test_efficiency_and_serial_fraction_are_those_of_amdahls_law(tmp_path):
    """A tenth of the work is serial: on two and on four workers Karp and Flatt's metric finds it again."""
    write_run(tmp_path / "serial", measured=seconds(100.0))
    for workers in (2, 4):
        taken = seconds(10 + 90 / workers)
        write_run(tmp_path / f"data{workers}", "data", workers=workers, measured=taken)
    write_run(tmp_path / "cores", threads_per_worker=2, measured=seconds(50.0))
    runs = with_speed_up(load([tmp_path]).summaries)
    found = {Path(run["path"]).name: run for run in runs.to_dict("records")}
    assert found["data2"]["serial_fraction"] == pytest.approx(0.1)
    assert found["data4"]["serial_fraction"] == pytest.approx(0.1)
    assert found["data4"]["efficiency"] == pytest.approx(100 / 32.5 / 4)
    assert (found["cores"]["efficiency"], found["cores"]["serial_fraction"]) == (1.0, 0.0)
    assert found["serial"]["efficiency"] == 1.0
    assert math.isnan(found["serial"]["serial_fraction"])


def test_a_batch_that_grows_with_the_workers_has_a_scaled_speed_up(tmp_path):
    """A tenth of a worker's work is serial: Gustafson's law gives 0.1 + 0.9 W where that does not grow."""
    write_run(tmp_path / "serial", measured={"samples_per_second": 1000.0}, batch_size=128)
    write_run(tmp_path / "data", "data", workers=2, batch_size=256, measured={"samples_per_second": 1900.0})
    write_run(tmp_path / "more", "data", workers=2, batch_size=512)
    found = {
        Path(run["path"]).name: run for run in with_speed_up(load([tmp_path]).summaries).to_dict("records")
    }
    assert (found["data"]["speed_up"], found["data"]["efficiency"]) == (1.9, 0.95)
    assert [found[name]["scaled"] for name in ("serial", "data", "more")] == [False, True, False]
    assert math.isnan(found["data"]["serial_fraction"])
    assert found["more"]["speed_up_missing"] == "the nearest serial run differs in batch_size"


def test_a_scaled_speed_up_says_so_in_the_table_and_has_no_verdict(tmp_path):
    for seed in range(2):
        write_run(tmp_path / f"serial{seed}", batch_size=128, seed=seed)
        write_run(tmp_path / f"data{seed}", "data", workers=2, batch_size=256, seed=seed)
    (table,) = report_tables(load([tmp_path]))
    (row,) = (row for row in table.rows if row[0] == "data")
    assert any(cell.endswith(" scaled") for cell in row)
    assert any(note.startswith("scaled speed-up: samples per second") for note in table.notes)
    assert "verdict" not in table.heads
    assert table.conclusion is None
