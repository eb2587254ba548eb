"""`layerpar doctor`: is this machine ready, or these hosts, and what is to be done if not."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from layerpar.errors import require
from layerpar.measure.environment import (
    PACKAGES,
    available_cores,
    available_memory_bytes,
    cpu_name,
    installed_version,
)
from layerpar.paths import config_directory
from layerpar.results.words import counted

MARKS = {True: "[green]ok[/]", False: "[red]wrong[/]", None: "[dim]-[/]"}


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        subject: What was looked at.
        found: What was there.
        good: False where a run cannot work, None where it is only worth knowing.
        repair: What to do about it.
    """

    subject: str
    found: str
    good: bool | None
    repair: str = ""


COMPOSING = ("hydra-core", "omegaconf")
"""Packages without which no option can be read."""

TRIAL = (
    "dataset=synthetic",
    "dataset.shape=[1,8,8]",
    "dataset.num_test=8",
    "architecture=mlp",
    "architecture.depth=2",
    "architecture.width=16",
    "mode=data",
    "epochs=1",
    "warmup_steps=1",
    "target_accuracy=null",
    "checkpoint_every=0",
)
"""A run that is over as soon as its workers have met."""


def examine(overrides: Sequence[str] = ()) -> int:
    """Print the findings; exit code 1 if something that runs need is wrong.

    Args:
        overrides: Of a run, such as `launcher=hosts`: whether a small one works there is found out.

    Raises:
        UserError: these overrides cannot be.
    """
    findings = [*_packages(), *_torch(), *_machine()]
    if all(installed_version(package) for package in COMPOSING):
        findings += _datasets()
    if overrides:
        findings += _trial(overrides)
    table = Table("", "subject", "found", "repair", title="layerpar doctor")
    for finding in findings:
        table.add_row(MARKS[finding.good], finding.subject, finding.found, finding.repair)
    Console().print(table)
    return 1 if any(finding.good is False for finding in findings) else 0


def _packages() -> Iterator[Finding]:
    yield Finding("python", platform.python_version(), True)
    for package in PACKAGES:
        found = installed_version(package)
        repair = "" if found else f"pip install {package}"
        yield Finding(package, found or "missing", found is not None, repair)


def _torch() -> Iterator[Finding]:
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:
        yield Finding("import torch", str(error).splitlines()[0], False, "pip install torch torchvision")
        return
    yield check_torchvision()
    dist = torch.distributed
    backends = [name for name in ("gloo", "nccl") if getattr(dist, f"is_{name}_available")()]
    repair = "" if "gloo" in backends else "install a torch build with gloo"
    yield Finding("distributed backends", ", ".join(backends) or "none", "gloo" in backends, repair)
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield Finding("GPUs", ", ".join(gpus) or "none (runs use the CPU)", True if gpus else None)


def check_torchvision() -> Finding:
    """Whether torchvision imports beside the installed torch: wheels of two builds do not fit together."""
    subject = "torch and torchvision agree"
    repair = "install both together from one index: pip install --force-reinstall torch torchvision"
    try:
        torchvision = import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(subject, str(error).splitlines()[0], False, repair)
    return Finding(subject, f"torchvision {torchvision.__version__}", True)


def _machine() -> Iterator[Finding]:
    yield Finding("processor", cpu_name(), None)
    cores = available_cores()
    yield Finding("cores", f"{cores}: up to {cores} workers of one thread without contention", None)
    yield Finding("memory", f"{available_memory_bytes() / 2**30:.1f} GiB", None)
    slurm = "srun is there: launcher=slurm" if shutil.which("srun") else "no srun: launcher=local or hosts"
    yield Finding("Slurm", slurm, None)
    threads = os.environ.get("OMP_NUM_THREADS")
    yield Finding("OMP_NUM_THREADS", threads or "unset (each worker sets threads_per_worker itself)", None)


def _trial(overrides: Sequence[str]) -> Iterator[Finding]:
    """A small run as these overrides want it, on each of the hosts: its nodes, and the link between them."""
    import hydra

    from layerpar.compose import composing
    from layerpar.config import parse  # torchvision: not before it is known to agree with torch
    from layerpar.run import execute

    data = [override for override in overrides if override.startswith("dataset=")]
    require(not data, f"doctor tries a small run on synthetic data; leave out {' '.join(data)}")
    with composing(overrides, command="layerpar doctor"):
        composed = hydra.compose("train", overrides=[*TRIAL, *overrides])
    launcher = composed.launcher
    if not any(override.startswith("workers=") for override in overrides):
        composed.workers = len(launcher.get("hosts", ())) or launcher.get("nodes", 2)
    composed.batch_size = composed.dataset.num_train = 8 * composed.workers
    config, begun = parse(composed), time.time()
    subject = f"a run with launcher={launcher.name}"
    try:
        Path("outputs").mkdir(exist_ok=True)
    except OSError as error:
        yield Finding(subject, f"cannot write {Path('outputs').absolute()}: {error.strerror}", False)
        return
    with TemporaryDirectory(prefix="doctor-", dir="outputs") as folder:  # where workers see it too
        quiet = Console(file=StringIO())
        outcome = execute(config, composed, Path(folder), quiet, label="doctor", started=begun)
        if outcome.status != "done":
            yield Finding(subject, str(outcome.message), False)
            return
        found = json.loads(outcome.directory.environment.read_text())
    seconds = time.time() - begun
    yield Finding(subject, f"{counted(composed.workers, 'worker')}, done in {seconds:.1f} s", True)
    for node in ({"node": 0} | found, *found["other_nodes"]):
        told = f"{node['cpu']}, {counted(node['cores'], 'core')}, {counted(len(node['gpus']), 'GPU')}"
        yield Finding(f"node {node['node']}", told, None)
    link = found["link"]
    if link is not None:
        one, other = link["nodes"]
        where = f"between nodes {one} and {other}" if one != other else "between two workers of a node"
        speed = f"{link['latency_microseconds']:g} µs, {link['bandwidth_gigabits']:g} Gbit/s"
        yield Finding(f"link {where}", speed, None)


def _datasets() -> Iterator[Finding]:
    root = os.environ.get("LAYERPAR_DATA")
    yield Finding(
        "data root", f"{root} ($LAYERPAR_DATA)" if root else "data/ (set $LAYERPAR_DATA to move it)", None
    )
    from omegaconf import OmegaConf

    for path in sorted((config_directory() / "dataset").glob("*.yaml")):
        options = OmegaConf.load(path)
        if "root" not in options:
            yield Finding(f"dataset={path.stem}", "built in", None)
            continue
        folder = Path(root or "data") / str(options.name)
        found = str(folder) if folder.is_dir() else "not there"
        yield Finding(f"dataset={path.stem}", found, None)
