"""How ways of training are told apart."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerpar.results.plots.palette import COLOURS, OWN, styles


def test_a_way_of_training_looks_the_same_whatever_else_is_drawn():
    few = styles({"serial": 0, "layerwise local": 5})
    many = styles({"data, 4 workers": 3, "layerwise local *": 5, "serial": 0})
    assert few["serial"] == many["serial"]
    assert few["layerwise local"] == many["layerwise local *"]


def test_the_first_variant_has_the_style_of_its_kind_and_the_next_another_colour():
    found = styles({"data, 2 workers": 3, "data, 4 workers": 3, "pipeline 1f1b": 4})
    assert found["data, 2 workers"] == OWN[3]
    assert found["pipeline 1f1b"] == OWN[4]
    assert len({style.color for style in found.values()}) == 3


@pytest.mark.parametrize("kinds", [1, 2, 4, 7])
def test_no_colour_is_worn_out_while_others_rest(kinds):
    found = styles({f"{number}": number % kinds for number in range(24)})
    most = max(Counter(style.color for style in found.values()).values())
    assert most <= 4 + 1, "seven colours and black"


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(0, 9), max_size=40))
def test_every_series_has_its_own_style(names):
    found = styles(names)
    assert set(found) == set(names)
    assert len({(style.color, style.marker, str(style.linestyle)) for style in found.values()}) == len(names)


def test_colours_are_apart_for_colour_blind_eyes():
    """Machado et al. 2009, deuteranopia and protanopia at full severity: no two colours fall together."""
    deuteranopia = (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.01182, 0.04294, 0.968881),
    )
    protanopia = (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    )
    for matrix in (deuteranopia, protanopia):
        seen = [_seen(colour, matrix) for colour in COLOURS]
        distances = [
            sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5
            for i, a in enumerate(seen)
            for b in seen[:i]
        ]
        assert min(distances) > 0.08


def _seen(colour, matrix):
    linear = [(int(colour[place : place + 2], 16) / 255) ** 2.2 for place in (1, 3, 5)]
    seen = [max(0.0, sum(factor * part for factor, part in zip(row, linear, strict=True))) for row in matrix]
    return [value ** (1 / 2.2) for value in seen]
