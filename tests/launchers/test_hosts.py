"""Runs across hosts: the weights of one host, nothing left on any, both sides named where they cannot meet.

The hosts are network namespaces of this machine; a script stands for ssh, but for the test that runs an sshd.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from cluster import Cluster, ssh
from PIL import Image
from processes import (
    ENDLESS,
    SMALL,
    Started,
    assert_over,
    ended,
    listening,
    rank_of,
    start,
    training,
    wait_until,
    workers_of,
)

from layerpar.paths import RunDirectory

OBJECTIVES = ("local", "delayed", "frozen")
PHASES = (
    "architecture.depth=5",
    f"epochs={len(OBJECTIVES)}",
    *(
        override.format(name)
        for name in OBJECTIVES
        for override in (
            "+mode@phases.{0}.mode=layerwise",
            "+objective@phases.{0}.objective={0}",
            "+phases.{0}.epochs=1",
            "phases.{0}.mode.blocks=4",
            "phases.{0}.mode.partition=[1,2,4]",
        )
    ),
    "phases.frozen.mode.exchange=weights",
)
SECONDS = 10
"""In which a disturbed run has ended, beyond its timeouts."""

TAKE_A_PORT = """
import socket, time
taken = socket.create_server(("10.77.0.1", 0))
print(taken.getsockname()[1], flush=True)
time.sleep(600)
"""


def across(cluster: Cluster, *names: str) -> list[str]:
    return ["launcher=hosts", f"launcher.hosts=[{','.join(names)}]", f"launcher.remote=[{cluster.remote}]"]


@contextmanager
def on_two_hosts(cluster: Cluster, root: Path, *overrides: str) -> Iterator[tuple[Started, RunDirectory]]:
    """A run that is training, worker 0 on h1, worker 1 on h2, and would go on for hours."""
    process = start("train", f"hydra.run.dir={root}", *ENDLESS, *across(cluster, "h1", "h2"), *overrides)
    with training(process, root) as directory:
        yield process, directory


def worker(directory: RunDirectory, rank: int) -> int:
    """The process number of a worker."""
    return next(number for number in workers_of(directory.root) if rank_of(number) == str(rank))


def test_the_weights_of_one_host_whatever_the_hosts(three_hosts: Cluster, tmp_path: Path) -> None:
    """After a phase of each objective: one run of three, since importing torch takes longest."""
    weights = []
    for number, places in enumerate(([], ["h1", "h2"], ["h1", "h2", "h3"])):
        directory = RunDirectory(tmp_path / str(number))
        launcher = across(three_hosts, *places) if places else []
        asked = [*SMALL, *PHASES, *launcher, f"workers={len(places) or 1}"]
        code, _, error = ended(start("train", *asked, f"hydra.run.dir={directory.root}"), tmp_path)
        assert code == 0, error
        weights.append(directory.model.read_bytes())
    assert weights[0] == weights[1] == weights[2]


def test_every_host_is_described_by_a_number_and_listens_to_its_network_only(
    three_hosts: Cluster, tmp_path: Path
) -> None:
    with on_two_hosts(three_hosts, tmp_path / "run") as (process, directory):
        found = {rank: listening([worker(directory, rank)]) for rank in (0, 1)}
        assert listening([process.pid]) == []
        described = directory.environment.read_text()
        link = json.loads(described)["link"]
    assert set(found[0]) == {"10.77.0.1"}
    assert set(found[1]) == {"10.77.0.2"}
    assert '"node": 1' in described
    assert "h2" not in described
    assert link["nodes"] == [0, 1]
    assert link["latency_microseconds"] > 0
    assert link["bandwidth_gigabits"] > 0.01


def test_a_killed_worker_is_named_with_its_host(three_hosts: Cluster, tmp_path: Path) -> None:
    with on_two_hosts(three_hosts, tmp_path / "run") as (process, directory):
        os.kill(worker(directory, 1), signal.SIGKILL)
        assert_over(process, directory, "worker 1 on h2 was killed by SIGKILL", seconds=SECONDS)


def test_the_command_of_a_host_killed_with_all_below_it(three_hosts: Cluster, tmp_path: Path) -> None:
    with on_two_hosts(three_hosts, tmp_path / "run") as (process, directory):
        above = worker(directory, 1)
        tree = []
        while above != process.pid:
            tree.append(above)
            above = int(Path(f"/proc/{above}/stat").read_text().rpartition(")")[2].split()[1])
        for number in reversed(tree):
            os.kill(number, signal.SIGKILL)
        assert_over(process, directory, "worker 1 on h2 was killed by SIGKILL", seconds=SECONDS)


def test_a_killed_parent_leaves_no_worker_on_any_host(three_hosts: Cluster, tmp_path: Path) -> None:
    with on_two_hosts(three_hosts, tmp_path / "run") as (process, directory):
        process.kill()
        before = time.monotonic()
        wait_until(lambda: not workers_of(directory.root))
        assert time.monotonic() - before < SECONDS


def test_a_link_that_is_down_for_less_than_the_timeout_ends_nothing(
    three_hosts: Cluster, tmp_path: Path
) -> None:
    with on_two_hosts(three_hosts, tmp_path / "run", "launcher.timeout_seconds=60") as (process, directory):
        three_hosts.set_link("h2", "down")
        time.sleep(3)
        three_hosts.set_link("h2", "up")
        length = directory.metrics.stat().st_size
        wait_until(lambda: directory.metrics.stat().st_size > length + 1000)
        assert process.poll() is None


def test_a_link_that_is_down_for_longer_names_the_other_host(three_hosts: Cluster, tmp_path: Path) -> None:
    with on_two_hosts(three_hosts, tmp_path / "run", "launcher.timeout_seconds=4") as (process, directory):
        three_hosts.set_link("h2", "down")
        try:
            assert_over(process, directory, "launcher.timeout_seconds=4", seconds=4 + SECONDS)
        finally:
            three_hosts.set_link("h2", "up")


def test_hosts_that_cannot_meet_are_both_named(three_hosts: Cluster, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    asked = [*SMALL, "workers=2", *across(three_hosts, "h1", "h2"), "launcher.join_seconds=8"]
    three_hosts.set_link("h2", "down")
    try:
        code, _, error = ended(start("train", *asked, f"hydra.run.dir={directory.root}"), tmp_path)
    finally:
        three_hosts.set_link("h2", "up")
    assert code == 1
    assert "launcher.interface" in error
    assert "h2" in error
    assert "10.77.0.1" in error


@pytest.mark.parametrize(
    ("names", "words"), [(["h1", "nowhere"], "worker 1 on nowhere"), (["h1", "h2"], "is in use")]
)
def test_a_wrong_host_and_a_port_in_use_are_one_line(
    three_hosts: Cluster, tmp_path: Path, names: list[str], words: str
) -> None:
    directory = RunDirectory(tmp_path / "run")
    taken = three_hosts.popen("h1", "python3", "-c", TAKE_A_PORT)
    try:
        assert taken.stdout is not None
        port = taken.stdout.readline().strip()
        asked = [*SMALL, "workers=2", *across(three_hosts, *names), f"launcher.port={port}"]
        code, _, error = ended(start("train", *asked, f"hydra.run.dir={directory.root}"), tmp_path)
    finally:
        taken.kill()
        taken.communicate()
    assert code == 1
    assert words in error
    assert len(error.strip().splitlines()) == 1


WITH_DATA = """\
#!/bin/sh
# enter HOST COMMAND-LINE, on hosts {names} with data where others have an empty folder
case $1 in {names}) show="mount --bind {data} {root}; " ;; esac
exec {remote} "$1" "$show$2"
"""


@pytest.mark.parametrize("names", ["h1|h2", "h1"])
def test_data_are_looked_for_where_workers_run(three_hosts: Cluster, tmp_path: Path, names: str) -> None:
    data, root, remote = tmp_path / "data", tmp_path / "root", tmp_path / "with_data"
    for folder in (data / split / label for split in ("train", "val") for label in "ab"):
        folder.mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    root.mkdir()
    remote.write_text(WITH_DATA.format(names=names, data=data, root=root, remote=three_hosts.remote))
    remote.chmod(0o755)
    asked = ["dataset=image_folder", f"dataset.root={root}", "dataset.size=8", "dataset.resize=8"]
    asked += ["architecture.depth=3", "architecture.width=8", "batch_size=8", "epochs=1", "device=cpu"]
    asked += [*across(three_hosts, "h1", "h2"), f"launcher.remote=[{remote}]", "workers=2", "mode=data"]
    code, _, error = ended(start("train", *asked, f"hydra.run.dir={tmp_path / 'run'}"), tmp_path)
    if names == "h1":
        assert code == 1
        assert "worker 1 on h2 failed" in error
        assert str(root) in error
        assert len(error.strip().splitlines()) == 1
    else:
        assert code == 0, error


def test_another_interface_carries_the_messages(three_hosts: Cluster, tmp_path: Path) -> None:
    """Names lead to one network, messages take another, as where InfiniBand is beside Ethernet."""
    with on_two_hosts(three_hosts, tmp_path / "run", "launcher.interface=ib0") as (_, directory):
        assert set(listening([worker(directory, 1)])) == {"10.78.0.2"}
        assert set(listening([worker(directory, 0)])) == {"10.77.0.1", "10.78.0.1"}


def test_an_experiment_shows_speed_up_against_the_measured_bandwidth(
    three_hosts: Cluster, tmp_path: Path
) -> None:
    asked = ["experiment=quick/slow_link", "~variants.data", "launcher.interface=eth0,ib0", "device=cpu"]
    asked += [*across(three_hosts, "h1", "h2"), f"hydra.sweep.dir={tmp_path}"]
    code, output, error = ended(start("compare", *asked), tmp_path)
    assert code == 0, output + error
    lines = pd.read_csv(tmp_path / "results.csv").set_index("label").loc["layerwise local"]
    assert set(lines["nodes"]) == {2}
    assert lines["bandwidth_gigabits"].nunique() == 2
    assert (tmp_path / "figures" / "speedup_vs_bandwidth.png").exists()


def test_doctor_measures_the_link_between_hosts(
    three_hosts: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["device=cpu", *across(three_hosts, "h1", "h2", "h3")]
    code, output, error = ended(start("doctor", *asked, COLUMNS="200"), tmp_path)
    assert code == 0, output + error
    for words in ("3 workers, done in", "node 2", "link between nodes 0 and 1", "Gbit/s"):
        assert words in output
    assert not list((tmp_path / "outputs").iterdir())


def test_ssh_itself(three_hosts: Cluster, tmp_path: Path) -> None:
    """A worker that dies behind it is named with its host."""
    with ssh(three_hosts) as client:
        launcher = ["launcher=hosts", "launcher.hosts=[h1,h2]", f"launcher.remote=[ssh,-F,{client}]"]
        asked = ["train", f"hydra.run.dir={tmp_path / 'run'}", *ENDLESS, *launcher]
        process = three_hosts.layerpar("h3", *asked)
        with training(process, tmp_path / "run") as directory:
            os.kill(worker(directory, 1), signal.SIGKILL)
            assert_over(process, directory, "worker 1 on h2 was killed by SIGKILL", seconds=SECONDS)
