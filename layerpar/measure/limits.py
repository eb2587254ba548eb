"""What a container or a scheduler's control group leaves of a machine: its CPU quota and its memory.

Parsing is a function of the files' contents, as Linux writes them:

    /proc/self/cgroup                version 2: `0::/PATH`; version 1: `4:cpu,cpuacct:/PATH`
    cpu.max                          version 2: `max 100000`, `150000 100000` (microseconds: quota, period)
    cpu.cfs_quota_us …_period_us     version 1: `-1` for none
    memory.max, memory.limit_in_bytes   `max`, or bytes; version 1 writes a huge number for none
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
NO_LIMIT = 2**60
"""Version 1's word for no limit is a number near 2^63."""


def cpu_quota(root: Path = ROOT, own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores' worth of time that this process may use, None for no limit: the least of all groups above it."""
    quotas = [
        quota
        for version, folder in _groups(root, own, "cpu")
        for quota in [
            parse_cpu_max(_read(folder / "cpu.max"))
            if version == 2
            else parse_cfs(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))
        ]
        if quota is not None
    ]
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes that this process and its group may use, None for no limit."""
    limits = [
        limit
        for version, folder in _groups(root, own, "memory")
        for limit in [
            parse_memory(_read(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")))
        ]
        if limit is not None
    ]
    return min(limits, default=None)


def parse_cpu_max(text: str) -> float | None:
    """Cores, by version 2's `cpu.max`.

    >>> parse_cpu_max("150000 100000")
    1.5
    """
    quota, _, period = text.strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def parse_cfs(quota: str, period: str) -> float | None:
    """Cores, by version 1's two files."""
    return parse_cpu_max(f"{quota.strip()} {period.strip()}")


def parse_memory(text: str) -> int | None:
    """Bytes, by either version's file."""
    limit = text.strip()
    return int(limit) if limit.isdigit() and int(limit) < NO_LIMIT else None


def parse_membership(text: str, controller: str) -> list[tuple[int, str]]:
    """The groups of a process that may limit something: cgroup version and path.

    >>> parse_membership("4:cpu,cpuacct:/a\\n0::/b", "cpu")
    [(1, '/a'), (2, '/b')]
    """
    found = []
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            found.append((2, path))
        elif controller in controllers.split(","):
            found.append((1, path))
    return found


def _groups(root: Path, own: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """The folders of this process's groups and of those above; a container sees its own as the root."""
    for version, path in parse_membership(_read(own), controller):
        mounts = (root, root / "unified") if version == 2 else tuple(root.glob(f"*{controller}*"))
        for mount in mounts:
            folder = mount / path.lstrip("/")
            while folder != mount.parent:
                yield version, folder
                folder = folder.parent


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
