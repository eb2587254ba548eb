"""What one block of `delayed` does with a late gradient: forwards, then a backward and an update."""

from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from tiny import composed
from torch import Tensor, nn

from layerpar.objectives.block import ACTIVATION, Block, BlockSpec
from layerpar.objectives.delayed import GRADIENT

CONFIG = composed("optimizer.schedule.name=constant", "optimizer.schedule.warmup=0")
LABELS = torch.zeros(4, dtype=torch.int64)


def first_of_two(layers: list[nn.Module], *options: str) -> Block:
    """The first block, one micro-batch late."""
    spec = BlockSpec(
        index=0,
        num_blocks=2,
        layers=layers,
        output_shape=(3,),
        num_classes=3,
        seeded=lambda name, build: build(),
        optimizer=CONFIG.optimizer,
        total_steps=10,
        autocast=nullcontext,
    )
    return composed("objective=delayed", "objective.link_delay=1", *options).objective.block(spec)


def dropping() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Linear(5, 6), nn.Dropout(0.5), nn.Linear(6, 3)]


def micro_batches(count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs, and the gradients that come back one by one."""
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(4, 5, generator=generator) for _ in range(count)]
    return inputs, [torch.randn(4, 3, generator=generator) for _ in range(count)]


def test_running_the_forward_again_drops_what_was_dropped_then() -> None:
    """Weights of now, dropout of then, and the random numbers to come are left alone."""
    inputs, upstream = micro_batches(3)
    block = first_of_two(dropping(), "objective.recompute=true")
    torch.manual_seed(7)
    outputs = [block.forward({ACTIVATION: inputs[0]}, LABELS)[ACTIVATION]]
    for later, gradient in zip(inputs[1:], upstream, strict=False):
        outputs.append(block.forward({ACTIVATION: later}, LABELS)[ACTIVATION])
        block.backward({GRADIENT: gradient})
        block.update()
    following = torch.rand(3)

    layers = nn.Sequential(*dropping())
    updater = CONFIG.optimizer.updater(layers.parameters(), 10)
    torch.manual_seed(7)
    states = [torch.get_rng_state()]
    expected = [layers(inputs[0])]
    for index, gradient in enumerate(upstream[:2]):
        states.append(torch.get_rng_state())
        expected.append(layers(inputs[index + 1]))
        now = torch.get_rng_state()
        torch.set_rng_state(states[index])
        layers(inputs[index]).backward(gradient)
        torch.set_rng_state(now)
        updater.step()
    torch.testing.assert_close(outputs, [output.detach() for output in expected])
    torch.testing.assert_close(block.weights(), list(layers.parameters()), check_layout=False)
    assert torch.equal(following, torch.rand(3))


def test_running_the_forward_again_counts_no_sample_twice() -> None:
    inputs, upstream = micro_batches(2)
    norm = nn.BatchNorm1d(5)
    once = deepcopy(norm)
    block = first_of_two([norm, nn.Linear(5, 3)], "objective.recompute=true")
    for own in inputs:
        block.forward({ACTIVATION: own}, LABELS)
        once(own)
    block.backward({GRADIENT: upstream[0]})
    assert torch.equal(norm.running_mean, once.running_mean)
    assert norm.num_batches_tracked == once.num_batches_tracked


@pytest.mark.parametrize("stash", [True, False])
def test_only_a_stash_takes_memory(stash: bool) -> None:
    """While a backward is due, an update leaves the old weights' memory alone; else it works in place."""
    inputs, upstream = micro_batches(2)
    layers = [nn.Linear(5, 3)]
    block = first_of_two(layers, f"objective.stash={str(stash).lower()}")
    for own in inputs:
        block.forward({ACTIVATION: own}, LABELS)
    block.backward({GRADIENT: upstream[0]})
    address, before = layers[0].weight.data_ptr(), layers[0].weight.detach().clone()
    block.update()
    assert (layers[0].weight.data_ptr() != address) == stash
    assert not torch.equal(layers[0].weight, before)
    block.backward({GRADIENT: upstream[1]})
    address = layers[0].weight.data_ptr()
    block.update()
    assert layers[0].weight.data_ptr() == address, "nothing is due any more"
