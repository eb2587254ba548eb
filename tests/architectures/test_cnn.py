import torch
from families import activation_shapes, configured
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from layerpar.architectures.cnn import CNN


def shapes_of(cnn: CNN, image=(3, 32, 32)):
    with torch.device("meta"):
        return activation_shapes(cnn.build(image, 10), image)


def test_channels_double_where_sides_halve():
    shapes = shapes_of(CNN(name="cnn", depth=8, width=32, stages=3, norm="batch"))
    assert [channels for channels, *_ in shapes] == [32, 32, 32, 64, 64, 64, 128, 128, 10]
    assert [side for _, side, *_ in shapes[:-1]] == [32, 32, 16, 16, 16, 8, 8, 8]


@given(st.integers(1, 5), st.integers(0, 20), st.integers(1, 4))
def test_convolutions_spread_evenly_over_the_stages(stages, more, width):
    depth = stages + more
    shapes = shapes_of(CNN(name="cnn", depth=depth, width=width, stages=stages, norm="none"))
    assert len(shapes) == depth + 1
    channels = [shape[0] for shape in shapes[:-1]]
    counts = [channels.count(width * 2**stage) for stage in range(stages)]
    assert sum(counts) == depth
    assert max(counts) - min(counts) <= 1
    assert shapes[-2][1:] == (32 // 2 ** (stages - 1),) * 2


def test_layers_inside_a_stage_cost_the_same_in_every_stage():
    activation = torch.randn(1, 3, 32, 32, device="meta")
    with torch.device("meta"):
        network = CNN(name="cnn", depth=9, width=16, stages=3, norm="none").build((3, 32, 32), 10)
    costs = []
    for layer in network.layers:
        with FlopCounterMode(display=False) as counter:
            activation = layer(activation)
        costs.append(counter.get_total_flops())
    assert costs[1] == costs[2] == costs[4] == costs[5] == costs[7] == costs[8]


def test_the_default_fits_digits_mnist_and_cifar():
    cnn = configured("architecture=cnn")
    for image in ((1, 8, 8), (1, 28, 28), (3, 32, 32)):
        assert shapes_of(cnn, image)[-1] == (10,)


def test_without_norm_convolutions_have_a_bias_and_with_one_they_have_not():
    for norm, biased in (("none", True), ("batch", False), ("layer", False)):
        network = CNN(name="cnn", depth=3, width=4, stages=1, norm=norm).create((1, 8, 8), 10, seed=0)
        convolutions = [module for module in network.plain.modules() if isinstance(module, nn.Conv2d)]
        assert all((convolution.bias is not None) == biased for convolution in convolutions)


def test_activations_keep_their_scale_through_a_deep_network_without_norm():
    network = CNN(name="cnn", depth=16, width=32, stages=1, norm="none").create((3, 32, 32), 10, seed=0)
    activation = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        powers = [(activation := layer(activation)).square().mean() for layer in network.layers[:-1]]
    assert 0.1 < powers[-1] / powers[0] < 10


def test_fine_cuts_are_between_convolution_and_norm():
    network = configured("architecture=cnn", "architecture.depth=3", "architecture.fine_cuts=true").build(
        (3, 8, 8), 10
    )
    kinds = [
        type(layer[0] if isinstance(layer, torch.nn.Sequential) else layer).__name__
        for layer in network.layers
    ]
    assert kinds == ["Conv2d", "BatchNorm2d"] * 3 + ["AdaptiveAvgPool2d"]
    owned = [name for layer in range(7) for name in network.names(layer, layer + 1)]
    assert sorted(owned) == sorted(network.plain.state_dict())


def test_without_a_norm_there_is_nothing_finer_to_cut():
    options = ("architecture.depth=3", "architecture.fine_cuts=true", "architecture.norm=none")
    assert len(configured("architecture=cnn", *options).build((3, 8, 8), 10).layers) == 4
