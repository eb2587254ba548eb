"""Links: messages, collectives, and what cannot be one."""

from __future__ import annotations

import pytest
from equal_layers import FREE
from hypothesis import given
from hypothesis import strategies as st

from layerpar.errors import UserError
from layerpar.predict.links import LINKS, Link, choose


def test_a_message_takes_latency_and_its_bytes_over_the_bandwidth() -> None:
    assert Link("any", 0.5, 100.0).seconds(200) == 2.5


@given(
    num_bytes=st.integers(1, 10**9),
    workers=st.integers(1, 1024),
    latency=st.floats(0, 1),
    bandwidth=st.floats(1e3, 1e12),
)
def test_a_ring_all_reduce_has_its_closed_form(
    num_bytes: int, workers: int, latency: float, bandwidth: float
) -> None:
    expected = 2 * (workers - 1) / workers * num_bytes / bandwidth + 2 * (workers - 1) * latency
    assert Link("any", latency, bandwidth).all_reduce_seconds(num_bytes, workers) == pytest.approx(expected)


@pytest.mark.parametrize(("workers", "messages"), [(2, 1), (3, 2), (4, 2), (5, 3), (1024, 10)])
def test_a_broadcast_is_a_binomial_tree(workers: int, messages: int) -> None:
    assert Link("any", 1.0, 1.0).broadcast_seconds(2, workers) == messages * 3.0


def test_a_free_link_costs_nothing() -> None:
    assert FREE.seconds(10**12) == FREE.all_reduce_seconds(10**12, 7) == 0


def test_numbers_stand_for_links() -> None:
    (link,) = choose(["1gbit"], bandwidths=[8.0], latency=0.0)
    assert (link.name, link.bandwidth, link.latency) == ("8 Gbit/s", 1e9, 0.0)
    (link,) = choose(["1gbit"], bandwidths=[], latency=7.0, core=2.0)
    assert (link.bandwidth, link.latency, link.core_seconds) == (LINKS["1gbit"].bandwidth, 7e-6, 2e-9)
    assert link.between_cpus().latency == link.latency, "what was given is all there is"


def test_cores_that_compute_delay_messages_and_carry_them_and_gpus_do_neither() -> None:
    link = LINKS["1gbit"]
    assert link.between_cpus().latency > link.latency == link.between_gpus().latency
    assert link.between_cpus().core_seconds == link.core_seconds > link.between_gpus().core_seconds == 0


@pytest.mark.parametrize(
    ("names", "bandwidths", "latency", "repair"),
    [
        (["wlan"], [], None, "try link=1gbit"),
        ([], [0.0], None, "try bandwidth=1 "),
        ([], [-1.0], None, "try bandwidth=1 "),
        ([], [1.0], -5.0, "try latency=100"),
    ],
)
def test_what_cannot_be_a_link_is_refused(
    names: list[str], bandwidths: list[float], latency: float | None, repair: str
) -> None:
    with pytest.raises(UserError, match=repair):
        choose(names, bandwidths=bandwidths, latency=latency)
