"""Pipelines in time, over the actions that this torch itself lists."""

from __future__ import annotations

from collections import defaultdict

import pytest
from equal_layers import FREE, equal_layers
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny

from layerpar.pipeline.schedules import SCHEDULES
from layerpar.predict.links import Link
from layerpar.predict.methods import Prediction, method
from layerpar.predict.methods.pipeline import StageSeconds, most_under_way, pipeline_tasks
from layerpar.predict.simulate import simulate
from layerpar.predict.torch_actions import Action, listed_actions


def actions_of(name: str, *, workers: int, microbatches: int) -> list[list[list[Action]]]:
    schedule = SCHEDULES[name]
    return listed_actions(
        schedule, workers=workers, stages_per_worker=schedule.stages_per_worker, microbatches=microbatches
    )


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("workers", "microbatches"), [(2, 4), (4, 8), (3, 6)])
def test_torch_lists_every_forward_and_backward_once(name: str, workers: int, microbatches: int) -> None:
    actions = actions_of(name, workers=workers, microbatches=microbatches)
    counted: dict[tuple[str, int], int] = defaultdict(int)
    for own in actions:
        for group in own:
            for kind, stage, _ in group:
                counted[kind, stage] += 1
    for stage in range(workers * SCHEDULES[name].stages_per_worker):
        assert counted["F", stage] == microbatches
        assert counted["B", stage] + counted["I", stage] == microbatches
        assert counted["W", stage] == counted["I", stage]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("workers", "microbatches"), [(2, 4), (4, 8)])
def test_neighbours_take_micro_batches_in_the_order_in_which_they_are_sent(
    name: str, workers: int, microbatches: int
) -> None:
    orders: dict[tuple[str, int], list[int]] = defaultdict(list)
    for own in actions_of(name, workers=workers, microbatches=microbatches):
        for group in own:
            for kind, stage, microbatch in group:
                orders["F" if kind == "F" else "B" if kind in "BI" else "W", stage].append(microbatch)
    for stage in range(workers * SCHEDULES[name].stages_per_worker - 1):
        for kind in "FB":
            # torch 2.14 numbers the forwards of 1F1B's last stage from 1.
            first, second = (
                [number - min(order) for number in order]
                for order in (orders[kind, stage], orders[kind, stage + 1])
            )
            assert first == second


def test_the_pictures_of_gpipe_and_1f1b() -> None:
    def picture(name: str) -> list[str]:
        return [
            " ".join(f"{kind}{microbatch}" for group in own for kind, _, microbatch in group)
            for own in actions_of(name, workers=2, microbatches=3)
        ]

    assert picture("gpipe") == ["F0 F1 F2 B0 B1 B2"] * 2
    assert picture("1f1b")[0] == "F0 F1 B0 F2 B1 B2"


def step_seconds(name: str, *, workers: int, microbatches: int, link: Link = FREE) -> float:
    schedule = SCHEDULES[name]
    num_stages = workers * schedule.stages_per_worker
    programs, channels = pipeline_tasks(
        actions_of(name, workers=workers, microbatches=microbatches),
        [StageSeconds(1.0, 1.0, 1.0, 0.0)] * num_stages,
        [100.0] * (num_stages - 1),
        steps=1,
        ahead=0 if schedule.stages_per_worker == 1 else None,
        action_seconds=0.0,
    )
    return max(own.end for own in simulate(programs, channels, link))


@settings(deadline=None)
@given(workers=st.integers(2, 6), more=st.integers(0, 8), name=st.sampled_from(["gpipe", "1f1b"]))
def test_the_bubble_has_its_closed_form(workers: int, more: int, name: str) -> None:
    microbatches = workers + more
    assert step_seconds(name, workers=workers, microbatches=microbatches) == 3 * (microbatches + workers - 1)


@pytest.mark.parametrize(("microbatches", "speed_up"), [(4, 1.60), (8, 1.78), (32, 1.94)])
def test_two_workers_without_latency_give_the_known_speed_up_of_1f1b(
    microbatches: int, speed_up: float
) -> None:
    serial = 2 * 3 * microbatches
    predicted = serial / step_seconds("1f1b", workers=2, microbatches=microbatches)
    assert predicted == 2 * microbatches / (microbatches + 1)
    assert predicted == pytest.approx(speed_up, abs=0.005)


def test_zero_bubble_schedules_wait_less() -> None:
    plain = 2 * step_seconds("1f1b", workers=4, microbatches=8)  # stages of twice the layers
    interleaved = step_seconds("interleaved_1f1b", workers=4, microbatches=8)
    zbv = step_seconds("zbv", workers=4, microbatches=8)
    assert 2 * 3 * 8 <= zbv < interleaved < plain


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    slow=st.floats(1.0, 1e4),
    factor=st.floats(1.0, 100.0),
)
def test_more_bandwidth_never_takes_longer(name: str, slow: float, factor: float) -> None:
    ends = [
        step_seconds(name, workers=2, microbatches=4, link=Link("any", 0.01, bandwidth))
        for bandwidth in (slow, slow * factor)
    ]
    assert ends[1] <= ends[0] * (1 + 1e-12)


def test_1f1b_keeps_as_many_micro_batches_as_there_are_stages_to_come() -> None:
    actions = actions_of("1f1b", workers=4, microbatches=8)
    assert [dict(most_under_way(own)) for own in actions] == [{0: 4}, {1: 3}, {2: 2}, {3: 1}]
    gpipe = actions_of("gpipe", workers=4, microbatches=8)
    assert [most_under_way(own)[stage] for stage, own in enumerate(gpipe)] == [8] * 4


def predict(*overrides: str) -> Prediction:
    config = tiny("mode=pipeline", *overrides)
    return method(config.mode, config, 10).predict(equal_layers(8, samples=4), FREE, 10)


def test_a_pipeline_of_equal_layers_is_cut_evenly_and_sends_activations_and_gradients() -> None:
    found = predict("workers=2", "mode.microbatches=4")
    # The first layer has no gradient to its input, so its stage is ahead.
    assert found.cuts == [4]
    assert found.sent_bytes == 2 * 16 * 10 * 4
    assert found.seconds == pytest.approx(4 * 12 + 12 - 1, abs=1.5)
