import io

import pytest
import torch
from families import activation_shapes, configured
from torchvision import models


def phantom(*overrides: str, image=(3, 224, 224), classes=1000):
    with torch.device("meta"):
        return configured(*overrides).build(image, classes)


@pytest.mark.parametrize(
    ("depth", "parameters", "blocks"),
    [
        (18, 11_689_512, 8),
        (34, 21_797_672, 16),
        (50, 25_557_032, 16),
        (101, 44_549_160, 33),
        (152, 60_192_808, 50),
    ],
)
def test_each_depth_has_torchvisions_parameters_and_one_layer_for_each_residual_block(
    depth, parameters, blocks
):
    architecture = configured(f"architecture=resnet{depth}")
    assert (architecture.name, architecture.depth) == (f"resnet{depth}", depth)
    network = phantom(f"architecture=resnet{depth}")
    assert network.num_parameters == parameters
    assert len(network.layers) == blocks + 2


def test_the_name_follows_a_sweep_of_depths():
    assert configured("architecture=resnet18", "architecture.depth=50").name == "resnet50"


def test_twice_the_width_is_torchvisions_wide_resnet():
    with torch.device("meta"):
        wide = models.wide_resnet50_2().state_dict()
    ours = phantom("architecture=resnet50", "architecture.width=128").plain.state_dict()
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: t.shape for name, t in wide.items()
    }


def test_the_trained_network_loads_into_torchvisions_and_gives_the_same_logits():
    network = configured("architecture=resnet18").create((3, 64, 64), 1000, seed=0)
    images = torch.randn(4, 3, 64, 64)
    optimizer = torch.optim.SGD(network.plain.parameters(), lr=0.01)
    activation = images
    for layer in network.layers:
        activation = layer(activation)
    torch.nn.functional.cross_entropy(activation, torch.arange(4)).backward()
    optimizer.step()
    file = io.BytesIO()
    torch.save(network.plain.state_dict(), file)
    file.seek(0)
    plain = models.resnet18()
    plain.load_state_dict(torch.load(file, weights_only=True), strict=True)
    plain.eval(), network.plain.eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(images), network.plain(images))
        plain.to(memory_format=torch.channels_last)  # our layout, hence the same kernels
        assert torch.equal(plain(images), network.plain(images))


def test_images_shrink_to_a_thirty_second():
    network = phantom("architecture=resnet50", image=(3, 224, 224))
    shapes = activation_shapes(network, (3, 224, 224))
    assert shapes[0] == (64, 56, 56)
    assert shapes[-2:] == [(2048, 7, 7), (1000,)]


def test_grey_images_change_the_first_convolution_only():
    grey = phantom("architecture=resnet18", image=(1, 28, 28)).plain.state_dict()
    coloured = phantom("architecture=resnet18").plain.state_dict()
    assert [name for name in coloured if coloured[name].shape != grey[name].shape] == ["conv1.weight"]
