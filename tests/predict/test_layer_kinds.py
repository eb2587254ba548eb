"""Layers: times between measured sizes, bytes, networks of other depths."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from equal_layers import equal_layers
from tiny import tiny

from layerpar.partition.profile import Profile
from layerpar.predict import kinds as layer_kinds
from layerpar.predict import measuring
from layerpar.predict.layers import Layers

CPU = torch.device("cpu")


def test_times_lie_on_a_line_between_two_sizes_and_are_in_proportion_outside() -> None:
    def profile(seconds: float) -> Profile:
        values = [seconds]
        return Profile(values, values, values, [7.0], [8.0], values, [0.0], [0.0])

    layers = replace(equal_layers(1), times={8: profile(2.0), 16: profile(3.0)})
    found = {samples: layers.microbatch(samples).forward[0] for samples in (4, 8, 12, 16, 32)}
    assert found == {4: 1.0, 8: 2.0, 12: 2.5, 16: 3.0, 32: 6.0}
    assert layers.microbatch(12).update == [0.0]
    assert layers.step().update == [7.0]
    assert layers.whole(12, 4).forward == [10.0]
    assert layers.whole(12, 4).copy == [8.0]


def test_times_that_only_a_busy_machine_gives_are_called_so() -> None:
    layers = equal_layers(2, samples=8)
    one = layers.times[8]
    assert layers.contradiction() is None
    assert replace(layers, times={4: one, 8: one}).contradiction() is None
    short = [0.1] * 2
    quick = replace(one, forward=short, backward_input=short, backward_weights=short)
    found = replace(layers, times={8: one, 2: quick}).contradiction()
    assert found is not None
    assert "a sample takes 2.5 times as long among 8 as among 2" in found


def test_sizes_that_are_measured_are_far_apart_and_reach_from_end_to_end() -> None:
    assert measuring.spaced([128]) == [128]
    assert measuring.spaced([64, 128]) == [128, 64]
    assert measuring.spaced([1, 2, 4, 8, 16, 32, 64, 128]) == [128, 32, 8, 2, 1]


def examined(*overrides: str) -> tuple[measuring.Kinds, Layers]:
    config = tiny(*overrides)
    info = config.dataset.info()
    kinds = layer_kinds.kinds_of(config, info)
    layers = layer_kinds.real_layers(kinds, config, CPU)
    return kinds, measuring.examine(config, info, layers, lambda shape: None, {})


def test_a_network_of_equal_layers_has_few_kinds_and_their_bytes() -> None:
    kinds, layers = examined("architecture=mlp", "architecture.depth=4", "architecture.width=12")
    assert len(layers) == 5
    assert len(set(kinds.kinds)) == 3
    assert all(parameter.device.type == "meta" for parameter in kinds.network.plain.parameters())
    linear_and_norm = [12 * 12 * 4, 12 * 4, 12 * 4, 12 * 4]
    assert sorted(layers.parameters[1]) == sorted(linear_and_norm)
    assert [tuple(output.shape) for output in layers.outputs] == [(2, 12)] * 4 + [(2, 10)]
    # The linear layer keeps its input, the norm its own, the ReLU its output: 12 floats each.
    assert layers.saved[1] == pytest.approx(3 * 12 * 4, rel=0.4)


@pytest.mark.parametrize(
    ("overrides", "state"),
    [
        ("optimizer=sgd", 1.0),
        ("optimizer=sgd optimizer.arguments.momentum=0 optimizer.arguments.nesterov=false", 0.0),
        ("optimizer=adam", 2.0),
    ],
)
def test_what_the_optimizer_remembers_is_seen_on_it(overrides: str, state: float) -> None:
    _, layers = examined(*overrides.split())
    assert layers.optimizer_state == state


def test_every_kind_of_layer_is_measured_once_at_every_size() -> None:
    config = tiny("architecture.depth=200")
    info = config.dataset.info()
    layers = layer_kinds.real_layers(layer_kinds.kinds_of(config, info), config, CPU)
    times, slowdown = measuring.time_layers(
        config, info, layers, lambda shape: None, [8, 2], splits_backward=False
    )
    assert sorted(times) == [2, 8]
    assert len(set(times[8].forward[1:-1])) == 1
    assert all(value > 0 for value in times[8].forward)
    assert times[8].selecting > 0
    assert slowdown >= 1


def test_slower_layers_are_slower_in_everything() -> None:
    one = equal_layers(2, update=0.5)
    slow = one.slowed(3.0)
    assert slow.microbatch(8).forward == [3.0, 3.0]
    assert slow.step().update == [1.5, 1.5]
    assert slow.times[8].computing == 3 * one.times[8].computing


def test_a_deeper_network_has_the_layers_of_the_measured_one() -> None:
    known = layer_kinds.kinds_of(config := tiny("architecture.depth=4"), config.dataset.info())
    deeper = layer_kinds.kinds_of(config := tiny("architecture.depth=6"), config.dataset.info())
    assert layer_kinds.matched(deeper.kinds, known.kinds) == [0, 1, 1, 1, 1, 1, 4]
    wider = layer_kinds.kinds_of(config := tiny("architecture.width=13"), config.dataset.info())
    assert layer_kinds.matched(wider.kinds, known.kinds) is None
    layers = equal_layers(5)
    assert len(layers.take([0, 1, 1, 4])) == 4
