"""What each mode takes on equal layers, against the formulas of the field."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from equal_layers import FREE, equal_layers
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny

from layerpar.predict.layers import Layers
from layerpar.predict.links import Link
from layerpar.predict.methods import Prediction, method
from layerpar.predict.methods.data import TORCH_BUCKETS, DataMethod, buckets, exchanged

LINK = Link("any", 0.001, 1e6)
composed = cache(tiny)


def predict(layers: Layers, *overrides: str, link: Link = FREE, steps: int = 10) -> Prediction:
    config = composed(*overrides)
    return method(config.mode, config, 10).predict(layers, link, steps)


def test_serial_takes_all_layers_but_the_gradient_of_the_images() -> None:
    found = predict(equal_layers(6, samples=16, update=0.5), "mode=serial")
    assert found.seconds == 3 * 6 - 1 + 6 * 0.5
    assert (found.waiting, found.sent_bytes, found.cuts) == (0, 0, [])


@pytest.mark.parametrize(("num_layers", "workers"), [(8, 2), (8, 4), (12, 3), (16, 16)])
def test_frozen_is_bound_by_its_lowest_block(num_layers: int, workers: int) -> None:
    layers = equal_layers(num_layers, samples=16)
    common = ("mode=layerwise", "objective=frozen", "mode.exchange=weights", f"workers={workers}")
    found = predict(layers, *common, "mode.partition=equal")
    slowest = 2 * num_layers + num_layers / workers - 1
    assert found.seconds == pytest.approx(slowest)
    serial = predict(layers, "mode=serial").seconds
    assert serial / found.seconds < 3 * num_layers / slowest <= 1.5
    # Uneven cuts can only help.
    assert predict(layers, *common).seconds <= found.seconds


def test_frozen_sends_weights_once_a_round() -> None:
    layers = equal_layers(4, samples=16)
    asked = (
        "mode=layerwise",
        "objective=frozen",
        "mode.exchange=weights",
        "workers=2",
        "aggregation.every=5",
    )
    found = predict(layers, *asked, link=LINK, steps=10)
    free = predict(layers, *asked, steps=10)
    trained = 4 * 440
    assert found.seconds - free.seconds == pytest.approx((trained / 1e6 + 2 * 0.001) / 5)
    assert found.sent_bytes == trained / 5


def test_local_with_weights_recomputes_the_layers_below() -> None:
    layers = equal_layers(10, samples=16)
    found = predict(
        layers, "mode=layerwise", "objective=local", "mode.exchange=weights", "workers=2", steps=1000
    )
    # The lower block takes about 60 % of the layers: 1.67 times as fast.
    assert found.cuts == [6]
    assert 30 / found.seconds == pytest.approx(1.67, abs=0.12)


def test_local_with_equal_loads_tends_to_as_many_times_serial() -> None:
    layers = equal_layers(8, samples=16)
    found = predict(layers, "mode=layerwise", "objective=local", "workers=8", steps=3000)
    # One layer each: no block has a gradient to its input, so each takes 2 of serial's 3 L - 1.
    assert found.seconds == pytest.approx(2.0, rel=2e-3)
    assert found.waiting == pytest.approx(0.0, abs=3e-3)


def test_blocks_of_one_worker_are_serial_training() -> None:
    layers = equal_layers(6, samples=16, update=0.25)
    serial = predict(layers, "mode=serial").seconds
    for objective in ("local", "delayed"):
        found = predict(layers, "mode=layerwise", f"objective={objective}", "workers=1")
        assert found.seconds == pytest.approx(serial)


def test_replicas_average_each_block() -> None:
    layers = equal_layers(4, samples=8)
    asked = ("mode=layerwise", "objective=local", "workers=4", "mode.replicas=2")
    found = predict(layers, *asked, link=LINK, steps=10)
    without = predict(layers, *asked, link=replace(LINK, bandwidth=1e15, latency=0.0), steps=10)
    own = 2 * 440 + 44
    assert found.seconds - without.seconds == pytest.approx(
        LINK.all_reduce_seconds(own, 2), abs=0.1 * LINK.all_reduce_seconds(own, 2) + 0.002
    )


def test_data_on_a_free_link_takes_its_share() -> None:
    layers = equal_layers(6, samples=4)
    found = predict(layers, "mode=data", "workers=4")
    assert found.seconds == 17
    assert found.sent_bytes == 2 * 3 * 6 * 440


def test_buckets_fill_from_the_last_gradient_on_the_first_early() -> None:
    mebibyte = 2**20
    ready = [(float(time), mebibyte // 2) for time in range(1, 9)]
    full = buckets(ready, (mebibyte, 2 * mebibyte))
    assert full == [(2.0, mebibyte), (6.0, 2 * mebibyte), (8.0, mebibyte)]


@pytest.mark.parametrize(("told", "full"), [("null", TORCH_BUCKETS), ("2", (2 * 2**20, 2 * 2**20))])
def test_torch_closes_the_first_bucket_early_unless_it_is_told_a_size(
    told: str, full: tuple[int, int]
) -> None:
    config = composed("mode=data", "workers=2", f"mode.bucket_mebibytes={told}")
    found = method(config.mode, config, 10)
    assert isinstance(found, DataMethod)
    assert found.bucket_bytes == full


def test_buckets_are_reduced_in_turn_once_they_are_full() -> None:
    link = Link("any", 0.0, 100.0)
    # A ring of two sends each bucket's bytes once.
    assert exchanged([(1.0, 300), (2.0, 100), (9.0, 100)], link, 2) == 10.0
    assert exchanged([(1.0, 300), (2.0, 100)], link, 2) == 5.0


@settings(deadline=None)
@given(slow=st.floats(1e2, 1e6), factor=st.floats(1.0, 1e3), mode=st.sampled_from(["data", "frozen"]))
def test_more_bandwidth_never_takes_longer(slow: float, factor: float, mode: str) -> None:
    asked = {
        "data": ("mode=data", "workers=4"),
        "frozen": ("mode=layerwise", "objective=frozen", "mode.exchange=weights", "workers=4"),
    }[mode]
    layers = equal_layers(4, samples=4)
    seconds = [
        predict(layers, *asked, link=Link("any", 0.001, bandwidth)).seconds
        for bandwidth in (slow, slow * factor)
    ]
    assert seconds[1] <= seconds[0] * (1 + 1e-12)


def test_sequential_trains_a_block_at_a_time() -> None:
    layers = equal_layers(6, samples=16)
    kept = predict(layers, "mode=sequential", "workers=2", "mode.partition=equal")
    # Of 3 layers each, without a gradient to their input.
    assert kept.seconds == 3 * 3 - 1
    recomputed = predict(layers, "mode=sequential", "workers=2", "mode.partition=equal", "mode.cache=false")
    assert recomputed.seconds == kept.seconds + 3 / 2


def test_a_late_gradient_costs_memory() -> None:
    layers = equal_layers(4, samples=16)
    asked = ("mode=layerwise", "workers=4", "mode.partition=equal")
    local = predict(layers, *asked, "objective=local").memory
    delayed = predict(layers, *asked, "objective=delayed").memory
    # The lowest of four blocks has six batches under way, and a copy of its weights for each.
    assert delayed.activations == 7 * 16 * 80
    assert delayed.stash == 6 * 440 + 6 * 44
    recompute = predict(layers, *asked, "objective=delayed", "objective.recompute=true").memory
    assert recompute.stash == 0
    assert recompute.activations < delayed.activations
    assert local.stash == 0
    assert local.activations == 16 * 80


def test_blocks_that_overlap_take_the_time_and_the_memory_of_the_layers_that_they_copy() -> None:
    layers = equal_layers(6, samples=16)
    asked = ("mode=layerwise", "objective=local", "workers=2", "objective.overlap=2")
    found = predict(layers, *asked, "mode.partition=[2]")
    assert found.seconds == pytest.approx(3 * 4 - 1, rel=0.1)
    assert found.memory.weights == 4 * 440 + 44
    assert found.memory.activations == 16 * 4 * 80
    assert predict(layers, *asked, "mode.partition=[4]").memory.weights == 6 * 440


def test_memory_of_a_worker_falls_with_workers_but_not_for_data() -> None:
    layers = equal_layers(8, samples=16)
    whole = predict(layers, "mode=serial").memory
    assert whole.weights == whole.gradients == whole.optimizer == 8 * 440
    halves = predict(layers, "mode=layerwise", "objective=local", "workers=2").memory
    assert halves.weights == 4 * 440 + 44
    assert predict(layers, "mode=data", "workers=2").memory.weights == whole.weights
