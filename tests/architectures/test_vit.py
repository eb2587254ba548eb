import torch
from families import activation_shapes, configured
from torch import nn

from layerpar.architectures.vit import TransformerBlock


def test_vit_tiny_has_its_known_size_but_for_the_class_token_and_its_position():
    """DeiT-Ti: 12 blocks of width 192 with 3 heads on 224 x 224 in patches of 16 have 5,717,416 weights."""
    vit = configured(
        "architecture=vit",
        "architecture.depth=12",
        "architecture.width=192",
        "architecture.num_heads=3",
        "architecture.patch_size=16",
    )
    with torch.device("meta"):
        assert vit.build((3, 224, 224), 1000).num_parameters == 5_717_416 - 192 - 192


def test_blocks_pass_one_token_for_each_patch():
    vit = configured("architecture=vit", "architecture.depth=2")
    with torch.device("meta"):
        shapes = activation_shapes(vit.build((3, 32, 24), 10), (3, 32, 24))
    assert shapes == [(48, 64)] * 3 + [(10,)]


def test_a_patch_reaches_its_own_token_only():
    embedding = configured("architecture=vit").create((1, 8, 8), 10, seed=0).layers[0]
    images = torch.zeros(1, 1, 8, 8)
    changed = images.clone()
    changed[:, :, 4:, :4] = 1
    with torch.no_grad():
        differs = (embedding(images) != embedding(changed)).any(-1)
    assert differs.tolist() == [[False, False, True, False]]


def test_only_positions_tell_the_order_of_patches():
    network = configured("architecture=vit", "architecture.depth=2").create((1, 8, 8), 10, seed=0)
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    turned = images.roll(4, dims=3)
    network.plain.eval()
    with torch.no_grad():
        assert (network.plain(images) - network.plain(turned)).abs().max() > 1e-4
        network.layers[0].position.zero_()
        torch.testing.assert_close(network.plain(images), network.plain(turned))


def test_training_and_evaluation_agree():
    """No dropout, so results do not depend on where random numbers are drawn."""
    network = configured("architecture=vit").create((1, 8, 8), 10, seed=0)
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network.plain.train()(images), network.plain.eval()(images))


def test_a_block_is_torchs_pre_norm_encoder_layer():
    block = TransformerBlock(16, 4)
    reference = nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    ours = {
        "queries_keys_values.weight": "self_attn.in_proj_weight",
        "queries_keys_values.bias": "self_attn.in_proj_bias",
        "merge": "self_attn.out_proj",
        "mlp.0": "linear1",
        "mlp.2": "linear2",
    }
    state = {}
    for name, tensor in block.state_dict().items():
        module, _, kind = name.rpartition(".")
        state[ours.get(name) or f"{ours.get(module, module)}.{kind}"] = tensor
    reference.load_state_dict(state)
    tokens = torch.randn(3, 9, 16)
    torch.testing.assert_close(block(tokens), reference(tokens))


def test_tokens_lie_together_whatever_the_layout_of_the_images():
    embedding = configured("architecture=vit").build((1, 8, 8), 10).layers[0]
    for layout in (torch.contiguous_format, torch.channels_last):
        assert embedding(torch.zeros(2, 1, 8, 8).contiguous(memory_format=layout)).is_contiguous()
