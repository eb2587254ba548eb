from copy import deepcopy

import pytest
import torch
from families import configured
from torch import nn

from layerpar.architectures.resnet import Residual, ResNet


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_parameters_are_those_of_the_paper(depth, parameters):
    """He et al. 2016, table 6: 0.27 M, 0.46 M, 0.66 M, 0.85 M, 1.7 M."""
    with torch.device("meta"):
        network = ResNet(name="resnet", depth=depth, width=16).build((3, 32, 32), 10)
    assert network.num_parameters == parameters
    assert len(network.layers) == 3 * (depth - 2) // 6 + 2


def test_ten_times_the_width_is_about_a_hundred_times_the_weights():
    counts = []
    for width in (16, 160):
        with torch.device("meta"):
            counts.append(
                configured("architecture=resnet", f"architecture.width={width}").build((3, 32, 32), 10)
            )
    thin, wide = (network.num_parameters for network in counts)
    assert 95 < wide / thin < 100


def test_the_shortcut_keeps_every_second_pixel_and_fills_new_channels_with_zeros():
    block = Residual(2, 4).eval()
    torch.nn.init.zeros_(block.branch.norm2.weight)
    images = torch.rand(1, 2, 5, 5)
    result = block(images)
    assert torch.equal(result[:, :2], images[:, :, ::2, ::2])
    assert result.shape == (1, 4, 3, 3)
    assert not result[:, 2:].any()


def test_a_block_of_one_width_starts_from_its_input():
    block = Residual(3, 3).eval()
    torch.nn.init.zeros_(block.branch.norm2.weight)
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(block(images), images)


def test_fine_cuts_change_neither_weights_nor_results_wherever_the_cut():
    networks = [
        configured("architecture=resnet", "architecture.depth=14", "architecture.width=4", option).create(
            (3, 8, 8), 10, seed=0
        )
        for option in ("architecture.fine_cuts=false", "architecture.fine_cuts=true")
    ]
    coarse, fine = networks
    assert coarse.plain.state_dict().keys() == fine.plain.state_dict().keys()
    assert (len(coarse.layers), len(fine.layers)) == (8, 14)
    images = torch.rand(4, 3, 8, 8)
    expected = coarse.plain.train()(images)
    for cut in range(1, 14):
        fine.plain.train()
        parts = [*fine.segment(0, cut), *fine.segment(cut, 14)]
        assert torch.equal(torch.nn.Sequential(*parts)(images), expected)


def test_fine_layers_own_every_tensor_once():
    network = configured("architecture=resnet", "architecture.depth=14", "architecture.fine_cuts=true").build(
        (3, 8, 8), 10
    )
    owned = [name for layer in range(14) for name in network.names(layer, layer + 1)]
    assert sorted(owned) == sorted(network.plain.state_dict())


def test_a_copy_of_half_a_block_copies_its_own_weights_only():
    for half in Residual(4, 8).halves():
        copied: dict[int, object] = {}
        deepcopy(half, copied)
        weights = [value for value in copied.values() if isinstance(value, nn.Parameter)]
        assert len(weights) == len(list(half.parameters()))
