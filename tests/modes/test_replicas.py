"""Replicas of the chain: what they make of a batch together is what one chain makes of it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tiny import OBJECTIVES, build, counted, largest_difference, on_workers, tiny, trained
from torch import Tensor

from layerpar.check import check
from layerpar.config import RunConfig
from layerpar.datasets.base import LoaderSpec
from layerpar.errors import UserError
from layerpar.rendezvous.ranks import Ranks

STEPS = 5
DIFFERENT_RULES = ("replace", "momentum", "trust_region")
RULES = ("replace", "average", "damped", "momentum", "trust_region", "anderson", "ema")
BLOCKS = ("mode=layerwise", "mode.blocks=2", "mode.partition=[2]")


def replicas(number: int, *overrides: str) -> RunConfig:
    return tiny(*BLOCKS, f"mode.replicas={number}", *overrides)


def ruled(*overrides: str, rules: Sequence[str] = RULES) -> list[RunConfig]:
    """A run for each rule, in rounds of two steps: the last round is cut short."""
    return [tiny(*overrides, f"aggregation={rule}", "aggregation.every=2") for rule in rules]


def trained_in_turn(ranks: Ranks, configs: list[RunConfig]) -> list[dict[str, Tensor] | None]:
    return [trained(ranks, config, STEPS) for config in configs]


def fed_alike(ranks: Ranks, configs: list[RunConfig]) -> list[dict[str, Tensor] | None]:
    """Trained with every replica getting the first 8 samples of each batch."""
    same = LoaderSpec(seed=0, batch_size=16, shard=slice(0, 8), images=True, device=torch.device("cpu"))
    states = []
    for config in configs:
        engine, _ = build(config, ranks)
        engine.start(STEPS)
        for batch, _ in zip(config.dataset.loader(same).train(0), range(STEPS), strict=False):
            engine.step(batch)
        engine.finish()
        states.append(engine.full_state())
    return states


def states(configs: list[RunConfig], train: Any = trained_in_turn) -> list[dict[str, Tensor]]:
    """The weights that each run ends with, which one of its workers holds."""
    by_rank = on_workers(train, configs[0].num_workers, configs)
    return [next(state for state in held if state is not None) for held in zip(*by_rank, strict=True)]


def differences(ones: list[dict[str, Tensor]], others: list[dict[str, Tensor]]) -> list[float]:
    return [largest_difference(one, other) for one, other in zip(ones, others, strict=True)]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_replicas_of_the_same_samples_are_one(objective: str) -> None:
    """To the last bit, for the mean of two equal numbers is exact."""
    # A schedule depends on the number of batches in an epoch.
    constant = ["optimizer.schedule.name=constant", "optimizer.schedule.warmup=0", *objective.split()]
    one = ruled(*BLOCKS, *constant, "workers=1", "batch_size=8", rules=DIFFERENT_RULES)
    two = ruled(*BLOCKS, *constant, "workers=4", "mode.replicas=2", rules=DIFFERENT_RULES)
    assert differences(states(one, fed_alike), states(two, fed_alike)) == [0, 0, 0]


def test_replicas_that_share_a_batch_train_as_one_on_all_of_it() -> None:
    """Gradients are means over samples, so the mean over replicas is the whole batch's gradient."""
    one, two, four = (
        states([replicas(number, f"workers={workers}", *objective.split()) for objective in OBJECTIVES])
        for number, workers in ((1, 1), (2, 4), (4, 4))
    )
    assert max(differences(one, two)) < 1e-6
    assert max(differences(one, four)) < 1e-6


def test_chains_of_one_block_are_data_parallelism() -> None:
    data = ruled("mode=data", "workers=2")
    chains = ruled("mode=layerwise", "mode.replicas=2", "workers=2")
    assert max(differences(states(data), states(chains))) < 1e-6


def test_running_statistics_are_the_mean_over_replicas() -> None:
    """As in local SGD, which averages them after every round: they are linear in what they have seen."""
    options = ["workers=2", "aggregation=average", "aggregation.every=2", "architecture.norm=batch"]
    data = states([tiny("mode=data", *options)])
    chains = states([tiny("mode=layerwise", "mode.replicas=2", *options)])
    assert max(differences(data, chains)) < 1e-6


@pytest.mark.parametrize("objective", ["objective=delayed", "objective=frozen mode.exchange=weights"])
def test_replicas_do_not_depend_on_the_length_of_their_chains(objective: str) -> None:
    short, long = (
        states(ruled(*BLOCKS, *objective.split(), "mode.replicas=2", f"workers={workers}"))
        for workers in (2, 4)
    )
    assert differences(short, long) == [0] * len(RULES)


def after_a_segment(ranks: Ranks, config: RunConfig) -> tuple[bool, int, Tensor | None, dict[str, Tensor]]:
    engine, loader = build(config, ranks)
    engine.start(STEPS)
    losses = [engine.step(batch).loss for batch, _ in zip(loader.train(0), range(STEPS), strict=False)]
    engine.finish()
    blocks = engine.state_dict()["blocks"]
    weights = {f"{k}.{name}": blocks[k]["modules"][name] for k in blocks for name in blocks[k]["modules"]}
    (test,) = loader.test()
    return engine.owner, sum(loss is not None for loss in losses), engine.predict(test), weights


@pytest.mark.parametrize("rule", ["replace", "average"])
@pytest.mark.parametrize(
    "objective", ["objective=delayed", "objective=local objective.head=mlp objective.overlap=1"]
)
def test_replicas_are_the_same_after_a_segment(objective: str, rule: str) -> None:
    """Heads and running statistics included; every chain has a loss, one worker answers for all."""
    norm = "architecture.norm=batch"
    config = replicas(2, "workers=4", norm, *objective.split(), f"aggregation={rule}", "aggregation.every=2")
    owners, losses, logits, weights = zip(*on_workers(after_a_segment, 4, config), strict=True)
    assert owners == (False, True, False, False)
    assert losses == (0, STEPS, 0, STEPS)
    assert [one is not None for one in logits] == [False, True, False, False]
    for position in (0, 1):
        assert largest_difference(weights[position], weights[2 + position]) == 0


def test_what_replicas_exchange_is_counted() -> None:
    """Gradients of 4 bytes a number in every step; of two replicas each sends as many as it has."""
    plain = "architecture.norm=none"
    alone, _ = on_workers(counted, 2, replicas(1, "workers=2", plain), 4)
    together = on_workers(counted, 4, replicas(2, "workers=4", plain), 4)
    hidden, classifier = 12 * 12 + 12, 12 * 10 + 10
    first = 4 * 4 * (64 * 12 + 12 + hidden + classifier)  # with a linear head
    second = 4 * 4 * (2 * hidden + classifier)
    half = alone.sent_bytes // 2  # each chain has half of the activations
    assert [watch.sent_bytes for watch in together] == [half + first, second, half + first, second]
    assert all(0 < watch.wait_seconds < watch.seconds for watch in together)


MISTAKES = {
    "workers": ("workers=3", "workers=4"),
    "fewer workers than replicas": ("workers=1", "workers=2"),
    "batch": ("workers=2 batch_size=15", "batch_size=16"),
    "layers": ("workers=12", "workers=10"),
    "blocks": ("workers=6 mode.blocks=2", "mode.blocks=workers"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_chains_that_cannot_be(name: str) -> None:
    overrides, repair = MISTAKES[name]
    mistake = ("mode=layerwise", "mode.replicas=2", *overrides.split())
    with pytest.raises(UserError) as refused:
        check(tiny(*mistake))
    assert str(refused.value).endswith(f"try {repair}")
    check(tiny(*mistake, repair))
