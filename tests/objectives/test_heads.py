from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from layerpar.objectives import heads

KINDS = ("linear", "mlp", "conv")
SHAPES = [(12, 16, 16), (12, 7, 7), (12, 5, 9), (512, 1, 1), (28, 20), (1, 20), (40,), (3,)]


def flops(module, *shape):
    with FlopCounterMode(display=False) as counter:
        module(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops()


def phantom(kind, shape, num_classes=10):
    with torch.device("meta"):
        return heads.build(kind, shape, num_classes).eval()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_head_turns_every_kind_of_activation_into_logits_and_leaves_it_alone(kind, shape):
    activation = torch.randn(4, *shape, requires_grad=True)
    before = activation.detach().clone()
    head = heads.build(kind, shape, 10)
    logits = head(activation)
    assert logits.shape == (4, 10)
    logits.square().sum().backward()
    assert torch.equal(activation, before)
    assert activation._version == 0
    assert activation.grad is not None
    assert all(parameter.grad is not None for parameter in head.parameters())


@given(
    st.sampled_from(KINDS),
    st.one_of(
        st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 9)] * 2), st.tuples(st.integers(1, 9))
    ),
)
@settings(max_examples=60, deadline=None)
def test_no_shape_is_too_small(kind, shape):
    head = phantom(kind, shape)
    assert head(torch.empty(5, *shape, device="meta")).shape == (5, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_compute_in_bfloat16_and_with_weights_given_to_them(kind):
    for shape in ((8, 8, 8), (8, 8), (8,)):
        head = heads.build(kind, shape, 10).eval()
        activation = torch.randn(4, *shape)
        with torch.autocast("cpu", torch.bfloat16):
            assert head(activation).dtype == torch.bfloat16
        zeros = {name: torch.zeros_like(tensor) for name, tensor in head.named_parameters()}
        assert not functional_call(head, zeros, (activation,)).any()


def test_a_head_after_copies_of_layers_takes_what_they_put_out_and_leaves_the_originals_alone():
    layers = [nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU()), nn.AvgPool2d(2)]
    originals = deepcopy(layers)
    head = heads.after(layers, "linear", (3, 10, 10), 7)
    assert [tuple(weight.shape) for weight in head.parameters() if weight.dim() > 1] == [
        (5, 3, 3, 3),
        (7, 20),
    ]
    assert torch.equal(head[0][0].weight, layers[0][0].weight)
    head(torch.randn(4, 3, 10, 10)).sum().backward()
    for layer, original in zip(layers, originals, strict=True):
        for left, tensor in zip(layer.state_dict().values(), original.state_dict().values(), strict=True):
            assert torch.equal(left, tensor)
    assert all(parameter.grad is None for layer in layers for parameter in layer.parameters())


def test_copies_that_end_in_the_classifier_need_no_head():
    classifier = nn.Linear(6, 10)
    head = heads.after([classifier], None, (6,), 10)
    activation = torch.randn(3, 6)
    assert torch.equal(head(activation), classifier(activation))


def test_linear_sees_the_quadrants_of_a_map_the_halves_of_a_sequence_and_a_whole_vector():
    sizes = [heads.build("linear", shape, 10)[-1].in_features for shape in ((16, 8, 8), (28, 16), (16,))]
    assert sizes == [64, 32, 16]


def test_mlp_is_the_mlp_sr_of_decoupled_greedy_learning():
    """A quarter of the side, three 1 x 1 convolutions, 2 x 2, three hidden linear layers as wide as that."""
    head = heads.build("mlp", (32, 16, 16), 10)
    convolutions = [module for module in head if isinstance(module, nn.Conv2d)]
    linear = [(module.in_features, module.out_features) for module in head if isinstance(module, nn.Linear)]
    assert [module.weight.shape for module in convolutions] == [(32, 32, 1, 1)] * 3
    assert linear == [(128, 128)] * 3 + [(128, 10)]
    assert head[:1](torch.zeros(1, 32, 16, 16)).shape == (1, 32, 4, 4)


@pytest.mark.parametrize(("side", "kept"), [(32, 2), (8, 2), (4, 2), (2, 2), (1, 1)])
def test_mlp_keeps_the_quadrants_of_small_maps(side, kept):
    assert heads.build("mlp", (8, side, side), 10)[-1].in_features == 8 * kept**2


@pytest.mark.parametrize(("shape", "convolution"), [((16, 32, 32), (16, 32, 2)), ((64, 8, 8), (64, 64, 1))])
def test_conv_is_the_1c2f_of_infopro(shape, convolution):
    head = heads.build("conv", shape, 10)
    first, *linear = [module for module in head if isinstance(module, nn.Conv2d | nn.Linear)]
    assert (first.in_channels, first.out_channels, first.stride[0]) == convolution
    assert [module.out_features for module in linear] == [128, 10]


def test_mlp_costs_under_a_twentieth_of_the_block_it_trains():
    """Half of a VGG-like network of six convolutions, as in DGL's comparison of heads."""
    with torch.device("meta"):
        convolutions = [nn.Conv2d(3, 128, 3, padding=1), nn.Conv2d(128, 256, 3, padding=1), nn.MaxPool2d(2)]
        block = nn.Sequential(*convolutions, nn.Conv2d(256, 256, 3, padding=1))
    assert flops(phantom("mlp", (256, 16, 16)), 256, 16, 16) < 0.05 * flops(block, 3, 32, 32)


def test_mlp_of_a_vector_costs_under_a_twentieth_of_four_layers_of_its_width():
    assert flops(phantom("mlp", (1024,)), 1024) < 0.05 * 4 * 2 * 1024**2


@pytest.mark.parametrize(("side", "target"), [(8, 2), (7, 2), (9, 4), (5, 2), (1, 1), (6, 6)])
def test_pooling_reaches_its_target_and_leaves_no_pixel_out(side, target):
    pool, sides = heads._pool((side, side), (target, target))
    image = torch.ones(1, 1, side, side, requires_grad=True)
    pooled = pool(image)
    assert pooled.shape[2:] == sides == (target, target)
    torch.testing.assert_close(pooled, torch.ones_like(pooled))
    pooled.sum().backward()
    assert (image.grad > 0).all()


def test_where_the_target_divides_the_side_pooling_is_the_mean_of_equal_tiles():
    pool, _ = heads._pool((8, 8), (2, 2))
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(pool(image), nn.functional.adaptive_avg_pool2d(image, 2))
