"""Hosts in network namespaces, and a Slurm on them: one machine with several names and addresses."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from processes import wait_until

NETWORK = "10.77.0"
INTERFACES = {"eth0": NETWORK, "ib0": "10.78.0"}
"""Of every host; their names lead to the first."""

ENTER = """\
#!/bin/sh
# enter HOST COMMAND-LINE, as ssh takes them
exec nsenter --net=/run/netns/{prefix}$1 unshare --uts --mount \\
    sh -c 'hostname "$1"; mount --bind "{folder}/hosts.$1" /etc/hosts; exec sh -c "$2"' sh "$@"
"""

SLURM = """\
ClusterName=test
SlurmctldHost=h3({network}.3)
SlurmUser=root
AuthInfo=socket={base}/munge/socket,cred_expire=5
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool.%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd.%n.pid
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=h1 NodeAddr={network}.1 CPUs=1 RealMemory=2000
NodeName=h2 NodeAddr={network}.2 CPUs=1 RealMemory=2000
PartitionName=test Nodes=h[1-2] Default=YES MaxTime=30
"""


@dataclass
class Cluster:
    """Hosts h1 … hN with addresses 10.77.0.1 … that see each other only; all see the same files.

    Attributes:
        folder: For scripts, logs and the like.
        names: Of the hosts.
        variables: Set in the environment of what is started on them.
    """

    folder: Path
    names: Sequence[str]
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """Before the names of the namespaces of this cluster."""
        return f"lp{os.getpid()}"

    @property
    def remote(self) -> str:
        """The command that runs a command line on a host, in place of ssh."""
        return str(self.folder / "enter")

    def popen(self, host: str, *words: str) -> subprocess.Popen[str]:
        """Start a command on a host."""
        return subprocess.Popen(
            [self.remote, host, f"exec {shlex.join(words)}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | self.variables,
        )

    def run(self, host: str, *words: str) -> str:
        """What a command on a host prints; it must end well."""
        process = self.popen(host, *words)
        output, error = process.communicate(timeout=60)
        assert process.returncode == 0, f"{words}: {output}{error}"
        return output

    def layerpar(self, host: str, *arguments: str) -> subprocess.Popen[str]:
        """`layerpar ARGUMENTS`, given on a host."""
        return self.popen(host, sys.executable, "-m", "layerpar.cli", *arguments)

    def set_link(self, host: str, state: str) -> None:
        """`up` or `down`."""
        _ip("-n", f"{self.prefix}{host}", "link", "set", "eth0", state)


@contextmanager
def hosts(folder: Path, count: int) -> Iterator[Cluster]:
    """So many hosts, for as long as the block runs; each host's own name leads to 127.0.1.1, as on Debian."""
    _need("ip", "nsenter", "unshare")
    cluster = Cluster(folder, [f"h{number}" for number in range(1, count + 1)])
    switch = f"{cluster.prefix}switch"
    enter = folder / "enter"
    enter.write_text(ENTER.format(prefix=cluster.prefix, folder=folder))
    enter.chmod(0o755)
    made = []
    try:
        for space in (switch, *(cluster.prefix + name for name in cluster.names)):
            _ip("netns", "add", space)
            made.append(space)
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        for number, name in enumerate(cluster.names, start=1):
            space = cluster.prefix + name
            _ip("-n", space, "link", "set", "lo", "up")
            for interface, network in INTERFACES.items():
                port = f"{interface}.{number}"
                _ip("link", "add", interface, "netns", space, "type", "veth", "peer", port, "netns", switch)
                _ip("-n", switch, "link", "set", port, "master", "br0", "up")
                _ip("-n", space, "addr", "add", f"{network}.{number}/24", "dev", interface)
                _ip("-n", space, "link", "set", interface, "up")
            addresses = [
                f"{'127.0.1.1' if other == name else f'{NETWORK}.{place}'} {other}"
                for place, other in enumerate(cluster.names, start=1)
            ]
            (folder / f"hosts.{name}").write_text("\n".join(["127.0.0.1 localhost", *addresses, ""]))
        yield cluster
    finally:
        for space in made:
            _ip("netns", "del", space)


@contextmanager
def slurm(cluster: Cluster) -> Iterator[Cluster]:
    """Slurm on three hosts: h1 and h2 compute, h3 is the login node and holds the controller."""
    _need("slurmctld", "slurmd", "srun", "munged")
    base = cluster.folder / "slurm"
    for name in ("munge", "state", "spool.h1", "spool.h2"):
        (base / name).mkdir(parents=True)
    conf, socket, key = base / "slurm.conf", base / "munge" / "socket", base / "munge" / "key"
    conf.write_text(SLURM.format(network=NETWORK, base=base))
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    cluster.variables["SLURM_CONF"] = str(conf)
    files = [f"--{name}={base}/munge/{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
    daemons = [
        cluster.popen("h3", "munged", "--foreground", "--force", f"--key-file={key}", *files),
    ]
    wait_until(socket.exists)
    daemons.append(cluster.popen("h3", "slurmctld", "-D", "-f", str(conf)))
    daemons += [cluster.popen(name, "slurmd", "-D", "-N", name, "-f", str(conf)) for name in ("h1", "h2")]
    try:
        deadline = time.monotonic() + 60
        while cluster.popen("h3", "sinfo", "-h", "-t", "idle", "-o", "%D").communicate()[0].strip() != "2":
            assert time.monotonic() < deadline, (base / "slurmctld.log").read_text()
            time.sleep(0.2)
        yield cluster
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.communicate(timeout=30)


@contextmanager
def ssh(cluster: Cluster) -> Iterator[str]:
    """An ssh server on every host with a key of this test; gives the configuration file for clients."""
    _need("sshd", "ssh", "ssh-keygen")
    base = cluster.folder / "ssh"
    base.mkdir()
    Path("/run/sshd").mkdir(exist_ok=True)  # its own, which only Debian's service makes
    key, client = base / "key", base / "config"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    server = [f"-oHostKey={key}", f"-oAuthorizedKeysFile={key}.pub", f"-oPidFile={base}/pid"]
    server += ["-oStrictModes=no", "-oUsePAM=no", "-oPermitRootLogin=prohibit-password"]
    client.write_text(
        f"BatchMode yes\nIdentityFile {key}\nStrictHostKeyChecking no\nUserKnownHostsFile {base}/known\n"
    )
    daemon = shutil.which("sshd")
    assert daemon is not None
    daemons = [cluster.popen(name, daemon, "-D", "-f", "/dev/null", *server) for name in cluster.names]
    try:
        for name in cluster.names:
            wait_until(partial(_answers, cluster, ["ssh", "-F", str(client), name, "true"]))
        yield str(client)
    finally:
        for one in daemons:
            one.terminate()
            one.communicate(timeout=30)


def _answers(cluster: Cluster, words: Sequence[str]) -> bool:
    process = cluster.popen("h3", *words)
    process.communicate()
    return process.returncode == 0


def _need(*programs: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("test hosts are network namespaces, which only root can make")
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
