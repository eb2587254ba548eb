"""Phases: one way of training after the other, over the same weights, as if nothing had come between."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from tiny import largest_difference, on_workers, take_epochs, tiny
from torch import Tensor

from layerpar.check import check
from layerpar.config import RunConfig
from layerpar.datasets.base import DatasetInfo
from layerpar.datasets.digits import Digits
from layerpar.errors import UserError
from layerpar.loop import Progress, train_epoch
from layerpar.measure.stopwatch import Stopwatch
from layerpar.phases import assemble, hand_over
from layerpar.rendezvous.ranks import Ranks
from layerpar.summary.content import Results, summary

Weights = dict[str, Tensor]
CUT = "mode.partition=[2]"


def phases(*kinds: str, epochs: int = 1) -> list[str]:
    """Overrides for a run whose phases are these, each a row of overrides such as `mode=layerwise`."""
    given = [f"epochs={epochs * len(kinds)}"]
    for number, kind in enumerate(kinds):
        given.append(f"+phases.p{number}.epochs={epochs}")
        for override in kind.split():
            key, _, value = override.partition("=")
            place = f"phases.p{number}.{key}"
            given.append(f"{place}={value}" if "." in key else f"+{key}@{place}={value}")
    return given


def trained_through(ranks: Ranks, config: RunConfig) -> tuple[Weights | None, Progress, Stopwatch]:
    """All phases, without evaluations and records."""
    stopwatch, progress, handed_over = Stopwatch(torch.device("cpu")), Progress(), None
    for index, phase in enumerate(config.parts):
        _, engine, loader = assemble(config, ranks, stopwatch, phase=index, handed_over=handed_over)
        progress.phase_seconds.append(0.0)
        for _ in range(phase.config.epochs):
            list(train_epoch(engine, loader, config, progress, stopwatch=stopwatch))
        if index + 1 < len(config.parts):
            handed_over = hand_over(config, index, engine)
    return engine.full_state(), progress, stopwatch


def run(*overrides: str) -> Weights:
    """The weights that a run ends with."""
    config = tiny(*overrides)
    held = [state for state, _, _ in on_workers(trained_through, config.num_workers, config) if state]
    assert len(held) == 1, "exactly one rank owns the network"
    return held[0]


@cache
def serial(optimizer: str) -> Weights:
    return run("mode=serial", "epochs=3", *optimizer.split())


ONECYCLE = "optimizer=sgd optimizer.schedule.name=onecycle"
LIKE_SERIAL = {
    "serial": ("mode=serial", "optimizer=sgd", 0.0),
    "one block, local": ("mode=layerwise objective=local mode.blocks=1", ONECYCLE, 0.0),
    "one block, delayed": ("mode=layerwise objective=delayed mode.blocks=1", "optimizer=adamw", 0.0),
    "no delay": (f"mode=layerwise objective=delayed objective.link_delay=0 {CUT}", "optimizer=sgd", 0.0),
    "no delay, AdamW": (
        f"mode=layerwise objective=delayed objective.link_delay=0 {CUT}",
        "optimizer=adamw",
        0.0,
    ),
    "no delay, in micro-batches": (
        f"mode=layerwise objective=delayed objective.link_delay=0 objective.microbatches=4 {CUT}",
        "optimizer=sgd",
        1e-5,
    ),
    "data on one worker": ("mode=data", "optimizer=sgd", 0.0),
    "pipeline": (f"mode=pipeline mode.microbatches=2 {CUT}", "optimizer=sgd", 1e-5),
}
"""Ways of training that take the steps of serial, with an optimizer, and how near they come."""


@pytest.mark.parametrize("name", LIKE_SERIAL)
def test_phases_that_train_alike_are_one_run(name: str) -> None:
    """Weights, momentum and the learning rate's schedule go on over the border, there and back."""
    kind, optimizer, tolerance = LIKE_SERIAL[name]
    workers = "workers=2" if CUT in kind else "workers=1"
    parts = run(*phases("mode=serial", kind, "mode=serial"), workers, *optimizer.split())
    assert largest_difference(serial(optimizer), parts) <= tolerance


def test_without_the_moments_it_would_be_another_run() -> None:
    """So the test above would notice: AdamW hands nothing to SGD."""
    whole = run("mode=serial", "epochs=2")
    parts = run(*phases("mode=serial optimizer=adamw", "mode=serial optimizer=sgd"))
    assert largest_difference(whole, parts) > 1e-3


def moments_left(ranks: Ranks, config: RunConfig) -> Any:
    _, engine, loader = assemble(config, ranks, Stopwatch(torch.device("cpu")))
    take_epochs(engine, loader, 1)
    return hand_over(config, 0, engine).moments


@pytest.mark.parametrize(
    ("kind", "gives"),
    [
        ("mode=data aggregation=ema", False),
        (f"mode=layerwise aggregation=ema {CUT}", False),
        ("mode=serial aggregation=ema", True),
        ("mode=data aggregation=damped", True),
    ],
)
def test_moments_of_other_weights_than_those_handed_over_stay_behind(kind: str, gives: bool) -> None:
    """`ema` hands over an average, and the moments are those of what was averaged."""
    config = tiny(*phases(kind, "mode=serial"), "workers=2")
    for moments in on_workers(moments_left, 2, config)[: config.parts[0].config.mode.num_workers(2)]:
        assert bool(moments) == gives


def test_a_head_begins_afresh_beside_layers_that_bring_their_momentum() -> None:
    kinds = (
        "mode=serial",
        f"mode=layerwise objective=local objective.overlap=1 {CUT}",
        "mode=data",
        "mode=sequential",
    )
    state = run(*phases(*kinds), "optimizer=adamw", "architecture.norm=batch")
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_who_has_no_work_counts_as_waiting() -> None:
    config = tiny(*phases("mode=serial", f"mode=layerwise {CUT}"), "workers=2")
    assert config.num_workers == 2
    (_, progress, busy), (_, _, resting) = on_workers(trained_through, 2, config)
    assert busy.seconds == pytest.approx(progress.train_seconds)
    assert resting.seconds == pytest.approx(progress.train_seconds)
    assert resting.wait_seconds > 0.5 * progress.phase_seconds[0]
    assert sum(progress.phase_seconds) == pytest.approx(progress.train_seconds)
    assert (progress.epoch, progress.step) == (2, 12)


def test_a_run_without_phases_is_one_phase() -> None:
    config = tiny("mode=data")
    assert [(phase.name, phase.config) for phase in config.parts] == [("data", config)]


def test_a_phase_takes_from_the_run_what_it_does_not_choose() -> None:
    config = tiny(*phases("mode=serial optimizer=adamw", "mode=layerwise"), "objective=delayed")
    first, second = (phase.config for phase in config.phases)
    assert (first.mode.name, first.optimizer.name) == ("serial", "adamw")
    assert (second.mode.name, second.objective.name, second.optimizer.name) == ("layerwise", "delayed", "sgd")
    assert (first.epochs, second.epochs, second.batch_size) == (1, 1, config.batch_size)


def test_the_hybrid_can_be_changed_from_the_command_line() -> None:
    config = tiny("experiment=hybrid", "epochs=10")
    assert [phase.name for phase in config.phases] == ["warmup", "layerwise", "finish"]
    changed = (
        "phases.layerwise.epochs=4",
        "phases.layerwise.mode.blocks=4",
        "mode@phases.finish.mode=serial",
    )
    config = tiny("experiment=hybrid", "epochs=6", *changed)
    _, middle, finish = (phase.config for phase in config.phases)
    assert (middle.epochs, middle.mode.blocks, middle.objective.name) == (4, 4, "delayed")
    assert finish.mode.name == "serial"
    check(config)


def test_the_summary_names_the_phases_and_no_mode() -> None:
    config = tiny(*phases("mode=serial", "mode=layerwise"))
    content: dict[str, Any] = summary(config, "done", Results(phase_seconds=(1.0, 2.0)))
    assert (content["mode"], content["objective"], content["aggregation"]) == ("phases", None, None)
    assert content["phases"] == [
        {
            "name": "p0",
            "mode": "serial",
            "objective": None,
            "aggregation": None,
            "epochs": 1,
            "train_seconds": 1.0,
        },
        {
            "name": "p1",
            "mode": "layerwise",
            "objective": "local",
            "aggregation": "replace",
            "epochs": 1,
            "train_seconds": 2.0,
        },
    ]
    assert summary(tiny("mode=serial"), "done", Results(phase_seconds=(1.0,)))["phases"] == []


REFUSED = {
    "epochs that do not add up": (
        [*phases("mode=serial", "mode=data"), "epochs=9"],
        "epochs=9, but those of the phases add up to 2; try epochs=2",
    ),
    "a key of the whole run": (
        ["+phases.a.epochs=1", "+phases.a.batch_size=1", "epochs=1"],
        "phases.a.batch_size is not a key of a phase (epochs, mode, objective, aggregation, optimizer); "
        "leave out +phases.a.batch_size=…",
    ),
    "no epochs": (
        ["+mode@phases.a.mode=serial"],
        "phases.a.epochs=None is no count; try ++phases.a.epochs=1",
    ),
    "a value": (
        phases("mode=layerwise mode.blocks=none"),
        "phase p0: phases.p0.mode.blocks=none is neither workers, layers nor a positive number; "
        "try phases.p0.mode.blocks=workers",
    ),
    "a combination": (
        [*phases("mode=serial", "mode=pipeline mode.microbatches=3"), "workers=2"],
        "phase p1: pipeline: microbatches=3 does not divide batch_size=16; try phases.p1.mode.microbatches=4",
    ),
    "a mode in its place": (
        [*phases("mode=pipeline"), "workers=1"],
        "phase p0: pipeline: workers=1 has nobody to send to; try workers=2, or mode@phases.p0.mode=serial",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_phase_and_its_keys(name: str) -> None:
    overrides, message = REFUSED[name]
    with pytest.raises(UserError) as refused:
        check(tiny(*overrides))
    assert str(refused.value) == message


class Boasting(Digits):
    """Says that it has more samples than it serves."""

    def info(self) -> DatasetInfo:
        return replace(super().info(), num_train=5000)


def test_a_data_set_serves_as_many_batches_as_its_info_says() -> None:
    config = tiny("mode=serial")
    boasting = replace(config, dataset=Boasting(**vars(config.dataset)))
    words = "its info says 312 batches an epoch, its loader serves 89"
    with pytest.raises(AssertionError, match=words):
        on_workers(trained_through, 1, boasting)
