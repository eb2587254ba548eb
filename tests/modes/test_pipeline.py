"""Pipeline parallelism is backpropagation in another order: gradients are serial's, whatever the schedule."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import build, captured, counted, largest_difference, on_workers, take_epochs, tiny, weights_after
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage

from layerpar.architectures.running_statistics import in_microbatches
from layerpar.check import check
from layerpar.config import RunConfig
from layerpar.datasets.base import LoaderSpec
from layerpar.errors import UserError
from layerpar.pipeline.schedules import SCHEDULES, check_microbatches
from layerpar.rendezvous.ranks import Ranks
from layerpar.scoring import evaluate

STEPS = 2
CONVOLUTIONS = ("architecture=cnn", "architecture.depth=4", "architecture.width=4", "architecture.stages=2")

DEEP = "architecture.depth=8"


def pipeline(schedule: str, *overrides: str) -> RunConfig:
    return tiny("mode=pipeline", f"mode.schedule={schedule}", "mode.partition=equal", *overrides)


@cache
def serial(*overrides: str) -> dict[str, Tensor]:
    return weights_after(tiny("mode=serial", *overrides), STEPS)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_equals_serial(schedule: str) -> None:
    """With activations that cross as (batch, height, width, channel), since they are channels_last."""
    network = (*CONVOLUTIONS, "architecture.norm=none")
    assert largest_difference(serial(*network), weights_after(pipeline(schedule, *network), STEPS)) < 1e-6


@pytest.mark.parametrize("schedule", ["1f1b", "dualpipev"])
def test_four_workers_equal_serial(schedule: str) -> None:
    config = pipeline(schedule, DEEP, "mode.microbatches=8", "workers=4")
    assert largest_difference(serial(DEEP), weights_after(config, STEPS)) < 1e-6


def test_more_stages_per_worker_equal_serial() -> None:
    config = pipeline("interleaved_1f1b", DEEP, "mode.stages_per_worker=3")
    assert largest_difference(serial(DEEP), weights_after(config, STEPS)) < 1e-6


@pytest.mark.parametrize("schedule", ["1f1b", "looped_bfs", "zbv"])
def test_batch_norm_sees_micro_batches(schedule: str) -> None:
    """Written out: statistics of each micro-batch in turn, gradients of all of them."""
    config = pipeline(schedule, *CONVOLUTIONS, "architecture.norm=batch")
    info = config.dataset.info()
    network = config.architecture.create(info.input_shape, info.num_classes, seed=config.seed).plain
    in_microbatches(network, 4)
    updater = config.optimizer.updater(network.parameters(), 6)
    request = LoaderSpec(
        seed=0, batch_size=16, shard=slice(0, 16), images=True, device=torch.device("cpu"), channels_last=True
    )
    batches = config.dataset.loader(request).train(0)
    for _ in range(STEPS):
        batch = next(batches)
        for images, labels in zip(batch.images.split(4), batch.labels.split(4), strict=True):
            (nn.functional.cross_entropy(network(images), labels) / 4).backward()
        updater.step()
    assert largest_difference(network.state_dict(), weights_after(config, STEPS)) < 1e-6


def learned(ranks: Ranks, config: RunConfig) -> tuple[float, float]:
    engine, loader = build(config, ranks)
    take_epochs(engine, loader, config.epochs)
    return evaluate(engine, loader.test(), device=torch.device("cpu"))


@pytest.mark.parametrize("schedule", ["1f1b", "dualpipev"])
def test_a_network_with_batch_norm_learns(schedule: str) -> None:
    data = ("dataset.train_limit=640", "dataset.test_limit=200", "batch_size=32", "epochs=3")
    network = ("architecture.width=32", "architecture.norm=batch")
    scores = on_workers(learned, 2, pipeline(schedule, *data, *network))
    assert scores[0] == scores[1], "every worker knows them"
    assert scores[0][0] > 0.6, "chance is 0.1"


@pytest.mark.parametrize(
    ("schedule", "borders"), [("1f1b", [1, 1]), ("interleaved_1f1b", [3, 3]), ("zbv", [2, 2])]
)
def test_what_leaves_a_worker_is_counted(schedule: str, borders: list[int]) -> None:
    activation = 16 * 12 * 4
    stopwatches = on_workers(counted, 2, pipeline(schedule), STEPS)
    for stopwatch, crossed in zip(stopwatches, borders, strict=True):
        assert stopwatch.sent_bytes == STEPS * crossed * activation
        assert 0 < stopwatch.wait_seconds < stopwatch.seconds


def test_stages_are_laid_out_as_a_loop_or_a_v() -> None:
    assert SCHEDULES["1f1b"].placement(3, 1) == [[0], [1], [2]]
    assert SCHEDULES["interleaved_1f1b"].placement(2, 3) == [[0, 2, 4], [1, 3, 5]]
    assert SCHEDULES["zbv"].placement(3, 2) == [[0, 5], [1, 4], [2, 3]]


def accepted(ranks: Ranks) -> dict[tuple[str, int], bool]:
    """Which numbers of micro-batches torch's own constructors take."""
    found = {}
    for name, schedule in SCHEDULES.items():
        per_worker = schedule.stages_per_worker
        mine = schedule.placement(ranks.world_size, per_worker)[ranks.rank]
        for microbatches in range(1, 12):
            stages = [
                PipelineStage(nn.Linear(1, 1), stage, ranks.world_size * per_worker, torch.device("cpu"))
                for stage in mine
            ]
            try:
                schedule.build(stages, microbatches, nn.functional.mse_loss)
            except ValueError:
                found[name, microbatches] = False
            else:
                found[name, microbatches] = True
    return found


def test_torch_takes_as_many_micro_batches_as_we_let_through() -> None:
    workers = 3
    for (name, microbatches), taken in on_workers(accepted, workers)[0].items():
        let_through = SCHEDULES[name].takes(microbatches, workers)
        assert let_through == taken or (name == "gpipe" and taken), (name, microbatches)


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    microbatches=st.integers(1, 64),
    batch_size=st.integers(1, 256),
    workers=st.integers(2, 8),
)
def test_the_repair_of_a_refused_number_works(
    name: str, microbatches: int, batch_size: int, workers: int
) -> None:
    try:
        check_microbatches(name, microbatches, batch_size=batch_size, workers=workers)
    except UserError as error:
        key, _, number = str(error).rpartition("; try ")[2].partition("=")
        given = {"microbatches": microbatches, "batch_size": batch_size}
        given[key.removeprefix("mode.")] = int(number)
        if key == "batch_size":
            given["microbatches"] = int(number)
        check_microbatches(name, given["microbatches"], batch_size=given["batch_size"], workers=workers)


REFUSED = {
    "uneven micro-batches": (["batch_size=64", "mode.microbatches=3"], "try mode.microbatches=4"),
    "too few for 1f1b": (["mode.microbatches=1"], "try mode.microbatches=2"),
    "too few for dualpipev": (["mode.schedule=dualpipev", "mode.microbatches=2"], "try mode.microbatches=4"),
    "uneven rounds": (
        ["mode.schedule=interleaved_1f1b", "mode.microbatches=5", "batch_size=40"],
        "try mode.microbatches=4",
    ),
    "alone": (["workers=1"], "try workers=2"),
    "more workers than layers": (["workers=6"], "try workers=5"),
    "more stages than layers": (["workers=3", "mode.schedule=zbv"], "try workers=2"),
    "cuts for other stages": (["mode.partition=[1,2]"], "try mode.partition=[2]"),
    "cuts out of order": (["mode.partition=[9]"], "try mode.partition=[2]"),
    "compiled in two parts": (
        ["mode.schedule=zbv", "compile=true", "warmup_steps=1"],
        "try compile=false",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_is_refused_with_the_repair(name: str) -> None:
    overrides, repair = REFUSED[name]
    with pytest.raises(UserError) as refused:
        check(tiny("mode=pipeline", *overrides))
    assert repair in str(refused.value)


@pytest.mark.parametrize("schedule", ["gpipe", "zbv"])
def test_a_schedule_that_is_not_a_loop_has_its_own_number_of_stages(schedule: str) -> None:
    with pytest.raises(UserError) as refused:
        pipeline(schedule, "mode.stages_per_worker=3")
    assert "try mode.stages_per_worker=null" in str(refused.value)


@pytest.mark.parametrize("schedule", ["1f1b", "looped_bfs"])
def test_compiled_stages_equal_serial(schedule: str) -> None:
    states = on_workers(captured, 2, pipeline(schedule, "compile=true"), STEPS)
    [state] = [state for state in states if state is not None]
    assert largest_difference(serial(), state) < 1e-6
