import pytest
import torch
from families import configured
from torch import nn
from torchvision import models

SIZES = [(11, 132_863_336), (13, 133_047_848), (16, 138_357_544), (19, 143_667_240)]


def phantom(*overrides: str, image=(3, 224, 224), classes=1000):
    with torch.device("meta"):
        return configured("architecture=vgg", *overrides).build(image, classes)


@pytest.mark.parametrize(("depth", "parameters"), SIZES)
@pytest.mark.parametrize(("norm", "suffix"), [("none", ""), ("batch", "_bn")])
def test_names_shapes_and_modules_are_torchvisions(depth, parameters, norm, suffix):
    network = phantom(f"architecture.depth={depth}", f"architecture.norm={norm}")
    with torch.device("meta"):
        plain = getattr(models, f"vgg{depth}{suffix}")(dropout=0.0)
    theirs = {name: tensor.shape for name, tensor in plain.state_dict().items()}
    assert {name: tensor.shape for name, tensor in network.plain.state_dict().items()} == theirs
    assert str(network.plain) == str(plain)
    assert len(network.layers) == depth
    if norm == "none":
        assert network.num_parameters == parameters


def test_weights_are_drawn_as_torchvision_draws_them():
    plain = configured("architecture=vgg", "architecture.width=8").create((3, 32, 32), 10, seed=0).plain
    for module in plain.modules():
        if isinstance(module, nn.Conv2d):
            expected = (2 / (9 * module.out_channels)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.15)
            assert not module.bias.any()
    for index in (0, 3):
        assert plain.classifier[index].weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not plain.classifier[index].bias.any()


def test_all_layers_scale_with_the_width():
    full, half = phantom(), phantom("architecture.width=32")
    pairs = zip(full.plain.modules(), half.plain.modules(), strict=True)
    convolutions = [(a, b) for a, b in pairs if isinstance(a, nn.Conv2d)]
    assert all(a.out_channels == 2 * b.out_channels for a, b in convolutions)
    assert half.plain.classifier[3].out_features == 2048


def test_dropout_reaches_both_hidden_linear_layers():
    plain = phantom("architecture.dropout=0.5").plain
    assert [module.p for module in plain.modules() if isinstance(module, nn.Dropout)] == [0.5, 0.5]


def test_by_default_no_random_numbers_are_drawn_in_training():
    network = configured("architecture=vgg", "architecture.width=4").create((3, 32, 32), 10, seed=0)
    before = torch.get_rng_state()
    network.plain.train()(torch.zeros(2, 3, 32, 32))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_crosses_a_cut_before_the_linear_layers_is_the_small_feature_map():
    network = configured("architecture=vgg", "architecture.width=4").create((3, 32, 32), 10, seed=0)
    activation = torch.zeros(2, 3, 32, 32)
    for layer in network.layers[:-3]:
        activation = layer(activation)
    assert activation.shape == (2, 32, 1, 1)
