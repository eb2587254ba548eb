"""The tables that people read."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from recorded import MEBIBYTE, write_ended, write_run
from rich.console import Console

from layerpar.results.columns import spread
from layerpar.results.formats import csv, latex, markdown, show
from layerpar.results.groups import summarise
from layerpar.results.load import load
from layerpar.results.plots import comparison
from layerpar.results.tables import comparison_tables, report_tables
from layerpar.results.words import compact, counted, number

GOLDEN = Path(__file__).parent / "golden"


def write_study(root):
    """Two depths; three seeds of which one misses the target; failures; a run without its serial run."""
    for seed in range(3):
        write_run(root / f"serial-{seed}", seed=seed, measured={"train_seconds": 10.0 + seed})
        missed = {"time_to_target_seconds": None} if seed == 2 else {}
        measured = {"train_seconds": 5.0 + seed / 4, "test_accuracy": 0.97 + seed / 1000} | missed
        write_run(root / f"layerwise-{seed}", "layerwise", seed=seed, measured=measured)
    write_run(root / "serial-all", threads_per_worker=2, measured={"train_seconds": 6.25})
    write_run(root / "data-4", "data", workers=4, measured={"train_seconds": 123.4})
    write_run(root / "data-2", "data", seed=9)
    write_ended(root / "pipeline", "pipeline", status="failed", message="rank 1: killed by signal 9")
    write_run(root / "deep", "layerwise", architecture__depth=16, target_accuracy=None)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    write_study(tmp_path / "study")
    monkeypatch.chdir(tmp_path)
    return load([Path("study")])


@pytest.mark.parametrize("name", ["report.md", "report.tex", "comparison.md"])
def test_golden_table(runs, name):
    tables = comparison_tables(runs) if name.startswith("comparison") else report_tables(runs)
    text = latex(tables) if name.endswith("tex") else markdown(tables)
    assert text == (GOLDEN / name).read_text()


def test_golden_csv(runs):
    text = csv(summarise(runs))
    golden = pd.read_csv(GOLDEN / "report.csv")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text)), golden)


def printed(tables, *, width, terminal):
    file = io.StringIO()
    show(tables, Console(file=file, width=width, force_terminal=terminal, no_color=True))
    return file.getvalue()


def test_a_pipe_gets_its_lines_whole(runs):
    text = printed(report_tables(runs), width=80, terminal=False)
    row = next(line for line in text.splitlines() if line.startswith("layerwise local"))
    assert re.split(r"\s{2,}", row.strip()) == [
        *("layerwise local", "replace", "2", "1", "97.10 ± 0.25", "5.25 ± 0.62", "2.09 ± 0.23"),
        *("105", "-0.043", "faster, level accuracy", "∞ (2 of 3 reached)"),
        *("5.00", "11.5", "0.50", "10.5", "134", "5.98", "1.05", "51.0", "3 done"),
    ]


def test_a_narrow_terminal_loses_nothing(runs):
    text = printed(comparison_tables(runs), width=80, terminal=True)
    for part in ("97.10", "±0.25", "(2 threads)", "(2 of 3 reached)"):
        assert part in text
    assert "…" not in text


def test_comparison_puts_the_first_to_the_target_on_top(tmp_path):
    for mode, seconds, reached in (
        ("serial", 9.0, 8.0),
        ("data", 4.0, None),
        ("pipeline", 3.0, None),
        ("layerwise", 5.0, 4.0),
    ):
        write_run(
            tmp_path / mode, mode, measured={"train_seconds": seconds, "time_to_target_seconds": reached}
        )
    (table,) = comparison_tables(load([tmp_path]))
    assert [row[0] for row in table.rows] == ["layerwise local", "serial", "pipeline 1f1b", "data"]


def test_bytes_are_totals_in_a_comparison_and_per_step_in_a_report(tmp_path):
    root = write_run(tmp_path / "run", "data", measured={"steps": 50})
    (comparison,), (report,) = (
        comparison_tables(load([root])),
        report_tables(load([root])),
    )
    total = 2 * 4 * (64 * 1024 + 7 * 1024**2 + 10 * 1024) * 500 / MEBIBYTE
    assert dict(zip(comparison.heads, comparison.rows[0], strict=True))["MiB sent"] == f"{total:,.0f}"
    assert dict(zip(report.heads, report.rows[0], strict=True))["MiB sent/step"] == f"{total / 50:,.0f}"


def test_contended_runs_are_marked_and_explained(tmp_path):
    write_run(tmp_path / "run", "data", workers=4)
    (table,) = report_tables(load([tmp_path]))
    assert table.rows[0][0] == "data *"
    assert [note for note in table.notes if note.startswith("* contended")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0126, "0.013"),
        (0.123, "0.12"),
        (9.876, "9.88"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (float("inf"), "∞"),
        (float("nan"), "-"),
    ],
)
def test_numbers_have_as_many_decimals_as_their_size_asks_for(value, text):
    assert number(value) == text


def test_a_mean_over_fewer_than_the_finished_seeds_says_so():
    group = {"speed_up": 1.5, "speed_up_ci95": 0.25, "speed_up_count": 2, "num_seeds": 3}
    assert spread(group, "speed_up") == "1.50 ± 0.25 (2 of 3)"


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999"), (7_415_808, "7.42M"), (25_600, "25.6k"), (1.2e9, "1.2B")]
)
def test_counts_are_compact(count, text):
    assert compact(count) == text


def test_one_epoch_is_no_epochs(tmp_path):
    (table,) = report_tables(load([write_run(tmp_path / "run", epochs=1)]))
    assert "1 epoch, batch size 128" in table.title
    assert [counted(count, "run") for count in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def column(table, head):
    place = table.heads.index(head)
    return {row[0]: row[place] for row in table.rows}


def test_a_verdict_takes_a_difference_that_exceeds_its_error_over_seeds(tmp_path):
    """Pairs of the same seed count: both are slow on seed 2, and the difference is there all the same."""
    for seed, slow in enumerate((0.0, 1.0, 10.0)):
        write_run(
            tmp_path / f"s{seed}", seed=seed, measured={"train_seconds": 10 + slow, "test_accuracy": 0.95}
        )
        ahead = {"train_seconds": (10 + slow) / (1.5 + seed / 50), "test_accuracy": 0.95 + (seed - 1) / 100}
        write_run(tmp_path / f"l{seed}", "layerwise", seed=seed, measured=ahead)
        behind = {"train_seconds": (10 + slow) / (1 + (seed - 1) / 5), "test_accuracy": 0.93 + seed / 1000}
        write_run(tmp_path / f"d{seed}", "data", seed=seed, measured=behind)
    (table,) = report_tables(load([tmp_path]))
    assert column(table, "verdict") == {
        "serial": "-",
        "layerwise local": "faster, level accuracy",
        "data": "level speed, less accurate",
    }


def test_one_run_of_each_gives_no_verdict(tmp_path):
    write_run(tmp_path / "serial")
    write_run(tmp_path / "layerwise", "layerwise")
    (table,) = report_tables(load([tmp_path]))
    assert "verdict" not in table.heads
    assert table.conclusion.endswith("With fewer than two seeds of both, it may be chance.")


def test_contended_seconds_are_no_ground_for_a_verdict(tmp_path):
    for seed in range(2):
        write_run(tmp_path / f"s{seed}", seed=seed, measured={"train_seconds": 10.0, "test_accuracy": 0.9})
        fast = {"train_seconds": 2.0, "test_accuracy": 0.9}
        write_run(tmp_path / f"d{seed}", "data", seed=seed, workers=4, measured=fast)
    (table,) = report_tables(load([tmp_path]))
    assert column(table, "verdict")["data *"] == "level accuracy"
    assert table.conclusion is None, "nothing is left to compare"


def test_a_contended_unit_is_no_ground_for_a_verdict_either(tmp_path):
    for seed in range(2):
        slow = {"train_seconds": 10.0, "test_accuracy": 0.9, "contended": True}
        write_run(tmp_path / f"s{seed}", seed=seed, measured=slow)
        fast = {"train_seconds": 2.5, "test_accuracy": 0.9}
        write_run(tmp_path / f"d{seed}", "data", seed=seed, measured=fast)
    (table,) = report_tables(load([tmp_path]))
    assert column(table, "verdict")["data"] == "level accuracy"
    assert column(table, "speed-up")["data"] == "4.00 ± 0.00 *"
    (ax,) = (comparison.comparison(load([tmp_path]))).axes[:1]
    assert "4.00x *" in [text.get_text().partition("  ")[2] for text in ax.texts]


def test_the_cells_of_forty_columns_are_whole(runs):
    text = printed(report_tables(runs), width=40, terminal=True)
    assert "…" not in text
    for part in ("97.10", "layerwise", "5.25", "2.09"):
        assert part in text


def test_a_path_with_brackets_is_printed_as_it_is(tmp_path):
    for name in ("[old]", "[/x]"):
        write_ended(tmp_path / name, "data", status="failed", message="[red]no")
    text = printed(report_tables(load([tmp_path])), width=80, terminal=True)
    for name in ("[old]", "[/x]"):
        assert f"{tmp_path / name}: [red]no" in text


def test_the_title_has_the_parameters_of_whoever_got_that_far(tmp_path):
    write_ended(tmp_path / "killed", "serial", status="interrupted")
    write_run(tmp_path / "data", "data")
    (table,) = report_tables(load([tmp_path]))
    assert "7.42M parameters" in table.title
