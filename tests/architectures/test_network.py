"""What a network must be so that its layers can be trained apart."""

from __future__ import annotations

import pytest
from torch import nn

from layerpar.architectures.base import Network
from layerpar.errors import UserError


def test_a_parameter_belongs_to_one_layer() -> None:
    shared = nn.Linear(4, 4)
    with pytest.raises(UserError, match="two layers share a parameter"):
        Network([nn.Linear(4, 4), shared, nn.Sequential(nn.ReLU(), shared)])


def test_the_plain_module_holds_the_parameters_of_the_layers() -> None:
    layers: list[nn.Module] = [nn.Linear(4, 4), nn.Linear(4, 2)]
    assert Network(layers, nn.ModuleList(layers)).num_parameters == 30
    with pytest.raises(UserError, match="plain does not hold the parameters"):
        Network(layers, nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
