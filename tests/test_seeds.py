"""Seeds that differ give random numbers that differ, in every part of the key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from layerpar.seeds import stream, stream_seed

KEYS = st.tuples(st.integers(0, 2**40), st.integers(0, 1000))


@given(KEYS, KEYS)
def test_different_keys_give_different_numbers(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (stream_seed(*one) == stream_seed(*other)) == (one == other)


def test_the_same_key_gives_the_same_numbers_in_every_process() -> None:
    assert stream_seed(3, "head", 7) == 529755682
    assert stream(1, 2).initial_seed() == stream_seed(1, 2)
