"""A container's quota and memory, by what the kernel writes in its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpar.measure.limits import (
    cpu_quota,
    memory_limit,
    parse_cfs,
    parse_cpu_max,
    parse_membership,
    parse_memory,
)


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("50000 100000\n", 0.5), ("", None)]
)
def test_version_2_quota(text: str, cores: float | None) -> None:
    assert parse_cpu_max(text) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1\n", None), ("200000\n", 2.0), ("", None)])
def test_version_1_quota(quota: str, cores: float | None) -> None:
    assert parse_cfs(quota, "100000\n") == cores


@pytest.mark.parametrize(
    ("text", "limit"),
    [("max\n", None), ("536870912\n", 2**29), ("9223372036854771712\n", None), ("", None)],
)
def test_memory(text: str, limit: int | None) -> None:
    assert parse_memory(text) == limit


DOCKER_1 = "12:memory:/docker/7f\n4:cpu,cpuacct:/docker/7f\n1:name=systemd:/docker/7f\n0::/system.slice\n"


def test_membership() -> None:
    assert parse_membership("0::/user.slice/a.scope\n", "cpu") == [(2, "/user.slice/a.scope")]
    assert parse_membership(DOCKER_1, "memory") == [(1, "/docker/7f"), (2, "/system.slice")]


def test_the_least_of_all_groups_above(tmp_path: Path) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    own.write_text("0::/slurm/job_7/step_0\n")
    write(root / "slurm/cpu.max", "max 100000\n")
    write(root / "slurm/job_7/cpu.max", "200000 100000\n")
    write(root / "slurm/job_7/step_0/cpu.max", "400000 100000\n")
    write(root / "slurm/job_7/memory.max", "1048576\n")
    assert cpu_quota(root, own) == 2.0
    assert memory_limit(root, own) == 2**20


def test_version_1_as_a_container_sees_it(tmp_path: Path) -> None:
    """The path is the host's, the files of the container's own group lie at the root."""
    root, own = tmp_path / "cgroup", tmp_path / "own"
    own.write_text(DOCKER_1)
    write(root / "cpu,cpuacct/cpu.cfs_quota_us", "150000\n")
    write(root / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    write(root / "memory/memory.limit_in_bytes", "536870912\n")
    assert cpu_quota(root, own) == 1.5
    assert memory_limit(root, own) == 2**29


def test_no_limits_where_there_are_no_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path, tmp_path / "none") is None
    assert memory_limit(tmp_path, tmp_path / "none") is None


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
