"""What a run ran on: versions, cores, GPUs, memory."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerpar.measure import limits
from layerpar.variables import CORES

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "layerpar",
    "torch",
    "torchvision",
    "hydra-core",
    "omegaconf",
    "pandas",
    "matplotlib",
    "scikit-learn",
)


def describe(device: torch.device) -> dict[str, Any]:
    """This node, as `env.json` shows it."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": available_cores(),
        "memory_bytes": available_memory_bytes(),
        "device": str(device),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "versions": {package: installed_version(package) for package in PACKAGES},
    }


def installed_version(package: str) -> str | None:
    """The version of an installed distribution, None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def available_cores() -> int:
    """CPU cores this process may use: whole ones, by affinity, by quota and by the scheduler's allocation."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, limits.cpu_quota() or cores, int(os.environ.get(CORES, cores)))))


def available_memory_bytes() -> int:
    """Memory of the machine, or what a container leaves of it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(physical, limits.memory_limit() or physical)


def cpu_name() -> str:
    """The processor's model, as the operating system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def is_contended(nodes: Sequence[int], busy: Sequence[int], cores: Sequence[int]) -> bool:
    """Whether some node has fewer cores than its workers keep busy.

    Args:
        nodes: Where each worker is.
        busy: Threads and decode workers of each.
        cores: What each finds available.
    """
    return any(
        sum(mine for at, mine in zip(nodes, busy, strict=True) if at == node) > found
        for node, found in zip(nodes, cores, strict=True)
    )


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak so far, where the platform can (GPUs; Linux)."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_bytes(device: torch.device) -> int:
    """Highest memory allocated on the GPU, or resident memory of the process, since `reset_peak_memory`."""
    import torch

    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident_bytes("VmHWM")


def memory_bytes(device: torch.device) -> int:
    """Memory allocated on the GPU, or resident memory of the process, now."""
    import torch

    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _resident_bytes("VmRSS")


def _resident_bytes(key: str) -> int:
    """A key of Linux's account of this process; elsewhere the highest resident memory so far."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
