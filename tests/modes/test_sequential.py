"""Blocks trained one after the other: by definition, whether or not finished ones' features are kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import build, largest_difference, on_workers, take_epochs, tiny, weights_after
from torch import nn

from layerpar.check import check
from layerpar.config import RunConfig
from layerpar.datasets.base import LoaderSpec
from layerpar.errors import UserError
from layerpar.rendezvous.ranks import Ranks
from layerpar.seeds import stream_seed
from layerpar.sequential.features import Features, worth_keeping
from layerpar.sequential.shares import steps_per_block
from layerpar.transport.links import Wire

CPU = torch.device("cpu")
EPOCHS = 3
TOTAL = 6 * EPOCHS
"""Batches of 16 out of 96 samples."""


def sequential(*overrides: str) -> RunConfig:
    return tiny("mode=sequential", f"epochs={EPOCHS}", *overrides)


def trained_through(ranks: Ranks, config: RunConfig) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights after all epochs, and what was decided before."""
    engine, loader = build(config, ranks)
    take_epochs(engine, loader, config.epochs)
    return engine.full_state(), engine.decisions


def result(*overrides: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    [found] = on_workers(trained_through, 1, sequential(*overrides))
    return found


def test_one_block_is_serial() -> None:
    serial = weights_after(tiny("mode=serial"), 5)
    assert largest_difference(serial, weights_after(tiny("mode=sequential", "mode.blocks=1"), 5)) == 0


@pytest.mark.parametrize("shares", ["null", "[1,2,3]"])
def test_sequential_is_what_its_definition_says(shares: str) -> None:
    """Each block in turn, with a head and a schedule of its own, on finished blocks in evaluation mode."""
    cuts = [1, 3]
    overrides = ("architecture.norm=batch", f"mode.partition={cuts}", f"mode.shares={shares}")
    config = sequential(*overrides)
    info = config.dataset.info()
    network = config.architecture.create(info.input_shape, info.num_classes, seed=config.seed)
    request = LoaderSpec(seed=0, batch_size=16, shard=slice(0, 16), images=True, device=CPU)
    loader = config.dataset.loader(request)
    batches = iter([batch for epoch in range(EPOCHS) for batch in loader.train(epoch)])
    turns = [6, 6, 6] if shares == "null" else [3, 6, 9]
    finished: list[nn.Module] = []
    for first, last, steps in zip([0, *cuts], [*cuts, 5], turns, strict=True):
        block = nn.Sequential(*network.layers[first:last])
        torch.manual_seed(stream_seed(config.seed, "head", last - 1))
        head = nn.Linear(12, 10) if last < 5 else nn.Identity()
        updater = config.optimizer.updater([*block.parameters(), *head.parameters()], steps)
        for _ in range(steps):
            batch = next(batches)
            with torch.no_grad():
                features = nn.Sequential(*finished).eval()(batch.images)
            nn.functional.cross_entropy(head(block(features)), batch.labels).backward()
            updater.step()
        finished.append(block)
    assert largest_difference(network.plain.state_dict(), result(*overrides)[0]) < 1e-6


@pytest.mark.parametrize("blocks", ["3", "layers"])
def test_kept_features_change_no_result(blocks: str) -> None:
    kept, decisions = result(f"mode.blocks={blocks}")
    anew, others = result(f"mode.blocks={blocks}", "mode.cache=false", f"mode.partition={decisions['cuts']}")
    assert largest_difference(kept, anew) < 1e-6
    assert all(decisions["cached"])
    assert not any(others["cached"])


def test_features_of_images_that_vary_are_not_kept() -> None:
    _, decisions = result("dataset.augment.flip=true")
    assert decisions["cached"] == [False]


def runs_of_the_first_block(ranks: Ranks, config: RunConfig) -> tuple[int, int]:
    """How often it ran, and how many batches' images were made for it."""
    engine, loader = build(config, ranks)
    count = made = 0

    def note(*_: Any) -> None:
        nonlocal count
        count += 1

    engine._blocks[0].layers.register_forward_hook(note)
    for epoch in range(config.epochs):
        engine.start(loader.steps_per_epoch)
        for batch in loader.train(epoch):
            engine.step(batch)
            made += "images" in vars(batch)
    return count, made


def test_a_finished_block_sees_each_image_once() -> None:
    """One epoch of its own, one for the features of the next block, which then trains another on those."""
    for cache, runs in (("true", 12), ("false", 18)):
        config = sequential("mode.blocks=2", "mode.shares=[1,2]", f"mode.cache={cache}")
        assert on_workers(runs_of_the_first_block, 1, config) == [(runs, runs)]


@given(
    st.integers(1, 500),
    st.lists(st.floats(0.1, 10), min_size=1, max_size=8),
)
def test_shares_use_every_step_in_proportion(total_steps: int, shares: list[float]) -> None:
    try:
        steps = steps_per_block(total_steps, len(shares), shares)
    except UserError:
        assert total_steps * min(shares) / sum(shares) < 1
        return
    assert sum(steps) == total_steps
    for own, share in zip(steps, shares, strict=True):
        assert abs(own - total_steps * share / sum(shares)) <= 1


def wire(*shape: int) -> Wire:
    return Wire(shape=shape, dtype=torch.float32, channels_last=True, via_host=False)


@pytest.mark.parametrize("shape", [(3, 4, 5), (7,)])
def test_features_come_back_as_they_went_in(shape: tuple[int, ...]) -> None:
    features = Features(wire(*shape), 10, CPU)
    chosen = torch.tensor([7, 2, 5])
    activations = torch.rand(3, *shape)
    if len(shape) == 3:
        activations = activations.contiguous(memory_format=torch.channels_last)
    features.put(chosen, activations)
    assert features.hold(chosen[1:])
    assert not features.hold(torch.tensor([7, 3]))
    taken = features.take(chosen.flip(0))
    assert taken.equal(activations.flip(0))
    assert taken.stride() == activations.stride(), "the layout that is fast"


def test_features_are_kept_as_far_as_memory_allows() -> None:
    assert worth_keeping([wire(4), wire(4)], 1000, CPU) == [True, True]
    assert worth_keeping([wire(4), wire(1 << 40), wire(4)], 1000, CPU) == [True, False, True]


REFUSED = {
    "more blocks than layers": (["mode.blocks=6"], "try mode.blocks=layers"),
    "no block": (["mode.blocks=0"], "try mode.blocks=workers"),
    "a share too few": (["mode.blocks=3", "mode.shares=[1,2]"], "try mode.shares=[1,1,1]"),
    "no share": (["mode.blocks=2", "mode.shares=[1,0]"], "try mode.shares=[1,1]"),
    "a share of no step": (["mode.blocks=2", "mode.shares=[1,99]"], "try mode.shares=null"),
    "an unknown head": (["mode.head=none"], "try mode.head=linear"),
    "compiled blocks": (["compile=true", "warmup_steps=1"], "try compile=false"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_is_refused_with_the_repair(name: str) -> None:
    overrides, repair = REFUSED[name]
    with pytest.raises(UserError) as refused:
        check(sequential(*overrides))
    assert repair in str(refused.value)


def test_as_many_blocks_as_workers_cannot_go_on_with_other_workers() -> None:
    def reason(*overrides: str) -> str | None:
        before, after = (tiny("mode=sequential", f"workers={count}", *overrides) for count in (2, 4))
        return before.mode.cannot_move(before, after)

    assert reason() == "mode.blocks=workers makes as many blocks as workers"
    assert reason("mode.blocks=2") is None
    assert reason("mode.partition=[2]") is None
