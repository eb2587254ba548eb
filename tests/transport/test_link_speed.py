"""The link between two workers: who measures it, and that what comes out can be."""

from __future__ import annotations

import pytest
import torch
from tiny import on_workers

from layerpar.rendezvous.ranks import Ranks
from layerpar.transport.link_speed import LinkSpeed, carrying_seconds, ends, measure


@pytest.mark.parametrize(
    ("nodes", "pair"), [([0], None), ([0, 0, 0], (0, 1)), ([0, 0, 1, 1], (0, 2)), ([0, 1, 2], (0, 1))]
)
def test_worker_0_measures_with_the_first_on_another_node(
    nodes: list[int], pair: tuple[int, int] | None
) -> None:
    assert ends(nodes) == pair


def on_nodes(_: Ranks, nodes: list[int]) -> LinkSpeed | None:
    return measure(nodes, torch.device("cpu"))


def test_only_worker_0_knows_the_speed() -> None:
    found, *others = on_workers(on_nodes, 3, [0, 0, 1])
    assert others == [None, None]
    assert (found.ranks, found.nodes) == ((0, 2), (0, 1))
    assert 0 < found.latency_microseconds < 1e5
    assert 1e-3 < found.bandwidth_gigabits < 1e3


def test_a_single_worker_has_no_link() -> None:
    assert on_workers(on_nodes, 1, [0]) == [None]


def test_a_large_message_is_never_free() -> None:
    assert carrying_seconds(small=0.1, large=2.1) == pytest.approx(2.0)
    assert carrying_seconds(small=2.0, large=2.1) == 2.1
    assert carrying_seconds(small=3.0, large=2.1) == 2.1
