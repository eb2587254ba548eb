"""What is read of run directories, and what is skipped and named."""

import json
import math
import os

import pytest
from recorded import MEBIBYTE, write_ended, write_run

from layerpar.errors import UserError
from layerpar.measure.status import exclusive_lock
from layerpar.paths import RunDirectory
from layerpar.results.groups import summarise
from layerpar.results.load import find_run_directories, load


def test_every_run_is_found_once_below_any_mix_of_directories(tmp_path):
    one = write_run(tmp_path / "sweep" / "0-serial")
    two = write_run(tmp_path / "sweep" / "nested" / "1-data", "data")
    (one / "checkpoint").mkdir()
    (one / "checkpoint" / "run.yaml").write_text("not a run of its own")
    found = find_run_directories([tmp_path / "sweep", one, tmp_path / "sweep" / ".." / "sweep" / "nested"])
    assert found == [one, two]


def test_a_finished_run_is_a_row_of_its_summary_and_what_follows_from_it(tmp_path):
    write_run(tmp_path / "run", "data")
    row = load([tmp_path]).summaries.iloc[0]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for key, value in summary.items():
        if key not in ("ranks", "objective", "settings", "phases"):
            assert row[key] == value, key
    ranks = summary["ranks"]
    assert row["wait_fraction"] == pytest.approx(0.4)
    assert row["sent_bytes"] == sum(rank["sent_bytes"] for rank in ranks)
    assert row["sent_bytes_per_step"] == row["sent_bytes"] / summary["steps"]
    assert row["peak_memory_bytes"] == 301 * MEBIBYTE
    assert row["memory_above_idle_bytes"] == 51 * MEBIBYTE
    assert row["cpu_seconds"] == pytest.approx(1.2 * summary["train_seconds"])
    assert row["compute_to_communication"] == pytest.approx(1.5)
    assert row["label"] == "data"
    assert row["width"] == 1024
    assert row["hardware"] == "Intel Xeon Platinum 8481C, 2 cores"
    assert row["path"] == str(tmp_path / "run")


@pytest.mark.parametrize(
    ("target", "reached", "seconds"),
    [(0.9, 4.0, 4.0), (0.99, None, math.inf), (None, None, math.nan)],
)
def test_a_target_never_reached_takes_for_ever(tmp_path, target, reached, seconds):
    write_run(tmp_path / "run", target_accuracy=target, measured={"time_to_target_seconds": reached})
    assert load([tmp_path]).summaries["time_to_target_seconds"].tolist() == pytest.approx(
        [seconds], nan_ok=True
    )


@pytest.mark.parametrize(
    ("status", "seconds"), [("failed", math.nan), ("interrupted", math.nan), ("diverged", math.inf)]
)
def test_a_run_that_ended_badly_is_a_row_with_its_reason(tmp_path, status, seconds):
    write_run(tmp_path / "like", "data", seed=1)
    write_ended(tmp_path / "run", "data", status=status, message="rank 1 was killed")
    runs = load([tmp_path]).summaries.set_index("status")
    assert runs.loc[status, "message"] == "rank 1 was killed"
    assert math.isnan(runs.loc[status, "train_seconds"])
    assert runs.loc[status, "time_to_target_seconds"] == pytest.approx(seconds, nan_ok=True)
    assert runs.loc[status, "hardware"] == runs.loc["done", "hardware"], "it ran where its like did"


@pytest.mark.parametrize("state", ["created", "running"])
def test_a_run_goes_on_while_a_process_holds_its_lock_and_is_stopped_else(tmp_path, state):
    root = write_ended(tmp_path / "run", "data", status=state, aggregation__name="ema")
    with exclusive_lock(RunDirectory(root)):
        assert load([tmp_path]).summaries["status"].tolist() == [state]
    row = load([tmp_path]).summaries.iloc[0]
    assert (row["status"], row["label"], row["aggregation"], row["workers"]) == ("stopped", "data", "ema", 2)


def test_a_killed_run_is_a_row_beside_its_like(tmp_path):
    write_run(tmp_path / "0", "data", aggregation__name="ema")
    write_ended(tmp_path / "1", "data", status="running", seed=1, aggregation__name="ema")
    assert summarise(load([tmp_path]))["statuses"].tolist() == ["1 done, 1 stopped"]


def test_evaluations_carry_the_run_and_the_blocks(tmp_path):
    root = write_run(tmp_path / "run", "layerwise", epochs=3)
    evaluations = load([tmp_path]).evaluations
    assert evaluations["epoch"].tolist() == [1, 2, 3]
    assert set(evaluations["path"]) == {str(root)}
    assert evaluations["block/1/loss"].notna().all()
    assert set(evaluations["event"]) == {"evaluate"}


def test_what_an_epoch_is_scored_on_is_the_held_out_split_where_there_is_one(tmp_path):
    for name, split in (("with", "validation"), ("without", "test")):
        root = write_run(tmp_path / name, epochs=2, dataset__validation=8 if split == "validation" else 0)
        lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
        if split == "validation":
            for line in lines:
                line["validation_accuracy"], line["validation_loss"] = 0.5, 1.5
        (root / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = load([tmp_path]).evaluations.set_index("path")
    held_out = found.loc[str(tmp_path / "with")]
    assert held_out[["split", "accuracy", "loss"]].values.tolist() == [["validation", 0.5, 1.5]] * 2
    assert set(found.loc[str(tmp_path / "without"), "split"]) == {"test"}
    without = found.loc[str(tmp_path / "without")]
    assert without["accuracy"].tolist() == without["test_accuracy"].tolist()


def test_a_last_line_cut_off_is_forgiven_to_a_stopped_run_only(tmp_path):
    stopped = write_ended(tmp_path / "stopped", "data", status="interrupted")
    done = write_run(tmp_path / "done")
    for root in (stopped, done):
        with (root / "metrics.jsonl").open("a") as file:
            file.write('{"event": "evaluate", "epo')
    results = load([tmp_path])
    assert results.summaries["path"].tolist() == [str(stopped)]
    assert len(results.evaluations) == 5
    assert results.skipped == [f"{done}: metrics.jsonl line 16 is corrupt"]


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("status.json", '{"sta', "status.json is not whole JSON"),
        ("status.json", "[]", "status.json is not a JSON object"),
        ("status.json", "{}", "status.json holds no status"),
        ("status.json", None, "status.json is missing"),
        ("run.yaml", None, "run.yaml is missing"),
        ("summary.json", '{"status": "done"', "summary.json is not whole JSON"),
        ("summary.json", None, "summary.json is missing though the run is done"),
        ("summary.json", "{}", "summary.json has no num_parameters, train_seconds, test_accuracy, steps"),
        ("summary.json", '{"train_seconds": "fast"}', "train_seconds is 'fast', not a number"),
        ("summary.json", '{"ranks": [3]}', "ranks is not a list of objects"),
        ("summary.json", '{"ranks": [{"rank": 0}]}', "ranks.busy_seconds is 'missing', not a number"),
        ("summary.json", '{"train_seconds": true}', "train_seconds is True, not a number"),
        ("summary.json", '{"train_seconds": NaN}', "train_seconds is nan, not a number"),
        ("metrics.jsonl", None, "metrics.jsonl is missing"),
        ("metrics.jsonl", "", "metrics.jsonl ends with epoch 0 though the run of 5 is done"),
        ("metrics.jsonl", '["evaluate"]\n', "metrics.jsonl line 1 is corrupt"),
        ("env.json", None, "env.json is missing though the run is done"),
        ("metrics.jsonl", b"\xff\xfe", "metrics.jsonl cannot be read"),
        ("env.json", "{", "env.json is not whole JSON"),
    ],
)
def test_a_broken_file_is_named_and_its_run_skipped(tmp_path, file, content, reason):
    write_run(tmp_path / "good")
    broken = write_run(tmp_path / "broken", "data") / file
    if content is None:
        broken.unlink()
    else:
        broken.write_bytes(content if isinstance(content, bytes) else content.encode())
    results = load([tmp_path])
    assert results.summaries["mode"].tolist() == ["serial"]
    (problem,) = results.skipped
    assert problem.startswith(f"{tmp_path / 'broken'}: ")
    assert reason in problem


def test_a_refused_run_is_named_with_the_reason(tmp_path):
    write_run(tmp_path / "good")
    root = write_ended(tmp_path / "refused", "data", status="refused", message="workers=3 does not divide")
    (root / "run.yaml").unlink()
    assert load([tmp_path]).skipped == [f"{root}: refused before it started (workers=3 does not divide)"]


@pytest.mark.skipif(os.name == "nt", reason="no symbolic links")
def test_a_link_to_a_folder_of_runs_is_followed_once_and_never_in_a_circle(tmp_path):
    write_run(tmp_path / "elsewhere" / "run")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "study")
    assert len(load([tmp_path / "study"]).summaries) == 1


@pytest.mark.parametrize("name", ["summary.json", "run.yaml", "status.json"])
def test_a_stray_file_above_hides_no_run(tmp_path, name):
    root = write_run(tmp_path / "study" / "run")
    (tmp_path / "study" / name).write_text("{}")
    runs = load([tmp_path])
    assert runs.summaries["path"].tolist() == [str(root)]
    (reason,) = runs.skipped
    assert reason.startswith(f"{tmp_path / 'study'}: status.json")


def test_runs_of_version_0_1_are_named(tmp_path):
    write_run(tmp_path / "new")
    old = write_run(tmp_path / "old") / "summary.json"
    old.write_text(
        json.dumps({key: value for key, value in json.loads(old.read_text()).items() if key != "settings"})
    )
    (reason,) = load([tmp_path]).skipped
    assert reason.endswith("summary.json is of version 0.1, which did not write down what tables need")


@pytest.mark.parametrize(("key", "value"), [("train_seconds", 0), ("ranks", []), ("settings", [1])])
def test_a_finished_summary_that_cannot_be_is_named(tmp_path, key, value):
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad", measured={key: value})
    (reason,) = load([tmp_path]).skipped
    assert "summary.json" in reason


@pytest.mark.skipif(os.name == "nt", reason="no symbolic links")
def test_a_link_to_a_run_is_the_same_run(tmp_path):
    root = write_run(tmp_path / "run")
    (tmp_path / "latest").symlink_to(root)
    assert len(load([tmp_path / "latest", tmp_path]).summaries) == 1


def test_nothing_to_read_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="is not a directory"):
        load([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no readable run at or below"):
        load([tmp_path])
    write_run(tmp_path / "run")
    (tmp_path / "run" / "status.json").write_text("{")
    with pytest.raises(UserError, match=r"status\.json is not whole JSON"):
        load([tmp_path])


def test_the_seconds_of_a_run_that_was_paused_are_marked_as_contended_ones(tmp_path):
    write_run(tmp_path / "run", measured={"paused_seconds": 30.0})
    assert load([tmp_path]).summaries["contended"].tolist() == [True]
