"""Micro-batches of a batch: as good as the whole where nothing is late, and as defined where something is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import pytest
import torch
from tiny import (
    OBJECTIVES,
    build,
    counted,
    largest_difference,
    on_workers,
    take_epochs,
    take_steps,
    tiny,
    trained,
)
from torch import Tensor, nn
from written import STEPS, Train, Written, equal, states

from layerpar.config import RunConfig
from layerpar.measure.stopwatch import Stopwatch
from layerpar.rendezvous.ranks import Ranks

PLAIN = "architecture.norm=none"
FAST = "optimizer.lr=0.3"
"""So that a few steps tell the weights of now from those of then."""
DELAYED = ("mode=layerwise", "mode.partition=[1,3]", "objective=delayed", "workers=1", PLAIN, FAST)


def counted_in(microbatches: int, link_delay: int) -> tuple[str, str]:
    return f"objective.microbatches={microbatches}", f"objective.link_delay={link_delay}"


Kept = Any
Forward = Callable[[nn.Sequential, Tensor], tuple[Tensor, Kept]]
"""The activation of a block, and what a backward needs of it."""
Backward = Callable[[nn.Sequential, Kept, Tensor], Tensor]
"""Adds the gradients of a block's weights to `grad`, by that of its activation; gives that of its input."""


def of_then(block: nn.Sequential, inputs: Tensor) -> tuple[Tensor, Kept]:
    copy = deepcopy(block)
    outputs = copy(inputs.requires_grad_())
    return outputs.detach(), (copy, inputs, outputs)


def through_the_weights_of_then(block: nn.Sequential, kept: Kept, upstream: Tensor) -> Tensor:
    copy, inputs, outputs = kept
    outputs.backward(upstream)
    for live, stale in zip(block.parameters(), copy.parameters(), strict=True):
        live.grad = stale.grad if live.grad is None else live.grad + stale.grad
    return inputs.grad


def by_hand(block: nn.Sequential, inputs: Tensor) -> tuple[Tensor, Kept]:
    """Linear layers, with a ReLU after each but the classifier."""
    kept = []
    for layer in block:
        linear = getattr(layer, "linear", layer)
        inputs = inputs.flatten(1)
        outputs = torch.addmm(linear.bias, inputs, linear.weight.T).detach()
        outputs = outputs if linear is layer else outputs.relu()
        kept.append((linear, inputs, torch.ones_like(outputs) if linear is layer else (outputs > 0).float()))
        inputs = outputs
    return inputs, kept


def through_the_weights_of_now(block: nn.Sequential, kept: Kept, upstream: Tensor) -> Tensor:
    """Activations of then, weights of now: what PyTorch never does by itself."""
    for linear, inputs, slope in reversed(kept):
        upstream = upstream * slope
        for parameter, own in ((linear.weight, upstream.T @ inputs), (linear.bias, upstream.sum(0))):
            parameter.grad = own if parameter.grad is None else parameter.grad + own
        upstream = upstream @ linear.weight.detach()
    return upstream


def only_forward(block: nn.Sequential, inputs: Tensor) -> tuple[Tensor, Kept]:
    return block(inputs).detach(), inputs


def after_another_forward(block: nn.Sequential, kept: Kept, upstream: Tensor) -> Tensor:
    inputs = kept.requires_grad_()
    block(inputs).backward(upstream)
    return inputs.grad


VARIANTS: dict[str, tuple[Forward, Backward]] = {
    "objective.stash=true": (of_then, through_the_weights_of_then),
    "objective.stash=false": (by_hand, through_the_weights_of_now),
    "objective.recompute=true": (only_forward, after_another_forward),
}


def written_out(
    config: RunConfig, cuts: list[int], *, microbatches: int, link_delay: int, shrink: float, variant: str
) -> dict[str, Tensor]:
    """Tick by tick: block k takes micro-batch i forward and micro-batch i - d backward; after the last
    backward of a step it updates by the sum of the gradients."""
    forward, backward = VARIANTS[variant]
    written = Written(config, cuts)
    parts = [part for batch in written.batches for part in batch.split(microbatches)]
    last = len(cuts)
    updaters = [config.optimizer.updater(block.parameters(), 6) for block in written.blocks]
    kept: list[deque[Kept]] = [deque() for _ in written.blocks]
    upstream: list[deque[Tensor]] = [deque() for _ in written.blocks]
    for tick in range(len(parts) + link_delay * last):
        if tick < len(parts):
            activation = parts[tick].images
            for k, block in enumerate(written.blocks):
                activation, needed = forward(block, activation.detach())
                kept[k].append(needed)
            logits = activation.detach().requires_grad_()
            (nn.functional.cross_entropy(logits, parts[tick].labels) / microbatches).backward()
            upstream[last].append(logits.grad)
        for k in reversed(range(last + 1)):
            due = tick - link_delay * (last - k)
            if 0 <= due < len(parts):
                gradient = backward(written.blocks[k], kept[k].popleft(), upstream[k].popleft())
                if k > 0:
                    upstream[k - 1].append(gradient * shrink)
                if due % microbatches == microbatches - 1:
                    updaters[k].step()
    return written.state()


@pytest.mark.parametrize("variant", VARIANTS)
def test_delayed_is_what_its_definition_says(variant: str) -> None:
    numbers = list(product((1, 2, 4), (1, 2)))
    configs = [
        tiny(*DELAYED, "objective.shrink=0.5", *counted_in(microbatches, link_delay), variant)
        for microbatches, link_delay in numbers
    ]
    for config, (microbatches, link_delay), state in zip(configs, numbers, states(configs), strict=True):
        expected = written_out(
            config, [1, 3], microbatches=microbatches, link_delay=link_delay, shrink=0.5, variant=variant
        )
        assert largest_difference(expected, state) < 1e-6, numbers


def test_the_weights_that_a_late_backward_goes_through_make_a_difference() -> None:
    """Else the definitions above could not be told apart."""
    found = states([tiny(*DELAYED, *counted_in(2, 1), variant) for variant in VARIANTS])
    assert min(largest_difference(one, other) for one, other in combinations(found, 2)) > 1e-4


def test_delayed_without_delay_is_serial() -> None:
    several = [
        tiny(*DELAYED, *counted_in(microbatches, 0), variant)
        for variant, microbatches in product((*VARIANTS, "objective.compensation=spike"), (1, 2, 4))
    ]
    serial, *others = states([tiny("mode=serial", PLAIN, FAST), *several])
    others += states([tiny(*DELAYED, *counted_in(2, 0), "workers=3")])
    assert max(largest_difference(serial, state) for state in others) < 1e-6


FROZEN = "mode=layerwise mode.partition=[1,3] workers=1 mode.exchange=weights objective=frozen"
WAYS = {
    "mode=serial": "mode.microbatches",
    "mode=data workers=2": "mode.microbatches",
    "mode=layerwise mode.partition=[1,3] workers=1 objective=local": "objective.microbatches",
    f"{FROZEN} aggregation.every=2": "objective.microbatches",
}


@pytest.mark.parametrize("way", WAYS)
def test_gradients_of_micro_batches_add_up_to_the_whole_batch_s(way: str) -> None:
    whole, *parts = states([tiny(*way.split(), PLAIN, f"{WAYS[way]}={count}") for count in (1, 2, 4)])
    assert max(largest_difference(whole, state) for state in parts) < 1e-6


def test_blocks_do_not_depend_on_where_they_are_placed() -> None:
    """Nor on what else the worker does: with BatchNorm, and with rules that set weights of blocks with
    micro-batches under way."""
    blocks = ["mode=layerwise", "mode.partition=[1,2,4]"]
    objectives = [*OBJECTIVES, "objective=delayed objective.stash=false"]
    ways = [
        [*objective.split(), f"objective.microbatches={microbatches}", "architecture.norm=batch"]
        for objective, microbatches in product(objectives, (2, 4))
    ]
    ways += [
        [
            "objective=delayed",
            variant,
            "objective.microbatches=2",
            f"aggregation={rule}",
            "aggregation.every=2",
        ]
        for variant, rule in product(VARIANTS, ("momentum", "trust_region", "anderson", "ema"))
    ]
    configs = [tiny(*blocks, *way) for way in ways]
    one, two, four = (
        states([replace(config, workers=workers) for config in configs]) for workers in (1, 2, 4)
    )
    for way, *results in zip(ways, one, two, four, strict=True):
        assert equal(results[0], results[1]), way
        assert equal(results[0], results[2]), way


def test_batchnorm_normalises_by_micro_batches() -> None:
    options = ["mode=layerwise", "mode.partition=[2]", "workers=1", "architecture.norm=batch"]
    whole, parts = states([tiny(*options, f"objective.microbatches={count}") for count in (1, 2)])
    assert largest_difference(whole, parts) > 1e-4


NORMED = ("architecture.norm=batch", "optimizer.lr=1e-30")
"""No update changes a weight, so that the running statistics of all modes must be the same."""


def test_running_statistics_of_micro_batches_are_the_same_in_every_mode() -> None:
    cut = "mode=layerwise mode.partition=[1,3] workers=1"
    ways = [
        "mode=serial mode.microbatches=4",
        f"{cut} objective=delayed objective.microbatches=4",
        f"{cut} objective=delayed objective.recompute=true objective.microbatches=4",
        f"{cut} objective=local objective.microbatches=4",
        f"{cut} objective=frozen mode.exchange=weights objective.microbatches=4",
    ]
    pipeline = "mode=pipeline mode.partition=[2] workers=2 mode.microbatches=4"
    serial, *others = states([tiny(*NORMED, *way.split()) for way in ways])
    others += states([tiny(*NORMED, *pipeline.split())])
    assert max(largest_difference(serial, state) for state in others) < 1e-6
    # Of STEPS batches of 16: each keeps 0.9 of what was known, as without micro-batches.
    (whole,) = states([tiny(*NORMED, "mode=serial")])
    means = [name for name in whole if name.endswith("0.norm.running_mean")]
    assert means
    for name in means:
        torch.testing.assert_close(serial[name], whole[name], rtol=0.1, atol=0.01)


def test_a_rule_sets_the_weights_that_a_backward_without_a_stash_goes_through() -> None:
    """`damped` with a factor of 1 sets the weights that there are: nothing may tell it from `replace`."""
    options = [*DELAYED, "objective.stash=false", "aggregation.every=1"]
    rules = (["aggregation=replace"], ["aggregation=damped", "aggregation.alpha=1.0"])
    replaced, damped = states([tiny(*options, *rule) for rule in rules])
    assert largest_difference(replaced, damped) < 1e-6


CNN = ("architecture=cnn", "architecture.width=8", "architecture.norm=layer", "workers=1")


def without_onednn(ranks: Ranks, config: RunConfig, steps: int) -> dict[str, Tensor] | None:
    with torch.backends.mkldnn.flags(enabled=False):
        return trained(ranks, config, steps)


@pytest.mark.parametrize("train", [trained, without_onednn])
def test_a_fused_optimizer_reads_channels_last_gradients_as_another_does(train: Train) -> None:
    """Two functional layouts: a gradient must have its parameter's strides, whoever computed it."""
    ways = [
        ["mode=layerwise", "mode.partition=[1,3]", "objective=delayed", *counted_in(*numbers), variant]
        for numbers, variant in product(((1, 2), (2, 2), (2, 0)), VARIANTS)
    ]
    fused, plain = (
        states(
            [tiny(*CNN, *way, f"optimizer.arguments.fused={given}") for way in (["mode=serial"], *ways)],
            train,
        )
        for given in ("true", "false")
    )
    for way, one, other in zip(["serial", *ways], fused, plain, strict=True):
        assert largest_difference(one, other) < 1e-5, way
    serial, *others = fused
    for way, state in zip(ways, others, strict=True):
        if "objective.link_delay=0" in way:
            assert largest_difference(serial, state) < 1e-5, way


def test_replicas_share_every_batch() -> None:
    """Where nothing is late, it does not matter which samples make up a micro-batch."""
    ways = ("objective=local", "objective=delayed objective.link_delay=0")
    common = ["mode.partition=[2]", "mode=layerwise", "objective.microbatches=2", PLAIN]
    one, two = (
        states([tiny(*common, *way.split(), *workers) for way in ways])
        for workers in (["workers=1"], ["mode.replicas=2", "workers=4"])
    )
    for alone, together in zip(one, two, strict=True):
        assert largest_difference(alone, together) < 1e-6


def test_half_precision_costs_little() -> None:
    common = ["mode=layerwise", "mode.partition=[1,3]", "objective.microbatches=2", "workers=3"]
    ways = [[*common, f"objective={objective}"] for objective in ("delayed", "local")]
    exact, rounded = (states([tiny(*way, f"precision={name}") for way in ways]) for name in ("fp32", "bf16"))
    for one, other in zip(exact, rounded, strict=True):
        assert 0 < largest_difference(one, other) < 0.02


def stopped(ranks: Ranks, config: RunConfig) -> bool:
    """Whether an engine that goes on from another's state after an epoch ends where the other does."""
    engine, loader = build(config, ranks)
    take_epochs(engine, loader, 1)
    resumed, _ = build(config, ranks)
    resumed.load_state_dict(engine.state_dict())
    for one in (engine, resumed):
        take_steps(one, loader, STEPS)
    whole, parts = engine.full_state(), resumed.full_state()
    return whole is None or parts is None or equal(whole, parts)


@pytest.mark.parametrize("objective", ["delayed objective.stash=false", "delayed", "local"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(objective: str) -> None:
    options = ["mode=layerwise", "mode.partition=[2]", "workers=2", "architecture.norm=batch"]
    rule = ["objective.microbatches=2", "aggregation=momentum", "aggregation.every=2"]
    assert on_workers(stopped, 2, tiny(*options, *rule, *f"objective={objective}".split())) == [True, True]


@pytest.mark.parametrize("objective", ["objective=delayed objective.link_delay=1", "objective=local"])
def test_a_timeline_tells_the_micro_batches_apart(objective: str) -> None:
    """Of steps 2 and 3: the first of two blocks goes backward one micro-batch late, if a gradient comes."""
    options = [*objective.split(), "mode=layerwise", "mode.partition=[2]", "objective.microbatches=2"]
    first, second = on_workers(counted, 2, tiny(*options, "workers=2", "trace_steps=2"), STEPS)
    now, late = [(2, 0), (2, 1), (3, 0), (3, 1)], [(1, 1), (2, 0), (2, 1), (3, 0)]
    assert seen(first, "forward", 0) == seen(second, "forward", 1) == seen(second, "backward", 1) == now
    assert seen(first, "backward", 0) == (late if "delayed" in objective else now)


def seen(watch: Stopwatch, kind: str, block: int) -> list[tuple[int, int]]:
    """Of the spans of a kind their step and micro-batch; all must be of the block."""
    spans = [span.where for span in watch.spans if span.kind == kind]
    assert {where["block"] for where in spans} == {block}
    return [(where["batch"], where["microbatch"]) for where in spans]
