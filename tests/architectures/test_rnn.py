import pytest
import torch
from families import configured
from torch import nn

from layerpar.architectures.rnn import Rows


def test_an_image_is_read_row_by_row():
    images = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    rows = Rows()(images)
    assert rows.shape == (2, 4, 15)
    assert torch.equal(rows[1, 2], images[1, :, 2, :].flatten())


@pytest.mark.parametrize(("cell", "stack"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_the_layers_are_a_stack_of_torchs_own(cell, stack):
    architecture = configured(
        "architecture=rnn", "architecture.depth=3", "architecture.width=16", f"architecture.cell={cell}"
    )
    network = architecture.create((1, 8, 8), 10, seed=0)
    reference = stack(8, 16, num_layers=3, batch_first=True)
    weights = {}
    for layer in range(3):
        for name, tensor in network.layers[layer].state_dict().items():
            weights[name.rpartition(".")[2].replace("_l0", f"_l{layer}")] = tensor
    reference.load_state_dict(weights)
    images = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        last = reference(images[:, 0])[0][:, -1]
        torch.testing.assert_close(network.plain(images), network.layers[-1][1](last))


def test_the_first_row_matters_to_the_logits():
    network = configured("architecture=rnn").create((1, 28, 28), 10, seed=0)
    images = torch.zeros(1, 1, 28, 28)
    changed = images.clone()
    changed[:, :, 0] = 1
    with torch.no_grad():
        assert not torch.equal(network.plain(images), network.plain(changed))


def test_an_lstm_starts_by_remembering():
    network = configured("architecture=rnn", "architecture.width=16").create((1, 8, 8), 10, seed=0)
    cell = network.layers[1].cell
    assert torch.equal(cell.bias_ih_l0[16:32] + cell.bias_hh_l0[16:32], torch.ones(16))
    others = torch.cat([cell.bias_ih_l0[:16], cell.bias_ih_l0[32:]])
    assert others.abs().max() <= 16**-0.5
