"""Measured times of layers: fast to get, and in the right proportion."""

from __future__ import annotations

import time

import pytest
import torch
from tiny import composed

from layerpar.engine.contract import Workload
from layerpar.measure.stopwatch import Stopwatch
from layerpar.partition.layer_times import Profile, measure
from layerpar.ranks import Ranks

CPU = torch.device("cpu")


def workload(*overrides: str) -> Workload:
    config = composed("dataset=synthetic", "device=cpu", *overrides)
    info = config.dataset.info()
    network = config.architecture.create(info.input_shape, info.num_classes, seed=0)
    return Workload(config, network, info, Ranks(0, 2), CPU, 10, Stopwatch(CPU))


def total(profile: Profile, layer: int) -> float:
    return profile.forward[layer] + profile.backward_input[layer] + profile.backward_weights[layer]


def test_wide_layers_cost_more_than_narrow_ones() -> None:
    work = workload(
        "architecture.width=1024", "architecture.depth=3", "batch_size=128", "architecture.norm=none"
    )
    profile = measure(work, head="linear")
    lengths = {len(times) for times in vars(profile).values()}
    assert lengths == {4}
    assert total(profile, 1) > 3 * total(profile, 3)
    assert profile.head[3] == 0 < min(profile.head[:3])
    assert min(profile.update) > 0


def test_equal_layers_cost_the_same_to_the_last_bit() -> None:
    profile = measure(
        workload("architecture.width=64", "architecture.depth=5", "batch_size=16"), head="linear"
    )
    for times in vars(profile).values():
        assert len(set(times[1:5])) == 1, "hidden layers 1 to 4 are alike"
    assert profile.forward[1] != profile.forward[5]


def test_measuring_leaves_the_network_and_the_random_numbers_alone() -> None:
    work = workload("architecture=cnn", "architecture.depth=3", "architecture.width=8", "batch_size=16")
    before = {name: tensor.clone() for name, tensor in work.network.plain.state_dict().items()}
    state = torch.random.get_rng_state()
    measure(work, head="conv")
    after = work.network.plain.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in work.network.plain.parameters())


@pytest.mark.parametrize("architecture", ["architecture=mlp", "architecture=resnet architecture.depth=20"])
def test_large_networks_are_measured_on_few_samples(architecture: str) -> None:
    work = workload(*architecture.split(), "batch_size=128")
    before = time.process_time()
    measure(work, head="linear")
    assert time.process_time() - before < 10, "the budget is 2 s on an idle machine"
