"""Measured times of layers: fast to get, and in the right proportion."""

from __future__ import annotations

import time
from functools import partial
from math import prod

import pytest
import torch
from tiny import composed
from torch import nn

from layerpar.architectures.base import Network
from layerpar.datasets.base import Batch
from layerpar.objectives import heads
from layerpar.partition.layer_times import Measuring, appearance, measure
from layerpar.partition.profile import Profile

OPTIMIZER = composed().optimizer


def network(*overrides: str) -> Network:
    config = composed("dataset=synthetic", "device=cpu", *overrides)
    info = config.dataset.info()
    return config.architecture.create(info.input_shape, info.num_classes, seed=0)


def measured(
    layers: list[nn.Module], *, samples: int, microbatches: int = 1, head: str = "linear"
) -> Profile:
    shape = composed("dataset=synthetic").dataset.info().input_shape
    measuring = Measuring(
        inputs=lambda count: torch.rand(count, *shape),
        build_optimizer=OPTIMIZER.build,
        build_head=partial(heads.build, head, num_classes=10),
    )
    return measure(layers, measuring, samples=samples, microbatches=microbatches)


def total(profile: Profile, layer: int) -> float:
    return profile.forward[layer] + profile.backward_input[layer] + profile.backward_weights[layer]


def test_wide_layers_cost_more_than_narrow_ones() -> None:
    wide = network("architecture.width=1024", "architecture.depth=3", "architecture.norm=none")
    profile = measured(wide.layers, samples=128)
    lengths = {len(times) for name, times in vars(profile).items() if name != "selecting"}
    assert lengths == {4}
    assert total(profile, 1) > 3 * total(profile, 3)
    assert profile.copy[1] > 3 * profile.copy[3]
    assert profile.head[3] == 0 < min(profile.head[:3])
    assert min(profile.update) > 0


def test_equal_layers_cost_the_same_to_the_last_bit() -> None:
    profile = measured(network("architecture.width=64", "architecture.depth=5").layers, samples=16)
    for name, times in vars(profile).items():
        if name != "selecting":
            assert len(set(times[1:5])) == 1, "hidden layers 1 to 4 are alike"
    assert profile.forward[1] != profile.forward[5]


class Quiet(nn.Module):
    """One's own, which does not print what it holds."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(inputs, outputs))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.flatten(1) @ self.weight


def test_own_layers_that_print_alike_are_told_apart_by_their_weights() -> None:
    numbers = prod(composed("dataset=synthetic").dataset.info().input_shape)
    profile = measured([Quiet(numbers, 512), Quiet(512, 512), Quiet(512, 64), Quiet(64, 10)], samples=256)
    assert len(set(profile.forward)) == 4


class Every(nn.Module):
    """Every second or third number, times a weight: two that hold as many weights and print alike."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.step = step

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.flatten(1)[:, :: self.step] * self.weight


def test_own_layers_that_print_alike_may_put_out_other_shapes() -> None:
    assert repr(Every(2)) == repr(Every(3))
    assert appearance(Every(2)) == appearance(Every(2)) != appearance(Every(3))
    half = -(-prod(composed("dataset=synthetic").dataset.info().input_shape) // 2)
    layers = [Every(2), Every(1), Every(2), nn.Linear(-(-half // 2), 10)]
    assert len(measured(layers, samples=64).forward) == 4


def test_the_update_of_a_step_costs_the_same_in_any_number_of_micro_batches() -> None:
    layers = network("architecture.width=512", "architecture.depth=3", "architecture.norm=none").layers
    whole, parts = (measured(layers, samples=64, microbatches=count) for count in (1, 8))
    assert parts.update[1] < 5 * whole.update[1], "once a step, not once in each of eight micro-batches"
    assert parts.copy[1] < 5 * whole.copy[1]
    assert total(parts, 1) > 0.5 * total(whole, 1), "of all micro-batches of a step, not of one"


def test_a_micro_batch_alone_adds_its_gradients_to_none() -> None:
    """What is recorded of it is one backward; predictions put the adding up on top, once."""
    layers = network("architecture.width=512", "architecture.depth=3", "architecture.norm=none").layers
    step = measured(layers, samples=16, microbatches=8)
    alone = step.of_microbatch(8)
    for whole, part, added in zip(
        step.backward_weights, alone.backward_weights, step.accumulate, strict=True
    ):
        assert 8 * part + 7 * added == pytest.approx(whole)
    assert alone.forward == pytest.approx([seconds / 8 for seconds in step.forward])


def test_measuring_leaves_the_network_and_the_random_numbers_alone() -> None:
    small = network("architecture=cnn", "architecture.depth=3", "architecture.width=8")
    before = {name: tensor.clone() for name, tensor in small.plain.state_dict().items()}
    state = torch.random.get_rng_state()
    measured(small.layers, samples=16, head="conv")
    after = small.plain.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in small.plain.parameters())


@pytest.mark.parametrize("architecture", ["architecture=mlp", "architecture=resnet architecture.depth=20"])
def test_large_networks_are_measured_on_few_samples(architecture: str) -> None:
    layers = network(*architecture.split()).layers
    before = time.process_time()
    measured(layers, samples=128)
    assert time.process_time() - before < 10, "the budget is 2 s on an idle machine"


def test_selecting_samples_is_part_of_the_first_layers_forward() -> None:
    batches = [Batch(partial(torch.zeros, 8, 1, 64, 64), torch.zeros(8), torch.zeros(8))]
    profile = measure(
        [nn.Flatten(), nn.Linear(64 * 64, 4)],
        Measuring(
            lambda samples: torch.rand(samples, 1, 64, 64),
            partial(torch.optim.SGD, lr=0.1),
            batches=lambda samples: [Batch(one.load, one.labels, one.indices) for one in batches],
        ),
        samples=8,
        microbatches=2,
    )
    assert profile.selecting > 0
    counted = profile.with_selecting()
    assert counted.selecting == 0
    assert counted.forward == [profile.forward[0] + profile.selecting, *profile.forward[1:]]
    assert profile.of_microbatch(2).selecting == profile.selecting / 2
