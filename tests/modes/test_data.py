"""Data parallelism is large-batch training; with rounds of steps it is local SGD, by its definition."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest
import torch
from tiny import build, captured, counted, largest_difference, on_workers, take_steps, tiny, weights_after
from torch import Tensor, nn

from layerpar.check import check
from layerpar.config import RunConfig
from layerpar.datasets.base import LoaderSpec
from layerpar.errors import UserError
from layerpar.rendezvous.ranks import Ranks

STEPS = 5


def data(*overrides: str) -> RunConfig:
    return tiny("mode=data", "workers=2", *overrides)


@cache
def serial() -> dict[str, Tensor]:
    return weights_after(tiny("mode=serial"), STEPS)


@pytest.mark.parametrize(
    "option", ["mode.bucket_mebibytes=1", "mode.gradient_as_bucket_view=false", "mode.static_graph=true"]
)
def test_options_of_ddp_change_no_result(option: str) -> None:
    assert largest_difference(serial(), weights_after(data(option), STEPS)) < 1e-6


def test_compiled_replicas_equal_serial() -> None:
    states = on_workers(captured, 2, data("compile=true"), STEPS)
    [state] = [state for state in states if state is not None]
    assert largest_difference(serial(), state) < 1e-6


def test_averaging_weights_in_every_step_is_averaging_gradients() -> None:
    """Plain SGD is linear in the gradient, momentum and weight decay included."""
    config = data("aggregation=average", "aggregation.every=1")
    assert largest_difference(serial(), weights_after(config, STEPS)) < 1e-5


@pytest.mark.parametrize("every", [2, 3])
def test_local_sgd_is_what_its_definition_says(every: int) -> None:
    """Two copies take steps of their own on halves of the batch, and meet after `every` and at the end."""
    config = data("aggregation=average", f"aggregation.every={every}", "architecture.norm=batch")
    info = config.dataset.info()
    common = config.architecture.create(info.input_shape, info.num_classes, seed=config.seed).plain
    copies = [deepcopy(common), deepcopy(common)]
    updaters = [config.optimizer.updater(copy.parameters(), 6) for copy in copies]
    request = LoaderSpec(seed=0, batch_size=16, shard=slice(0, 16), images=True, device=torch.device("cpu"))
    batches = config.dataset.loader(request).train(0)
    for step in range(1, STEPS + 1):
        batch = next(batches)
        halves = zip(batch.images.split(8), batch.labels.split(8), strict=True)
        for copy, updater, (images, labels) in zip(copies, updaters, halves, strict=True):
            nn.functional.cross_entropy(copy(images), labels).backward()
            updater.step()
        if step % every == 0 or step == STEPS:
            for tensors in zip(*(copy.state_dict().values() for copy in copies), strict=True):
                if tensors[0].is_floating_point():
                    mean = (tensors[0] + tensors[1]) / 2
                    tensors[0].copy_(mean)
                    tensors[1].copy_(mean)
    assert largest_difference(copies[0].state_dict(), weights_after(config, STEPS)) < 1e-6


SAME = {
    "damped by 1 is average": ("aggregation=damped aggregation.alpha=1", "aggregation=average"),
    "momentum without memory is damped": (
        "aggregation=momentum aggregation.beta=0 aggregation.alpha=0.6",
        "aggregation=damped aggregation.alpha=0.6",
    ),
    "ema that forgets at once is average": ("aggregation=ema aggregation.decay=0", "aggregation=average"),
}


@pytest.mark.parametrize("name", SAME)
def test_rules_that_are_the_same(name: str) -> None:
    one, other = (weights_after(data(*rule.split(), "aggregation.every=2"), STEPS) for rule in SAME[name])
    assert largest_difference(one, other) == 0


def all_replicas(ranks: Ranks, config: RunConfig, steps: int) -> dict[str, Tensor]:
    engine, loader = build(config, ranks)
    take_steps(engine, loader, steps)
    return dict(engine.state_dict()["network"])


@pytest.mark.parametrize("rule", ["average", "momentum", "trust_region", "anderson", "ema"])
def test_replicas_are_the_same_after_a_segment(rule: str) -> None:
    config = tiny(
        "mode=data",
        "workers=3",
        "batch_size=15",
        f"aggregation={rule}",
        "aggregation.every=2",
        "architecture.norm=batch",
    )
    first, *others = on_workers(all_replicas, 3, config, 3)
    assert all(largest_difference(first, other) == 0 for other in others)


@pytest.mark.parametrize(
    ("overrides", "exchanges"),
    [([], 4), (["aggregation=average", "aggregation.every=2"], 2), (["aggregation=average"], 1)],
)
def test_exchanges_are_counted(overrides: list[str], exchanges: int) -> None:
    size = 4 * sum(tensor.numel() for tensor in serial().values())
    for stopwatch in on_workers(counted, 2, data(*overrides), 4):
        assert stopwatch.sent_bytes == exchanges * size
        assert 0 < stopwatch.wait_seconds < stopwatch.seconds


def test_sync_batchnorm_needs_gpus() -> None:
    with pytest.raises(UserError) as refused:
        check(data("mode.sync_batchnorm=true"))
    assert "try mode.sync_batchnorm=false" in str(refused.value)


def told_by_the_rule(ranks: Ranks, config: RunConfig) -> list[set[str]]:
    """The names of what the rule tells of itself, step by step."""
    engine, loader = build(config, ranks)
    batches = loader.train(0)
    engine.start(STEPS)
    told = [set(engine.step(next(batches)).scalars) for _ in range(STEPS)]
    engine.finish()
    return told


def test_a_round_that_ends_with_its_segment_is_logged_too() -> None:
    config = data("aggregation=trust_region", "aggregation.every=1000")
    names = {"aggregation/accepted_fraction", "aggregation/radius"}
    for told in on_workers(told_by_the_rule, 2, config):
        assert told == [set()] * (STEPS - 1) + [names]
