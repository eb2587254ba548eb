"""Chains side by side: everybody has one place, neighbours are of the same chain."""

from __future__ import annotations

from itertools import chain, pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from layerpar.measure.stopwatch import Stopwatch
from layerpar.transport.grid import Grid, chain_ranks, peer_ranks
from layerpar.transport.replica_group import ReplicaGroup

SIZES = st.integers(1, 6)


def grid(rank: int, length: int, replicas: int) -> Grid:
    return Grid(rank, length, ReplicaGroup(replicas, Stopwatch(torch.device("cpu"))))


@given(length=SIZES, replicas=SIZES)
def test_everybody_has_one_chain_and_one_column_of_replicas(length: int, replicas: int) -> None:
    chains, columns = chain_ranks(length * replicas, replicas), peer_ranks(length * replicas, replicas)
    assert list(chain.from_iterable(chains)) == list(range(length * replicas))
    assert sorted(chain.from_iterable(columns)) == list(range(length * replicas))
    for replica, ranks in enumerate(chains):
        for position, rank in enumerate(ranks):
            place = grid(rank, length, replicas)
            assert (place.replica, place.position) == (replica, position)
            assert place.rank_at(position) == rank
            assert rank in columns[position]


@given(length=SIZES, replicas=SIZES)
def test_neighbours_are_of_the_same_chain(length: int, replicas: int) -> None:
    for ranks in chain_ranks(length * replicas, replicas):
        assert grid(ranks[0], length, replicas).previous is None
        assert grid(ranks[-1], length, replicas).next is None
        for earlier, later in pairwise(ranks):
            assert grid(earlier, length, replicas).next == later
            assert grid(later, length, replicas).previous == earlier


def test_the_last_worker_of_the_first_chain_owns_the_network() -> None:
    assert [grid(rank, 3, 2).owner for rank in range(6)] == [2] * 6
