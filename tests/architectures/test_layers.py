"""What every architecture promises of its layers."""

import copy

import pytest
import torch
from families import CLASSES, SHAPE, activation_shapes
from torch.func import functional_call


def passed(network, images):
    """The input and every layer's activation."""
    activations = [images]
    for layer in network.layers:
        activations.append(layer(activations[-1]))
    return activations


@pytest.mark.parametrize("training", [True, False])
def test_layers_one_after_the_other_are_the_plain_network_bit_for_bit(network, images, training):
    network.plain.train(training)
    with torch.no_grad():
        assert torch.equal(passed(network, images)[-1], network.plain(images))


def test_every_entry_of_the_state_belongs_to_exactly_one_layer(network):
    owned = [name for index in range(len(network.layers)) for name in network.names(index, index + 1)]
    assert sorted(owned) == sorted(network.plain.state_dict())


def test_names_of_a_range_are_the_plain_networks_tensors(network):
    state = network.plain.state_dict(keep_vars=True)
    middle = len(network.layers) // 2
    lower, upper = network.names(0, middle), network.names(middle, len(network.layers))
    assert all(tensor is state[name] for name, tensor in {**lower, **upper}.items())
    assert lower.keys() | upper.keys() == state.keys()


def test_no_layer_changes_or_hands_on_the_memory_of_an_activation(network, images):
    """An activation may be on its way to another worker while computing goes on."""
    activations = [images.requires_grad_()]
    seen = [(images.detach().clone(), images._version)]
    for layer in network.layers:
        activations.append(layer(activations[-1]))
        seen.append((activations[-1].detach().clone(), activations[-1]._version))
    activations[-1].sum().backward()
    for activation, (value, version) in zip(activations, seen, strict=True):
        assert activation._version == version
        assert torch.equal(activation, value)
    storages = {activation.untyped_storage().data_ptr() for activation in activations}
    assert len(storages) == len(activations)


def test_every_activation_can_be_sent_without_a_copy(network, images):
    for activation in passed(network, images):
        whole = activation.permute(0, 2, 3, 1) if activation.dim() == 4 else activation
        assert activation.is_contiguous() or whole.is_contiguous()


def test_logits_of_a_sample_do_not_depend_on_its_batch(network, images):
    network.plain.eval()
    with torch.no_grad():
        together = network.plain(images)
        alone = torch.cat([network.plain(images[index : index + 1]) for index in range(len(images))])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


def test_every_parameter_gets_a_finite_gradient(network, images):
    network.plain(images).square().sum().backward()
    for name, parameter in network.plain.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_on_the_meta_device_names_and_shapes_are_the_same_without_memory(architecture, network):
    with torch.device("meta"):
        phantom = architecture.build(SHAPE, CLASSES)
    assert all(tensor.is_meta for tensor in phantom.plain.state_dict().values())
    shapes = {name: tensor.shape for name, tensor in network.plain.state_dict().items()}
    assert {name: tensor.shape for name, tensor in phantom.plain.state_dict().items()} == shapes
    assert phantom.num_parameters == network.num_parameters
    assert activation_shapes(phantom, SHAPE) == activation_shapes(network, SHAPE)


def test_asking_for_shapes_leaves_the_state_and_the_mode_alone(network):
    before = copy.deepcopy(network.plain.state_dict())
    assert activation_shapes(network, SHAPE)[-1] == (CLASSES,)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.plain.state_dict().items())
    assert network.plain.training


def test_weights_follow_from_the_seed_alone(architecture, network):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    same, other = (architecture.create(SHAPE, CLASSES, seed=seed) for seed in (0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    state = network.plain.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in same.plain.state_dict().items())
    assert any(not torch.equal(state[name], tensor) for name, tensor in other.plain.state_dict().items())


def test_a_layer_computes_with_weights_given_to_it_while_an_older_graph_is_kept(network, images):
    """Out-of-place updates: what training with delayed gradients does with a layer."""
    network.plain.eval()
    activations = passed(network, images)
    for layer, activation in zip(network.layers, activations[:-1], strict=True):
        activation = activation.detach()
        weights = {name: tensor.detach().requires_grad_() for name, tensor in layer.named_parameters()}
        old = functional_call(layer, weights, (activation,))
        moved = {name: (tensor.detach() + 0.5).requires_grad_() for name, tensor in weights.items()}
        new = functional_call(layer, moved, (activation,))
        late = torch.autograd.grad(old.square().sum(), list(weights.values()))
        reference = layer(activation)
        expected = torch.autograd.grad(reference.square().sum(), list(layer.parameters()))
        assert torch.equal(old, reference)
        assert not torch.equal(old, new)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(late, expected, strict=True))


def test_an_activation_has_one_type_and_layout_in_training_and_evaluation(network, images):
    """Whoever receives it sets memory aside once."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        training = passed(network, images)
        network.plain.eval()
        evaluation = passed(network, images)
    for one, other in zip(training, evaluation, strict=True):
        assert (one.dtype, one.stride()) == (other.dtype, other.stride())


def test_autocast_to_bfloat16_stays_near_full_precision(network, images):
    network.plain.eval()
    with torch.no_grad():
        exact = network.plain(images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = passed(network, images)[-1]
    assert (rough.float() - exact).norm() < 0.1 * exact.norm()
