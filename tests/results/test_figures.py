"""What the figures draw, point by point, and when they are left out."""

import json
import math
import xml.etree.ElementTree

import pytest
from matplotlib import rc_context
from matplotlib.text import Text
from PIL import Image
from recorded import ENVIRONMENT, MEBIBYTE, write_comparison, write_ended, write_run

from layerpar.errors import UserError
from layerpar.paths import RunDirectory
from layerpar.results.groups import summarise
from layerpar.results.load import load
from layerpar.results.plots import (
    blocks,
    comparison,
    draw,
    layout,
    learning,
    scaling,
    speed_up,
    timeline,
    workers,
)
from layerpar.results.plots.draw import FIGURES
from layerpar.results.plots.panels import FigureSkippedError, mean_over_seeds, with_series


def line(ax, label):
    """The points of the line with this label; hollow ones count too."""
    found = [drawn.get_xydata() for drawn in ax.get_lines() if drawn.get_label() == label]
    return sorted((float(x), float(y)) for points in found for x, y in points)


def near(points):
    return [pytest.approx(point) for point in points]


def bars(ax):
    """Name and length of each horizontal bar, top to bottom."""
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    widths = {round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in ax.patches}
    return [(name, widths[place]) for place, name in enumerate(names)]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def texts(figure):
    return [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in figure.texts]


def write_depths(root, depths=(4, 8, 16), seeds=1, **changes):
    """Serial always takes 12 s; layerwise gains with depth, data gains nothing."""
    for depth in depths:
        for seed in range(seeds):
            common = {"seed": seed, "architecture__depth": depth} | changes
            write_run(root / f"s{depth}-{seed}", measured={"train_seconds": 12.0}, **common)
            faster = {"train_seconds": 12.0 / (1 + depth / 20 + seed / 10)}
            write_run(root / f"l{depth}-{seed}", "layerwise", measured=faster, **common)
            write_run(root / f"d{depth}-{seed}", "data", measured={"train_seconds": 12.0}, **common)


def test_speed_up_against_depth_is_the_mean_over_seeds(tmp_path):
    write_depths(tmp_path, seeds=2)
    (ax,) = (figure := speed_up.against_depth(load([tmp_path]))).axes
    assert ax.get_title(loc="left") == "digits, mlp, width 1024"
    assert line(ax, "layerwise local") == near([(4, 1.25), (8, 1.45), (16, 1.85)])
    assert line(ax, "data") == [(4, 1), (8, 1), (16, 1)]
    assert list(ax.get_xticks()) == [4, 8, 16]
    assert ax.get_ylim()[0] == 0
    assert legend(figure) == ["serial (the unit)", "data", "layerwise local"]
    title, caption = texts(figure)
    assert title == "Speed-up against depth"
    hardware = "Intel Xeon Platinum 8481C, 2 cores · 1 thread per worker"
    assert caption.replace("\n", " ") == f"{hardware} · mean ± 95 % interval over 2 seeds"


def test_speed_up_against_depth_is_one_line_whatever_the_steps(tmp_path):
    write_depths(tmp_path / "few", depths=(4, 8), dataset__num_train=3000)
    write_depths(tmp_path / "many", depths=(16,), dataset__num_train=1000)
    (ax,) = speed_up.against_depth(load([tmp_path])).axes
    assert [x for x, _ in line(ax, "layerwise local")] == [4, 8, 16]


def test_accuracy_against_blocks_starts_at_serial(tmp_path):
    write_run(tmp_path / "serial")
    for count in (2, 4):
        for seed, reached in ((0, 0.9), (1, 0.8)):
            measured = {"num_blocks": count, "test_accuracy": reached - count / 100}
            root = tmp_path / f"{count}-{seed}"
            write_run(root, "layerwise", measured=measured, seed=seed, mode__blocks=count)
    figure = blocks.against_blocks(load([tmp_path]))
    (ax,) = figure.axes
    assert line(ax, "layerwise local") == near([(2, 83), (4, 81)])
    assert [x for x, _ in line(ax, "serial")] == [1]
    assert list(ax.get_xticks()) == [1, 2, 4]


def test_a_panel_for_each_width_and_none_for_a_single_depth(tmp_path):
    write_depths(tmp_path / "narrow", architecture__width=64)
    write_depths(tmp_path / "wide", architecture__width=256)
    write_depths(tmp_path / "single", depths=(8,), architecture__width=512)
    figure = speed_up.against_depth(load([tmp_path]))
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "digits, mlp, width 64",
        "digits, mlp, width 256",
    ]
    assert len({ax.get_ylim() for ax in figure.axes}) == 1, "panels can be compared"


def test_speed_up_against_parameters(tmp_path):
    write_depths(tmp_path, depths=(4, 8))
    (ax,) = speed_up.against_parameters(load([tmp_path])).axes
    counts = [64 * 1024 + (depth - 1) * 1024**2 + 10 * 1024 for depth in (4, 8)]
    assert line(ax, "layerwise local") == near([(counts[0], 1.2), (counts[1], 1.4)])
    assert [ax.xaxis.get_major_formatter()(tick, 0) for tick in ax.get_xticks()] == ["3.22M", "7.42M"]


def test_where_depth_and_width_vary_a_line_over_parameters_is_of_one_width(tmp_path):
    for width in (64, 256):
        write_depths(tmp_path / str(width), depths=(4, 8), architecture__width=width)
    figure = speed_up.against_parameters(load([tmp_path]))
    assert legend(figure)[-2:] == ["layerwise local, width=64", "layerwise local, width=256"]
    assert [len(line(figure.axes[0], name)) for name in legend(figure)[-2:]] == [2, 2]


def test_speed_up_against_workers_shows_the_ideal_and_the_contended(tmp_path):
    write_run(tmp_path / "serial", measured={"train_seconds": 12.0})
    for count in (2, 4, 16):
        write_run(tmp_path / f"{count}", "data", workers=count, measured={"train_seconds": 24.0 / count})
    (ax,) = (figure := speed_up.against_workers(load([tmp_path]))).axes
    assert line(ax, "data") == [(2, 1), (4, 2), (16, 8)]
    assert [[1, 1], [16, 16]] in [drawn.get_xydata().tolist() for drawn in ax.get_lines()]
    assert ax.get_xscale() == "linear", "else the ideal would be no straight line"
    assert ax.get_ylim()[1] > 16
    hollow = [drawn for drawn in ax.get_lines() if drawn.get_markerfacecolor() == "white"]
    assert [drawn.get_xdata().tolist() for drawn in hollow] == [[4, 16]]
    assert legend(figure) == ["serial (the unit)", "ideal: one per worker", "data", "contended"]


def test_speed_up_against_bandwidth_has_one_worker_at_the_link_of_the_others(tmp_path):
    for interface, bandwidths in (("slow", (0.08, 0.12)), ("fast", (10.0, 10.0))):
        own = {"launcher__interface": interface}
        for seed, bandwidth in enumerate(bandwidths):
            place = tmp_path / f"{interface}{seed}"
            write_run(place / "serial", measured={"train_seconds": 12.0}, seed=seed, **own)
            write_run(
                place / "threads", measured={"train_seconds": 8.0}, seed=seed, threads_per_worker=2, **own
            )
            data = write_run(place / "data", "data", measured={"train_seconds": 24.0}, seed=seed, **own)
            link = {"other_nodes": [{"node": 1}], "link": {"bandwidth_gigabits": bandwidth}}
            RunDirectory(data).environment.write_text(json.dumps(ENVIRONMENT | link))
    (ax,) = (figure := speed_up.against_bandwidth(load([tmp_path]))).axes
    assert legend(figure) == ["serial (the unit)", "serial (2 threads)", "data"]
    assert line(ax, "data") == [(0.1, pytest.approx(0.5)), (10, pytest.approx(0.5))]
    assert line(ax, "serial (2 threads)") == [(0.1, pytest.approx(1.5)), (10, pytest.approx(1.5))]


def test_serial_on_all_cores_is_a_rival_not_the_unit(tmp_path):
    write_depths(tmp_path)
    for depth in (4, 8, 16):
        write_run(
            tmp_path / f"all{depth}",
            architecture__depth=depth,
            threads_per_worker=2,
            measured={"train_seconds": 8.0},
        )
    (ax,) = speed_up.against_depth(load([tmp_path])).axes
    assert line(ax, "serial (2 threads)") == [(4, 1.5), (8, 1.5), (16, 1.5)]
    assert line(ax, "serial") == []


def test_ticks_whose_labels_would_overlap_are_dropped():
    assert speed_up.apart([1, 2, 3, 50, 100], logarithmic=False) == [1, 50, 100]
    assert speed_up.apart([1, 2, 4, 8], logarithmic=True) == [1, 2, 4, 8]


def test_accuracy_curves_are_the_evaluations(tmp_path):
    root = write_run(tmp_path / "run", "data", epochs=4)
    results = load([root])
    (by_time,) = learning.accuracy_against_time(results).axes
    (by_epoch,) = learning.accuracy_against_epoch(results).axes
    evaluations = results.evaluations
    percent = (100 * evaluations["test_accuracy"]).tolist()
    assert line(by_time, "data") == near(list(zip(evaluations["train_seconds"], percent, strict=True)))
    assert line(by_epoch, "data") == near(list(zip([1, 2, 3, 4], percent, strict=True)))
    assert [95, 95] in [list(drawn.get_ydata()) for drawn in by_time.get_lines()], "the target"


def test_accuracy_curves_are_means_over_seeds_with_a_band(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"{seed}", seed=seed)
    results = load([tmp_path])
    (ax,) = learning.accuracy_against_time(results).axes
    means = results.evaluations.groupby("step")[["train_seconds", "test_accuracy"]].mean()
    drawn = line(ax, "serial")
    assert [x for x, _ in drawn] == pytest.approx(means["train_seconds"].tolist())
    assert [y for _, y in drawn] == pytest.approx((100 * means["test_accuracy"]).tolist())
    assert len(ax.collections) == 1


def test_an_interval_wider_than_the_picture_stays_within_it(tmp_path):
    """Over two seeds it is 12.7 standard errors: no bar's text leaves its panel, no band exceeds 100 %."""
    for seed, value in enumerate((1.0, 9.0)):
        for mode in ("serial", "data"):
            measured = {"train_seconds": value, "test_accuracy": 0.8 + value / 50}
            write_run(tmp_path / f"{mode}{seed}", mode, seed=seed, measured=measured)
    runs = load([tmp_path])
    for ax in (comparison.comparison(runs).axes[0], *learning.time_to_target(runs).axes):
        assert max(text.get_position()[0] for text in ax.texts) < ax.get_xlim()[1]
    for ax in learning.accuracy_against_time(runs).axes:
        for band in ax.collections:
            assert band.get_paths()[0].vertices[:, 1].min() >= 0
            assert band.get_paths()[0].vertices[:, 1].max() <= 100


def test_intervals_are_those_of_the_table_where_seeds_repeat(tmp_path):
    for seed, repeat in ((0, 0), (0, 1), (1, 0), (1, 1)):
        measured = {"train_seconds": 9.0 + seed + repeat / 2}
        write_run(tmp_path / f"s{seed}{repeat}", seed=seed, measured=measured)
        write_run(tmp_path / f"d{seed}{repeat}", "data", seed=seed, measured=measured)
    runs = load([tmp_path])
    means = mean_over_seeds(with_series(runs.summaries), ["series"], ["train_seconds"])
    expected = summarise(runs).set_index("label")["train_seconds_ci95"]
    assert means.set_index("series")["train_seconds_ci95"].to_dict() == pytest.approx(expected.to_dict())


def test_accuracy_over_epochs_has_one_line_whoever_was_paused(tmp_path):
    """Seconds are then no measurement, accuracies are; and the caption counts the seeds of every line."""
    for seed in range(3):
        write_run(tmp_path / f"s{seed}", seed=seed)
        paused = {"contended": seed == 2}
        write_run(tmp_path / f"l{seed}", "layerwise", seed=seed, measured=paused)
    write_run(tmp_path / "d", "data")
    runs = load([tmp_path])
    figure = learning.accuracy_against_epoch(runs)
    assert legend(figure) == ["serial", "data", "layerwise local", "target"]
    assert texts(figure)[1].replace("\n", " ").endswith("mean ± 95 % interval over 1 to 3 seeds")
    timed = learning.accuracy_against_time(runs)
    assert legend(timed) == ["serial", "data", "layerwise local *", "target"]


def test_cuts_that_were_varied_are_lines_of_their_own(tmp_path):
    """Where they only follow from the depth, they are none."""
    for depth in (4, 8):
        write_run(tmp_path / f"s{depth}", architecture__depth=depth, measured={"train_seconds": 12.0})
        for cut, seconds in (("balanced", 6.0), ("equal", 8.0)):
            measured = {"train_seconds": seconds}
            changes = {"architecture__depth": depth, "mode__partition": cut}
            write_run(tmp_path / f"l{depth}{cut}", "layerwise", measured=measured, **changes)
        changes = {"architecture__depth": depth, "mode__partition": [depth // 2]}
        write_run(tmp_path / f"p{depth}", "pipeline", measured={"train_seconds": 6.0}, **changes)
    (ax,) = (figure := speed_up.against_depth(load([tmp_path]))).axes
    assert legend(figure)[1:] == [
        "pipeline 1f1b",
        "layerwise local, partition=balanced",
        "layerwise local, partition=equal",
    ]
    assert line(ax, "layerwise local, partition=balanced") == [(4, 2), (8, 2)]


def test_of_two_ways_of_serial_training_the_slower_has_its_settings_in_the_legend(tmp_path):
    for depth in (4, 8):
        changes = {"architecture__depth": depth}
        write_run(tmp_path / f"a{depth}", measured={"train_seconds": 10.0}, **changes)
        slower = {"train_seconds": 12.0}
        write_run(tmp_path / f"b{depth}", mode__microbatches=4, measured=slower, **changes)
    figure = speed_up.against_depth(load([tmp_path]))
    assert legend(figure) == ["serial (the unit)", "serial, microbatches=4"]


def test_efficiency_is_per_processor_and_hollow_where_contended(tmp_path):
    write_run(tmp_path / "s", measured={"train_seconds": 12.0})
    for count in (2, 4):
        write_run(tmp_path / f"{count}", "data", workers=count, measured={"train_seconds": 12.0 / count})
    (ax,) = (figure := scaling.efficiency(load([tmp_path]))).axes
    assert ax.get_ylabel() == "speed-up per processor (%)"
    hollow = [drawn for drawn in ax.get_lines() if drawn.get_markerfacecolor() == "white"]
    assert [drawn.get_xdata().tolist() for drawn in hollow if len(drawn.get_xdata())] == [[4]]
    assert legend(figure)[-1] == "contended"


def test_time_to_target_counts_a_seed_that_diverged(tmp_path):
    for seed in range(2):
        write_run(tmp_path / f"{seed}", "data", seed=seed, measured={"time_to_target_seconds": 4.0})
    write_ended(tmp_path / "2", "data", seed=2, status="diverged", message="loss became nan")
    (ax,) = learning.time_to_target(load([tmp_path])).axes
    assert [text.get_text() for text in ax.texts] == ["∞: 2 of 3 reached it"]


def test_time_to_target_names_what_never_got_there(tmp_path):
    for mode, times in (("serial", [8.0, 10.0]), ("data", [4.0, None]), ("pipeline", [None, None])):
        for seed, value in enumerate(times):
            write_run(tmp_path / f"{mode}{seed}", mode, seed=seed, measured={"time_to_target_seconds": value})
    (ax,) = learning.time_to_target(load([tmp_path])).axes
    assert bars(ax) == [("serial", 9), ("data", 4), ("pipeline 1f1b", 0)]
    written = [text.get_text() for text in ax.texts]
    assert written == ["9.00 s", "∞: 1 of 2 reached it", "∞: 0 of 2 reached it"]
    assert ax.get_xlim()[0] == 0


def test_busy_exchanging_and_waiting_seconds_stack_to_the_workers_time(tmp_path):
    root = write_run(tmp_path / "run", "pipeline", workers=2, measured={"train_seconds": 10.0})
    write_run(tmp_path / "serial")
    results = load([tmp_path])
    (ax,) = workers.where_the_time_goes(results).axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        "serial",
        "pipeline 1f1b · worker 0",
        "worker 1",
    ]
    busy, exchanging, waiting = ax.containers
    ranks = results.summaries.set_index("path").loc[str(root), "ranks"]
    for bars, key in ((busy, "busy"), (exchanging, "exchange"), (waiting, "wait")):
        assert [bar.get_width() for bar in bars][1:] == pytest.approx(
            [rank[f"{key}_seconds"] for rank in ranks]
        )
    assert [bar.get_x() for bar in exchanging][1:] == [rank["busy_seconds"] for rank in ranks]
    assert [bar.get_x() for bar in waiting][1:] == pytest.approx(
        [rank["busy_seconds"] + rank["exchange_seconds"] for rank in ranks]
    )
    assert {bar.get_hatch() for bar in waiting} == {"////"}, "legible without colour"


def test_runs_that_did_not_count_exchanging_show_none(tmp_path):
    files = RunDirectory(write_run(tmp_path / "run", "pipeline"))
    summary = json.loads(files.summary.read_text())
    for rank in summary["ranks"]:
        rank["busy_seconds"] += rank.pop("exchange_seconds")
    files.summary.write_text(json.dumps(summary))
    (ax,) = workers.where_the_time_goes(load([tmp_path])).axes
    assert [bar.get_width() for bar in ax.containers[1]] == [0, 0]
    assert [bar.get_x() for bar in ax.containers[2]] == [rank["busy_seconds"] for rank in summary["ranks"]]


def test_where_a_phase_begins_a_line_with_its_name(tmp_path):
    phases = {"warmup": {"epochs": 1}, "blocks": {"epochs": 3}, "finish": {"epochs": 1}}
    write_run(tmp_path / "hybrid", phases=phases, measured={"train_seconds": 10.0})
    write_run(tmp_path / "serial")
    for draw_figure, borders in (
        (learning.accuracy_against_time, [2, 8]),
        (learning.accuracy_against_epoch, [1, 4]),
    ):
        (ax,) = draw_figure(load([tmp_path])).axes
        assert [line(ax, name)[0][0] for name in ("blocks", "finish")] == pytest.approx(borders)
        assert [text.get_text() for text in ax.texts] == ["blocks", "finish"]


def write_trace(root, *spans):
    """A run's trace: each span is (rank, kind, start and duration in milliseconds, what it worked on)."""
    events = [{"name": "thread_name", "ph": "M", "pid": 0, "tid": 0, "args": {"name": "worker 0"}}]
    for rank, kind, start, length, where in spans:
        event = {"name": kind, "cat": kind, "ph": "X", "ts": 1000 * start, "dur": 1000 * length}
        events.append(event | {"pid": 0, "tid": rank, "args": where})
    RunDirectory(root).trace.write_text(json.dumps({"traceEvents": events}))


def boxes(ax, kind):
    """Row, start and length of every box of a kind."""
    found = [drawn for drawn in ax.collections if drawn.get_label() == kind]
    corners = [path.get_extents() for drawn in found for path in drawn.get_paths()]
    return sorted((round((box.y0 + box.y1) / 2), box.x0, box.width) for box in corners)


def test_the_timeline_has_a_row_per_worker_and_one_scale_for_all_runs(tmp_path):
    write_trace(
        write_run(tmp_path / "serial"),
        (0, "step", 50, 30, {"batch": 4}),
        (0, "forward", 50, 10, {"batch": 4}),
        (0, "backward", 60, 19, {"batch": 4}),
    )
    write_trace(
        write_run(tmp_path / "pipeline", "pipeline"),
        (0, "step", 102, 10, {"batch": 4}),
        (0, "forward", 102, 5, {"batch": 4, "stage": 0, "microbatch": 1}),
        (0, "exchange", 105, 2, {"batch": 4}),
        (1, "step", 100, 12, {"batch": 4}),
        (1, "wait", 100, 7, {"batch": 4}),
        (1, "backward", 107, 5, {"batch": 4, "stage": 1, "microbatch": 0}),
    )
    write_run(tmp_path / "not traced", "data")
    serial, pipeline = (figure := timeline.timeline(load([tmp_path]))).axes
    assert [ax.get_title(loc="left") for ax in (serial, pipeline)] == ["serial", "pipeline 1f1b"]
    assert serial.get_xlim() == pipeline.get_xlim() == (0, 30)
    assert boxes(serial, "backward") == near([(0, 10, 19)])
    assert [tick.get_text() for tick in pipeline.get_yticklabels()] == ["worker 0", "worker 1"]
    assert boxes(pipeline, "forward") == near([(0, 2, 5)])
    assert boxes(pipeline, "wait") == near([(1, 0, 7)])
    numbers = {text.get_text(): text.get_position() for text in pipeline.texts}
    assert numbers == {"4.1": (pytest.approx(3.5), 0), "4.0": (pytest.approx(9.5), 1)}, "on what is seen"
    assert legend(figure) == ["other", "forward", "backward", "exchanging", "waiting for a peer"]


def test_numbers_that_do_not_fit_their_box_are_left_out(tmp_path):
    spans = [(0, "forward", 0, 1, {"batch": 7}), (0, "backward", 1, 99, {"batch": 7})]
    write_trace(write_run(tmp_path / "run"), *spans)
    (ax,) = timeline.timeline(load([tmp_path])).axes
    assert [text.get_position() for text in ax.texts] == [(pytest.approx(50.5), 0)]


def test_of_each_way_of_training_one_seed_has_a_timeline(tmp_path):
    for seed in (0, 1):
        write_trace(write_run(tmp_path / str(seed), seed=seed), (0, "forward", 0, 1 + seed, {"batch": 7}))
    (ax,) = timeline.timeline(load([tmp_path])).axes
    assert boxes(ax, "forward") == [(0, 0, 1)]


def test_a_line_for_the_loss_of_each_block(tmp_path):
    write_run(tmp_path / "run", "layerwise", workers=3, epochs=2)
    write_run(tmp_path / "serial")
    (ax,) = (figure := workers.block_loss(load([tmp_path]))).axes
    assert ax.get_title(loc="left") == "digits, mlp, depth 8, width 1024\nlayerwise local"
    assert line(ax, "block 2") == near([(1, 0.8 * 0.6), (2, 0.8 * 0.36)])
    assert legend(figure) == ["block 0", "block 1", "block 2"]


def test_the_comparison_has_the_fastest_on_top_and_its_speed_up_beside(tmp_path):
    for mode, value in (("serial", 12.0), ("data", 16.0), ("layerwise", 6.0)):
        write_run(tmp_path / mode, mode, measured={"train_seconds": value})
    left, right = (figure := comparison.comparison(load([tmp_path]))).axes
    assert bars(left) == [("layerwise local", 6), ("serial", 12), ("data", 16)]
    assert [text.get_text() for text in left.texts] == ["6.00 s  2.00x", "12.0 s  1.00x", "16.0 s  0.75x"]
    assert line(right, "layerwise local")[-1][0] == 6
    assert legend(figure) == ["serial", "data", "layerwise local", "target"]
    assert texts(figure)[0] == "Training digits, mlp, depth 8, width 1024"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("comparison", "needs two ways of training"),
        ("speedup_vs_depth", "no run has a matching serial run"),
        ("speedup_vs_parameters", "no run has a matching serial run"),
        ("speedup_vs_bandwidth", "no run has a matching serial run"),
        ("speedup_vs_workers", "no run has a matching serial run"),
        ("accuracy_vs_time", "needs a run with two evaluations"),
        ("accuracy_vs_epoch", "needs a run with two evaluations"),
        ("time_to_target", "needs runs with a target_accuracy"),
        ("block_loss", "needs a run that logs a loss per block"),
    ],
)
def test_a_figure_without_its_data_says_what_it_takes(tmp_path, name, reason):
    write_run(tmp_path / "run", "data", epochs=1, target_accuracy=None)
    with pytest.raises(FigureSkippedError, match=reason):
        FIGURES[name](load([tmp_path]))


@pytest.mark.parametrize("name", FIGURES)
def test_no_figure_without_a_finished_run(tmp_path, name):
    write_ended(tmp_path / "run", "data", status="failed")
    with pytest.raises(FigureSkippedError):
        FIGURES[name](load([tmp_path]))


def test_a_target_that_nobody_reached_makes_no_figure(tmp_path):
    write_run(tmp_path / "run", measured={"time_to_target_seconds": None})
    with pytest.raises(FigureSkippedError, match="no run reached its target_accuracy"):
        learning.time_to_target(load([tmp_path]))


def test_diverged_runs_are_not_drawn_among_the_finished(tmp_path):
    write_run(tmp_path / "0", "data")
    write_ended(tmp_path / "1", "data", seed=1, status="diverged")
    results = load([tmp_path])
    (ax,) = learning.accuracy_against_time(results).axes
    own = results.evaluations[results.evaluations["path"] == str(tmp_path / "0")]
    assert [x for x, _ in line(ax, "data")] == own["train_seconds"].tolist()
    assert math.isinf(results.summaries.set_index("status").loc["diverged", "time_to_target_seconds"])


def test_plot_writes_png_and_svg_and_says_what_it_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "FIGURES", {name: FIGURES[name] for name in ("comparison", "speedup_vs_depth")})
    write_comparison(tmp_path / "runs")
    (tmp_path / "runs" / "data-0" / "summary.json").write_text("{")
    drawn = draw.plot([tmp_path / "runs"], tmp_path / "figures" / "here")
    assert drawn.written == [tmp_path / "figures" / "here" / f"comparison.{form}" for form in ("png", "svg")]
    assert drawn.written[0].read_bytes().startswith(b"\x89PNG")
    assert xml.etree.ElementTree.parse(drawn.written[1]).getroot().tag.endswith("svg")
    (reason,) = drawn.not_drawn.items()
    assert reason == (
        "speedup_vs_depth",
        "needs one way of training with two depths, and matching serial runs",
    )
    assert drawn.skipped == [f"{tmp_path / 'runs' / 'data-0'}: summary.json is not whole JSON"]


def test_the_same_runs_give_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "FIGURES", {"time_to_target": learning.time_to_target})
    write_run(tmp_path / "runs" / "run")
    once, again = (draw.plot([tmp_path / "runs"], tmp_path / name).written for name in "ab")
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


def test_every_file_is_the_same_whatever_was_drawn_before_it(tmp_path):
    """And a PNG has as many dots per inch as layout says."""
    write_run(tmp_path / "runs" / "run")
    runs, found = load([tmp_path / "runs"]), []
    orders = (("png", "svg", "pdf"), ("pdf", "svg", "png"), ("svg", "png", "pdf"))
    for number, order in enumerate(orders):
        picture = draw.picture(runs, "time_to_target")
        size = picture.figure.get_size_inches()
        (tmp_path / str(number)).mkdir()
        files = {file.suffix: file for file in picture.save(tmp_path / str(number), order)}
        found.append({suffix: file.read_bytes() for suffix, file in files.items()})
        with Image.open(files[".png"]) as image:
            assert image.size == tuple((size * layout.RC["savefig.dpi"]).astype(int))
    assert found[0] == found[1] == found[2]


def test_a_folder_that_cannot_be_written_is_the_users_mistake(tmp_path):
    write_run(tmp_path / "runs" / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="try --output FOLDER"):
        draw.plot([tmp_path / "runs"], tmp_path / "file" / "figures")


def check_texts(root, name):
    """No text leaves the picture or covers another."""
    with rc_context(layout.RC):
        figure = FIGURES[name](load([root]))
        figure.draw_without_rendering()
    labels = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            labels += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        labels += [ax.xaxis.label, ax.yaxis.label]
        labels += [child for child in ax.get_children() if isinstance(child, Text)]
    boxes = [label.get_window_extent() for label in labels if label.get_text()]
    frame = figure.bbox
    for box in boxes:
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
    assert not [(one, other) for i, one in enumerate(boxes) for other in boxes[:i] if one.overlaps(other)]


@pytest.mark.parametrize("name", ["comparison", "accuracy_vs_time", "where_the_time_goes"])
def test_no_text_leaves_the_picture_or_covers_another(tmp_path, name):
    write_comparison(tmp_path, seeds=2)
    check_texts(tmp_path, name)


@pytest.mark.parametrize(
    "name", ["comparison", "time_to_target", "where_the_time_goes", "accuracy_vs_time", "block_loss"]
)
def test_names_of_many_settings_have_room(tmp_path, name):
    for number in range(1, 4):
        settings = {"mode__queue_depth": number, "objective__microbatches": 4 * number}
        many = {"optimizer__momentum": number / 10, "aggregation__every": number, "batch_size": 64 * number}
        write_run(tmp_path / str(number), "layerwise", **settings, **many)
    check_texts(tmp_path, name)


def test_names_tell_apart_what_is_in_their_panel_only(tmp_path):
    for depth, batch_size in ((4, 64), (8, 128)):
        for mode in ("serial", "data"):
            write_run(tmp_path / f"{mode}{depth}", mode, architecture__depth=depth, batch_size=batch_size)
    for ax in workers.where_the_time_goes(load([tmp_path])).axes:
        names = [tick.get_text() for tick in ax.get_yticklabels()]
        assert names == ["serial", "data · worker 0", "worker 1"]
    assert legend(learning.accuracy_against_time(load([tmp_path]))) == ["serial", "data", "target"]


def test_what_more_workers_cost_starts_at_one(tmp_path):
    write_run(tmp_path / "serial")
    for count in (2, 4):
        ranks = [
            {
                "rank": rank,
                "busy_seconds": 3.0,
                "wait_seconds": 0.5,
                "exchange_seconds": 0.5,
                "sent_bytes": MEBIBYTE * 500,
            }
            | {"peak_memory_bytes": (250 + 100 / count) * MEBIBYTE, "idle_memory_bytes": 250 * MEBIBYTE}
            for rank in range(count)
        ]
        write_run(tmp_path / f"{count}", "data", workers=count, measured={"ranks": ranks, "steps": 500})
    runs = load([tmp_path])
    (ax,) = scaling.communication(runs).axes
    assert line(ax, "data") == [(2, 2), (4, 4)]
    (ax,) = scaling.compute_to_communication(runs).axes
    assert line(ax, "data") == [(2, 3), (4, 3)]
    (ax,) = scaling.memory(runs).axes
    assert line(ax, "data") == [(2, 50), (4, 25)]
    assert [x for x, _ in line(ax, "serial")] == [1]
    assert ax.get_ylim()[0] == 0


def test_loss_curves_have_no_target_accuracy(tmp_path):
    write_run(tmp_path / "run", "data", epochs=2)
    runs = load([tmp_path])
    (ax,) = (figure := learning.loss_against_epoch(runs)).axes
    assert line(ax, "data") == near([(1, 2.3 * 0.4), (2, 2.3 * 0.16)])
    assert legend(figure) == ["data"]
    assert ax.get_ylabel() == "test loss"


def test_a_figure_can_be_a_pdf_that_is_the_same_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "FIGURES", {"time_to_target": learning.time_to_target})
    write_run(tmp_path / "runs" / "run")
    once, again = (draw.plot([tmp_path / "runs"], tmp_path / name, formats=["pdf"]).written for name in "ab")
    assert [path.name for path in once] == ["time_to_target.pdf"]
    assert once[0].read_bytes() == again[0].read_bytes()
    with pytest.raises(UserError, match="--format=gif is not known"):
        draw.plot([tmp_path / "runs"], tmp_path, formats=["gif"])
