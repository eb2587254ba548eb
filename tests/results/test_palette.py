"""How ways of training are told apart."""

from hypothesis import given
from hypothesis import strategies as st

from layerpar.results.plots.palette import COLOURS, OWN, looks


def test_a_way_of_training_looks_the_same_whatever_else_is_drawn():
    few, many = (
        looks(["serial", "layerwise local"]),
        looks(["data, 4 workers", "layerwise local *", "serial"]),
    )
    assert few["serial"] == many["serial"]
    assert few["layerwise local"] == many["layerwise local *"]


def test_the_first_variant_has_the_look_of_its_kind_and_the_next_another_colour():
    found = looks(["data, 2 workers", "data, 4 workers", "pipeline 1f1b"])
    assert found["data, 2 workers"] == OWN["data"]
    assert found["pipeline 1f1b"] == OWN["pipeline"]
    assert len({look.color for look in found.values()}) == 3


@given(st.lists(st.text("abc", min_size=1), unique=True, max_size=12))
def test_every_series_has_its_own_look(names):
    found = looks(names)
    assert set(found) == set(names)
    assert len({(look.color, look.marker, str(look.linestyle)) for look in found.values()}) == len(names)


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
