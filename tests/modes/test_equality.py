"""Equality before speed: every mode is proven against serial, or against its definition, in a few steps."""

from __future__ import annotations

import pytest
import torch
from tiny import largest_difference, tiny, weights_after
from torch import Tensor, nn

from layerpar.datasets.base import Request

STEPS = 5
OBJECTIVES = (
    "objective=local",
    "objective=local mode.exchange=weights",
    "objective=delayed",
    "objective=delayed objective.recompute=true",
    "objective=frozen mode.exchange=weights",
)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


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


@pytest.mark.parametrize("aggregation", ["replace", "damped", "momentum", "trust_region", "anderson", "ema"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_blocks_do_not_depend_on_where_they_are_placed(objective: str, aggregation: str) -> None:
    norm = "architecture.norm=batch" if aggregation == "replace" else "architecture.norm=layer"
    rule = [f"aggregation={aggregation}", "aggregation.every=2"]
    blocks = ["mode=layerwise", "mode.blocks=4", "mode.partition=[1,2,4]", norm, *objective.split(), *rule]
    one = weights_after(tiny(*blocks, "workers=1"), STEPS)
    for workers in (2, 4) if aggregation == "replace" else (3,):
        assert equal(one, weights_after(tiny(*blocks, f"workers={workers}"), STEPS))
    assert not equal(one, weights_after(tiny("mode=layerwise", "mode.partition=[2]", "workers=1"), STEPS))


@pytest.mark.parametrize("cuts", [[2], [1, 3]])
def test_local_is_what_its_definition_says(cuts: list[int]) -> None:
    """A few lines of plain PyTorch: each block has a head, its own optimizer, and a detached input."""
    config = tiny("mode=layerwise", "workers=1", f"mode.partition={cuts}", "mode.blocks=workers")
    facts = config.dataset.facts()
    network = config.architecture.create(facts.input_shape, facts.num_classes, seed=config.seed)
    borders = [0, *cuts, len(network.layers)]
    blocks, heads, optimizers = [], [], []
    for first, last in zip(borders[:-1], borders[1:], strict=True):
        block = nn.Sequential(*network.layers[first:last])
        torch.manual_seed((config.seed << 32) + (1 << 31) + last - 1)
        head = nn.Linear(12, 10) if last < len(network.layers) else nn.Identity()
        blocks.append(block)
        heads.append(head)
        optimizers.append(config.optimizer.updater([*block.parameters(), *head.parameters()], 6))
    request = Request(seed=0, batch_size=16, shard=slice(0, 16), images=True, device=torch.device("cpu"))
    batches = config.dataset.loader(request).train(0)
    for _ in range(STEPS):
        batch = next(batches)
        activation = batch.images
        for block, head, optimizer in zip(blocks, heads, optimizers, strict=True):
            output = block(activation.detach())
            nn.functional.cross_entropy(head(output), batch.labels).backward()
            optimizer.step()
            activation = output
    expected = nn.Sequential(*network.layers).state_dict()
    assert equal(expected, weights_after(config, STEPS))
