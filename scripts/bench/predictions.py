"""Predicted beside measured: every way of training, for real on two workers, emulated on more.

On one and two workers layers compute, so that the measuring of layers is checked too. On 4, 8 and 16 they
sleep for as long as they would compute (`emulated.py`): executors, messages, queues, groups and schedules are
real, and need hardly a core. How long layers sleep is known, so that what is checked is the simulation.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from emulated import SAMPLES
from hosts import ADDRESSES, INTERFACE, core_nanoseconds, two_hosts
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from layerpar.launchers.base import KEEP_MEMORY
from layerpar.partition.profile import Profile
from layerpar.paths import config_directory
from layerpar.predict import recorded
from layerpar.predict.ways import compose_ways

HERE = Path(__file__).parent
LAYERPAR = [sys.executable, "-m", "layerpar.cli"]
SEARCH = f"hydra.searchpath=[file://{HERE / 'conf'}]"
Ways = dict[str, tuple[str, ...]]
Row = dict[str, Any]

WAYS: Ways = {
    "serial": ("mode=serial",),
    "data": ("mode=data",),
    "pipeline": ("mode=pipeline", "mode.microbatches=16"),
    "gpipe": ("mode=pipeline", "mode.schedule=gpipe", "mode.microbatches=16"),
    "interleaved": ("mode=pipeline", "mode.schedule=interleaved_1f1b", "mode.microbatches=16"),
    "zbv": ("mode=pipeline", "mode.schedule=zbv", "mode.microbatches=16"),
    "local": ("mode=layerwise", "objective=local"),
    "delayed": ("mode=layerwise", "objective=delayed"),
    "delayed_1": ("mode=layerwise", "objective=delayed", "objective.link_delay=1"),
    "delayed_4": ("mode=layerwise", "objective=delayed", "objective.microbatches=4"),
    "frozen": ("mode=layerwise", "objective=frozen", "mode.exchange=weights", "aggregation.every=4"),
}
COMMON = (
    "dataset=synthetic",
    "epochs=1",
    "device=cpu",
    "optimizer.lr=0.01",
    "target_accuracy=null",
    "checkpoint_every=0",
)
EMULATED = (
    *COMMON,
    "dataset.shape=[1,16,16]",
    "dataset.num_train=256",
    "dataset.num_test=32",
    "architecture=emulated",
    "batch_size=32",
    "warmup_steps=1",
)
NETWORKS: dict[str, tuple[str, ...]] = {
    "mlp": ("dataset.shape=[1,32,32]", "architecture=mlp", "batch_size=256", "dataset.num_train=10240"),
    "cnn": ("dataset.shape=[3,32,32]", "architecture=cnn", "batch_size=128", "dataset.num_train=5120"),
    "resnet": (
        "dataset.shape=[3,32,32]",
        "architecture=resnet",
        "architecture.depth=32",
        "batch_size=128",
        "dataset.num_train=2560",
    ),
}
RATES = {"loopback": None, "1gbit": "1gbit", "100mbit": "100mbit"}
"""Links by the names that the prediction has for them, and the rate that makes one of a wire."""


def predicted(overrides: Sequence[str], ways: Ways, workers: Sequence[int], *link: str) -> dict[Any, Row]:
    """Rows of `layerpar predict`, by way and number of workers."""
    own = [f"++variants.{name}={json.dumps(words)}".replace(" ", "") for name, words in ways.items()]
    default = OmegaConf.load(config_directory() / "predict.yaml")
    asked = [f"workers={','.join(map(str, workers))}", *link, "--format=json"]
    left_out = [f"~variants.{name}" for name in default.variants if name not in ways]
    text = _ended([*LAYERPAR, "predict", SEARCH, *overrides, *left_out, *own, *asked])
    return {(row["variant"], row["workers"]): row for row in json.loads(text)}


def measured(*overrides: str) -> Row:
    """What `layerpar train` measures."""
    with tempfile.TemporaryDirectory() as folder:
        _ended([*LAYERPAR, "train", SEARCH, *overrides, f"hydra.run.dir={folder}/run"])
        return _result(Path(folder, "run"))


def measured_between_hosts(rate: str | None, *overrides: str) -> Row:
    """What two workers measure on two hosts that a wire of this rate joins."""
    with tempfile.TemporaryDirectory() as folder, two_hosts(rate) as hosts:
        with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
            OmegaConf.save(compose("train", overrides=list(overrides)), f"{folder}/run.yaml", resolve=True)
        variables = KEEP_MEMORY | {
            "OMP_NUM_THREADS": "1",
            "WORLD_SIZE": str(len(hosts)),
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": "1",
            "MASTER_ADDR": ADDRESSES[0],
            "MASTER_PORT": "29500",
            "GLOO_SOCKET_IFNAME": INTERFACE,
        }
        workers = [
            subprocess.Popen(
                [*prefix, sys.executable, "-m", "layerpar.worker", folder],
                env=os.environ | variables | {"RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank, prefix in enumerate(hosts)
        ]
        outputs = [worker.communicate()[0] for worker in workers]
        if any(worker.returncode for worker in workers):
            raise RuntimeError("\n".join(outputs))
        return _result(Path(folder))


def real(rounds: int) -> None:
    """Every way on one and two workers, on three networks; between two hosts too, if we are root.

    Layers are measured once for each network, and what a byte takes of a core once for each wire.
    """
    links = RATES if os.geteuid() == 0 else {"loopback": None}
    if len(links) < len(RATES):
        print("not root: no wires of 1 Gbit/s and 100 Mbit/s")
    cores = {rate: f"core={core_nanoseconds(rate):.2f}" for rate in links.values() if rate is not None}
    for network, own in NETWORKS.items():
        overrides = (*COMMON, "dataset.num_test=256", *own)
        with tempfile.TemporaryDirectory() as times:
            predicted(overrides, WAYS, [1, 2], f"--output={times}")
            for link, rate in links.items():
                counts, core = ([1, 2], []) if rate is None else ([2], [cores[rate]])
                rows = predicted(overrides, WAYS, counts, f"link={link}", *core, f"--from={times}")
                measure = measured if rate is None else partial(measured_between_hosts, rate)
                _compare(rows, measure, overrides, rounds=rounds, title=f"{network}, {link}")


def emulated(rounds: int) -> None:
    """Every way on 4, 8 and 16 workers, whose layers sleep."""
    with tempfile.TemporaryDirectory() as folder:
        _write_sleeps(Path(folder))
        # A layer that sleeps cannot tell which of its gradients a split backward wants.
        ways = {name: words for name, words in WAYS.items() if name != "zbv"}
        rows = predicted(EMULATED, ways, [4, 8, 16], "link=loopback", "latency=100", f"--from={folder}")
    _compare(rows, measured, EMULATED, rounds=rounds, title="emulated computing, loopback")


def _write_sleeps(folder: Path) -> None:
    """How long the layers sleep, as if it had been measured."""
    configs = [way.config for way in compose_ways([SEARCH, *EMULATED])]
    network = configs[0].architecture.build((1, 16, 16), 10)
    sleeps = [layer.milliseconds / 1000 for layer in network.layers]
    nothing = [0.0] * len(sleeps)
    profile = Profile(sleeps, sleeps, sleeps, nothing, nothing, nothing, nothing, nothing)
    times = {recorded.head_key(config): {SAMPLES: profile} for config in configs}
    recorded.save(folder, recorded.Recorded(recorded.describe(configs[0]), "layers that sleep", times))


def _compare(
    rows: dict[Any, Row],
    measure: Callable[..., Row],
    overrides: Sequence[str],
    *,
    rounds: int,
    title: str,
) -> None:
    """Measure what was predicted, and print both with the error of the prediction."""
    console = Console(width=110)
    columns = ("predicted ms", "measured ms", "error %", "predicted waiting %", "measured waiting %")
    table = Table("way", "workers", *columns, title=f"predicted and measured, per step: {title}")
    errors = []
    for (name, workers), row in rows.items():
        if row["refused"] is not None or (row["one_worker"] and workers > 1):
            continue
        asked = [*overrides, *WAYS[name], f"workers={workers}"]
        if row["cuts"]:  # else a run measures anew, and may cut elsewhere
            asked.append(f"mode.partition={row['cuts']}".replace(" ", ""))
        found = [measure(*asked) for _ in range(rounds)]
        seconds, waiting = (median(one[key] for one in found) for key in ("seconds", "waiting"))
        errors.append(row["seconds"] / seconds - 1)
        cells = (
            f"{1000 * row['seconds']:.1f}",
            f"{1000 * seconds:.1f}",
            f"{100 * errors[-1]:+.1f}",
            f"{100 * row['waiting']:.1f}",
            f"{100 * waiting:.1f}",
        )
        table.add_row(name, str(workers), *cells)
        console.print(" ".join((name, str(workers), *cells)), style="dim", highlight=False)
    console.print(table)
    sizes = [abs(error) for error in errors]
    console.print(f"error: median {100 * median(sizes):.1f} %, worst {100 * max(sizes):.1f} %")


def _result(directory: Path) -> Row:
    summary = json.loads((directory / "summary.json").read_text())
    waited = [rank["wait_seconds"] for rank in summary["ranks"]]
    return {
        "seconds": summary["train_seconds"] / summary["steps"],
        "waiting": sum(waited) / len(waited) / summary["train_seconds"],
    }


def _ended(words: Sequence[str]) -> str:
    """The standard output of a command that must succeed, with `emulated.py` to be found."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    ended = subprocess.run(
        words, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path}
    )
    if ended.returncode != 0:
        sys.exit(f"{' '.join(words)}\n{ended.stdout}{ended.stderr}")
    return ended.stdout
