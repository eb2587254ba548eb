"""What is refused of a network before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from tiny import tiny
from torch import nn

from layerpar.architectures.base import Architecture, Network
from layerpar.check import meta_network
from layerpar.errors import UserError


@dataclass(kw_only=True)
class Given(Architecture):
    first: nn.Module

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        return Network([self.first, nn.Linear(4, num_classes)])


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (nn.Flatten(), r"architecture=given: layer 0 \(Flatten\) has no weights; make it a part of"),
        (nn.Linear(4, 4).requires_grad_(False), r"layer 0 \(Linear\) has parameters that are not trained"),
    ],
    ids=["no weights", "frozen weights"],
)
def test_every_layer_can_be_a_block_of_its_own(first: nn.Module, words: str) -> None:
    config = replace(tiny(), architecture=Given(name="given", depth=1, width=4, first=first))
    with pytest.raises(UserError, match=words):
        meta_network(config, config.dataset.info())()
