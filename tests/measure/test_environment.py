"""Cores that a run has a right to, and whether its workers need more."""

from __future__ import annotations

import pytest

from layerpar.measure import environment
from layerpar.variables import CORES


@pytest.mark.parametrize(
    ("nodes", "busy", "cores", "contended"),
    [
        ([0, 0], [1, 1], [2, 2], False),
        ([0, 0], [1, 2], [2, 2], True),
        ([0, 1], [2, 2], [2, 2], False),
        ([0, 1, 1], [1, 1, 1], [4, 1, 1], True),
    ],
)
def test_contended_where_a_node_has_too_few_cores(
    nodes: list[int], busy: list[int], cores: list[int], contended: bool
) -> None:
    assert environment.is_contended(nodes, busy, cores) == contended


def test_cores_are_the_least_of_quota_and_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("layerpar.measure.limits.cpu_quota", lambda: None)
    monkeypatch.delenv(CORES, raising=False)
    assert environment.available_cores() == 8
    monkeypatch.setattr("layerpar.measure.limits.cpu_quota", lambda: 2.5)
    assert environment.available_cores() == 2
    monkeypatch.setattr("layerpar.measure.limits.cpu_quota", lambda: 0.5)
    assert environment.available_cores() == 1
    monkeypatch.setattr("layerpar.measure.limits.cpu_quota", lambda: None)
    monkeypatch.setenv(CORES, "3")
    assert environment.available_cores() == 3
