"""Equality before speed: every mode is proven against serial, or against its definition, in a few steps."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from tiny import OBJECTIVES, largest_difference, tiny, weights_after
from torch import Tensor, nn
from written import STEPS, Written, equal, states

from layerpar.seeds import stream_seed


def test_training_changes_the_weights() -> None:
    config = tiny("mode=serial")
    assert largest_difference(weights_after(config, 0), weights_after(config, STEPS)) > 1e-3


@pytest.mark.parametrize("mode", ["serial", "data", "layerwise"])
def test_every_mode_starts_from_the_same_weights(mode: str) -> None:
    overrides = [f"mode={mode}", "seed=3"]
    assert equal(weights_after(tiny("mode=serial", "seed=3"), 0), weights_after(tiny(*overrides), 0))


def test_data_parallel_equals_serial() -> None:
    serial = weights_after(tiny("mode=serial"), STEPS)
    assert largest_difference(serial, weights_after(tiny("mode=data", "workers=2"), STEPS)) < 1e-5
    assert largest_difference(serial, weights_after(tiny("mode=data", "workers=4"), STEPS)) < 1e-5


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_block_is_serial(objective: str) -> None:
    serial = weights_after(tiny("mode=serial"), STEPS)
    one_block = tiny("mode=layerwise", "workers=1", *objective.split())
    assert equal(serial, weights_after(one_block, STEPS))


@pytest.mark.parametrize("link_delay_0", [["workers=1"], ["workers=3"]])
def test_delayed_without_delay_is_serial(link_delay_0: list[str]) -> None:
    blocks = ["mode=layerwise", "mode.blocks=3", "mode.partition=[1,3]", "objective=delayed", *link_delay_0]
    serial = weights_after(tiny("mode=serial"), STEPS)
    assert equal(serial, weights_after(tiny(*blocks, "objective.link_delay=0"), STEPS))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_blocks_do_not_depend_on_where_they_are_placed(objective: str) -> None:
    blocks = ["mode=layerwise", "mode.blocks=4", "mode.partition=[1,2,4]", *objective.split()]
    plain = tiny(*blocks, "architecture.norm=batch", "aggregation=replace", "aggregation.every=2")
    ruled = [
        tiny(*blocks, "architecture.norm=layer", f"aggregation={rule}", "aggregation.every=2")
        for rule in ("damped", "momentum", "trust_region", "anderson", "ema")
    ]
    elsewhere = tiny("mode=layerwise", "mode.partition=[2]", "workers=1")
    *one, other = states([*(replace(config, workers=1) for config in (plain, *ruled)), elsewhere])
    for workers in (2, 4):
        assert equal(one[0], weights_after(replace(plain, workers=workers), STEPS))
    three = states([replace(config, workers=3) for config in ruled])
    for config, alone, apart in zip(ruled, one[1:], three, strict=True):
        assert equal(alone, apart), config.aggregation.name
    assert not any(equal(state, other) for state in one)


@pytest.mark.parametrize("cuts", [[2], [1, 3]])
@pytest.mark.parametrize("overlap", [0, 1, 2, 9])
def test_local_is_what_its_definition_says(cuts: list[int], overlap: int) -> None:
    """Each block has its own optimizer, a detached input, and a linear head after copies of the layers that
    overlap; copies that include the classifier need none."""
    config = tiny("mode=layerwise", "workers=1", f"mode.partition={cuts}", f"objective.overlap={overlap}")
    written = Written(config, cuts)
    learners, updaters = [], []
    for block, (_, last) in zip(written.blocks, written.spans, strict=True):
        copies = deepcopy(written.network.layers[last : last + overlap])
        torch.manual_seed(stream_seed(config.seed, "head", last - 1))
        head = nn.Identity() if last + overlap >= len(written.network.layers) else nn.Linear(12, 10)
        learners.append(nn.Sequential(*copies, head))
        updaters.append(config.optimizer.updater([*block.parameters(), *learners[-1].parameters()], 6))
    for batch in written.batches:
        activation = batch.images
        for block, learner, updater in zip(written.blocks, learners, updaters, strict=True):
            output = block(activation.detach())
            nn.functional.cross_entropy(learner(output), batch.labels).backward()
            updater.step()
            activation = output
    assert equal(written.state(), weights_after(config, STEPS))


@pytest.mark.parametrize("cuts", [[2], [1, 3]])
@pytest.mark.parametrize("link_delay", [1, 2])
def test_delayed_is_what_its_definition_says(cuts: list[int], link_delay: int) -> None:
    """Block k at its step i: forward of batch i, then an update by the gradient of batch i - d, taken at the
    weights of that batch's forward and shrunk at each border. Written with a deep copy per batch."""
    shrink = 0.5
    objective = ["objective=delayed", f"objective.link_delay={link_delay}", f"objective.shrink={shrink}"]
    config = tiny("mode=layerwise", "workers=1", f"mode.partition={cuts}", *objective)
    written = Written(config, cuts)
    last = len(cuts)
    delays = [link_delay * (last - k) for k in range(last + 1)]
    updaters = [config.optimizer.updater(block.parameters(), 6) for block in written.blocks]
    kept: dict[tuple[int, int], tuple[nn.Module, Tensor, Tensor]] = {}
    gradients: dict[tuple[int, int], Tensor] = {}

    def learn(k: int, batch: int) -> None:
        copy, inputs, outputs = kept.pop((k, batch))
        if k == last:
            nn.functional.cross_entropy(outputs, written.batches[batch].labels).backward()
        else:
            outputs.backward(gradients.pop((k, batch)))
        if k > 0:
            gradients[k - 1, batch] = inputs.grad * shrink
        for live, stale in zip(written.blocks[k].parameters(), copy.parameters(), strict=True):
            live.grad = stale.grad
        updaters[k].step()

    for step in range(STEPS + max(delays)):
        activation = written.batches[step].images if step < STEPS else None
        for k in range(last + 1):
            if activation is not None:
                copy = deepcopy(written.blocks[k])
                inputs = activation.detach().requires_grad_(k > 0)
                activation = copy(inputs)
                kept[k, step] = (copy, inputs, activation)
        for k in reversed(range(last + 1)):
            if 0 <= step - delays[k] < STEPS:
                learn(k, step - delays[k])
    assert largest_difference(written.state(), weights_after(config, STEPS)) < 1e-6


@pytest.mark.parametrize("cuts", [[2], [1, 3]])
def test_frozen_is_what_its_definition_says(cuts: list[int]) -> None:
    """For a round of H steps each block is trained alone in a copy of the common network."""
    rounds = 2
    config = tiny(
        "mode=layerwise",
        "workers=1",
        f"mode.partition={cuts}",
        "mode.exchange=weights",
        "objective=frozen",
        f"aggregation.every={rounds}",
    )
    written = Written(config, cuts)
    proposals = [deepcopy(written.network.layers) for _ in written.blocks]
    updaters = []
    for copy, (first, last) in zip(proposals, written.spans, strict=True):
        trained = [parameter for layer in copy[first:last] for parameter in layer.parameters()]
        updaters.append(config.optimizer.updater(trained, 6))
    for step, batch in enumerate(written.batches):
        for copy, updater in zip(proposals, updaters, strict=True):
            nn.functional.cross_entropy(nn.Sequential(*copy)(batch.images), batch.labels).backward()
            updater.step()
            for layer in copy:
                layer.zero_grad()
        if (step + 1) % rounds == 0 or step + 1 == STEPS:
            for copy, (first, last) in zip(proposals, written.spans, strict=True):
                for index in range(first, last):
                    written.network.layers[index].load_state_dict(copy[index].state_dict())
            for copy in proposals:
                for own, common in zip(copy, written.network.layers, strict=True):
                    own.load_state_dict(common.state_dict())
    assert largest_difference(written.state(), weights_after(config, STEPS)) < 1e-6
