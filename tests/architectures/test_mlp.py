import torch
from families import configured


def test_depth_counts_hidden_layers():
    network = configured("architecture=mlp", "architecture.depth=3", "architecture.width=5").build(
        (1, 4, 4), 10
    )
    sizes = [tuple(parameter.shape) for parameter in network.plain.parameters() if parameter.dim() == 2]
    assert sizes == [(5, 16), (5, 5), (5, 5), (10, 5)]


def test_a_residual_layer_adds_its_input_where_the_sizes_agree():
    network = configured(
        "architecture=mlp", "architecture.depth=2", "architecture.width=16", "architecture.residual=true"
    ).build((1, 4, 4), 10)
    straight = configured("architecture=mlp", "architecture.depth=2", "architecture.width=16").build(
        (1, 4, 4), 10
    )
    straight.plain.load_state_dict(network.plain.state_dict())
    vectors = torch.randn(3, 16)
    with torch.no_grad():
        torch.testing.assert_close(network.layers[1](vectors), straight.layers[1](vectors) + vectors)
