import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny
from torch.nn import functional as F

from layerpar.objectives.similarity import projection, similarity_loss


def cosines(vectors):
    centred = vectors - vectors.mean(1, keepdim=True)
    return F.cosine_similarity(centred[:, None], centred[None], dim=2)


@given(st.integers(2, 12), st.integers(0, 2**31 - 1))
@settings(max_examples=20, deadline=None)
def test_the_loss_is_the_difference_of_two_similarity_matrices(num_classes, seed):
    generator = torch.Generator().manual_seed(seed)
    activations = torch.randn(6, 9, generator=generator)
    labels = torch.randint(0, num_classes, (6,), generator=generator)
    one_hot = F.one_hot(labels, num_classes).float()
    expected = F.mse_loss(cosines(activations), cosines(one_hot))
    torch.testing.assert_close(similarity_loss(activations, labels, num_classes), expected)


def test_activations_that_are_the_labels_have_no_loss():
    labels = torch.tensor([0, 2, 1, 2, 0])
    loss = similarity_loss(F.one_hot(labels, 3).float(), labels, 3)
    torch.testing.assert_close(loss, torch.zeros(()), atol=1e-6, rtol=0)


def test_scale_and_offset_of_a_sample_do_not_count():
    activations, labels = torch.randn(5, 8), torch.tensor([0, 1, 1, 2, 0])
    moved = activations * torch.tensor([[1.0], [2.0], [5.0], [0.1], [3.0]]) + torch.arange(5.0)[:, None]
    torch.testing.assert_close(similarity_loss(activations, labels, 3), similarity_loss(moved, labels, 3))


def test_maps_and_sequences_count_by_their_deviation_over_positions():
    maps, labels = torch.randn(5, 6, 4, 3), torch.tensor([0, 1, 1, 2, 0])
    by_channel = similarity_loss(maps.flatten(2).std(2), labels, 3)
    torch.testing.assert_close(similarity_loss(maps, labels, 3), by_channel)
    sequences = maps.flatten(2).transpose(1, 2)
    torch.testing.assert_close(similarity_loss(sequences, labels, 3), by_channel)


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6)])
def test_a_single_position_counts_as_a_vector(shape):
    activations, labels = torch.randn(5, 6), torch.tensor([0, 1, 1, 2, 0])
    expected = similarity_loss(activations, labels, 3)
    torch.testing.assert_close(similarity_loss(activations.view(5, *shape), labels, 3), expected)


@pytest.mark.parametrize("shape", [(4, 5, 5), (7, 6), (6,)], ids=str)
def test_a_projection_keeps_the_shape_and_learns(shape):
    labels = torch.tensor([0, 1, 0, 1])
    activations = torch.randn(4, *shape)
    layer = projection(shape)
    assert layer(activations).shape == activations.shape
    similarity_loss(layer(activations), labels, 2).backward()
    assert layer.weight.grad.abs().sum() > 0


def test_dead_activations_have_a_finite_loss_and_gradient():
    activations = torch.zeros(4, 3, 5, 5, requires_grad=True)
    loss = similarity_loss(activations, torch.tensor([0, 1, 0, 1]), 2)
    loss.backward()
    assert loss.isfinite()
    assert activations.grad.isfinite().all()


def test_bfloat16_activations_are_compared_in_full_precision():
    activations, labels = torch.randn(4, 16).bfloat16(), torch.tensor([0, 1, 0, 1])
    loss = similarity_loss(activations, labels, 2)
    assert torch.equal(loss, similarity_loss(activations.float(), labels, 2))


def test_what_a_block_has_beside_its_layers_is_in_its_cost():
    plain, matching = (tiny(f"objective.similarity={beta}").objective for beta in (0, 0.9))
    head, both = (objective.build_head((4, 8, 8), 10) for objective in (plain, matching))
    projected = sum(weight.numel() for weight in projection((4, 8, 8)).parameters())
    sizes = [sum(weight.numel() for weight in module.parameters()) for module in (head, both)]
    assert sizes[1] == sizes[0] + projected
    assert both(torch.rand(3, 4, 8, 8)).shape == (3, 10 + 4 * 8 * 8)
