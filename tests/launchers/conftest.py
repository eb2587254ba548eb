"""Hosts that the tests of launchers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster import Cluster, hosts, slurm


@pytest.fixture(scope="session")
def three_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with hosts(tmp_path_factory.mktemp("hosts"), 3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def slurm_hosts(three_hosts: Cluster) -> Iterator[Cluster]:
    """h3 is the login node, h1 and h2 compute."""
    with slurm(three_hosts) as cluster:
        yield cluster
