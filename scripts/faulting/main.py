"""Inject faults into small runs of every mode, and count what they cost.

scripts/faults                         all of them; exit code 1 unless every column is 0
scripts/faults --quick                 one each of those kinds that are marked quick
scripts/faults --only Ctrl-C --seed 3  those whose kind has this text, with the random numbers of that seed

A lost result: a finished run is changed, or an interrupted one cannot be gone on with to the weights of an
undisturbed run. An orphan: a process alive some seconds after its command. Wrong blame: the message names
another worker or cause than the one that was injected.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from kinds import KINDS, Kind
from trial import COLUMNS, Trial
from ways import WORK, Way


class References:
    """The weights of undisturbed runs; each way is trained once, when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, threading.Lock] = {}
        self._known: dict[str, dict[str, dict[str, torch.Tensor]]] = {}

    def __call__(self, way: Way) -> dict[str, dict[str, torch.Tensor]]:
        with self._locks.setdefault(way.name, threading.Lock()):
            if way.name not in self._known:
                root = self._folder / way.name
                command = [sys.executable, "-m", "layerpar.cli", *way.words(root), *WORK, *way.overrides]
                subprocess.run(command, check=True, capture_output=True)
                self._known[way.name] = {
                    str(path.parent.relative_to(root)): torch.load(path, weights_only=True)
                    for path in root.rglob("model.pt")
                }
        return self._known[way.name]


def trials(kinds: list[Kind], seed: int, folder: Path, *, quick: bool) -> list[tuple[Kind, Trial]]:
    """All faults of a campaign, which goes round the ways of training of each kind."""
    references = References(folder)
    planned = []
    for kind in kinds:
        first = random.Random(f"{seed} {kind.name}").randrange(len(kind.ways))
        for number in range(1 if quick else kind.number):
            name, way = f"{kind.name} {number}", kind.ways[(first + number) % len(kind.ways)]
            place = folder / f"{KINDS.index(kind)}-{number}"
            planned.append((kind, Trial(name, place, way, random.Random(f"{seed} {name}"), references)))
    return planned


def missing(kind: Kind) -> str | None:
    """What a kind needs and this machine has not."""
    for need in kind.needs:
        if (need == "root" and os.geteuid() != 0) or (need != "root" and shutil.which(need) is None):
            return need
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="this kind, else all kinds with this text")
    parser.add_argument("--quick", action="store_true", help="one each of those kinds that are marked so")
    parser.add_argument("--seed", type=int, help="of all random choices; by default another one each time")
    parser.add_argument("--jobs", type=int, default=2, help="faults at a time")
    parser.add_argument("--list", action="store_true", help="only say which faults there are")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    chosen = [kind for kind in KINDS if given.only in kind.name and (kind.quick or not given.quick)]
    if any(kind.name == given.only for kind in chosen):  # others may have the same words and more
        chosen = [kind for kind in chosen if kind.name == given.only]
    kinds = [kind for kind in chosen if missing(kind) is None]
    for kind in chosen:
        if kind not in kinds:
            print(f"left out for want of {missing(kind)}: {kind.name}")
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        planned = trials(kinds, seed, Path(folder), quick=given.quick)
        if given.list:
            print(*(trial for _, trial in planned), sep="\n")
            return 0
        with ThreadPoolExecutor(given.jobs) as pool:
            list(pool.map(_inject, planned))
    print(table(planned))
    return int(any(trial.found for _, trial in planned))


def _inject(planned: tuple[Kind, Trial]) -> None:
    kind, trial = planned
    begun = time.monotonic()
    try:
        kind.inject(trial)
    except Exception as error:
        trial.blames("untrue status", f"the trial itself: {type(error).__name__}: {error}")
    lines = [f"{trial.name} ({trial.way.name}), {time.monotonic() - begun:.0f} s"]
    lines += [f"    {column}: {words.strip()[:600]}" for column, words in trial.found]
    print("\n".join(lines), flush=True)
    shutil.rmtree(trial.folder, ignore_errors=True)


def table(planned: list[tuple[Kind, Trial]]) -> str:
    """A row for each kind: how many, and in how many of them what was wrong."""
    width = max((len(kind.name) for kind, _ in planned), default=0)
    lines = [" " * width + "  number" + "".join(f"  {column}" for column in COLUMNS)]
    groups: dict[str, list[Trial]] = {}
    for kind, trial in planned:
        groups.setdefault(kind.name, []).append(trial)
    for name, group in [*groups.items(), ("all", [trial for _, trial in planned])]:
        counts = Counter(column for trial in group for column in {column for column, _ in trial.found})
        cells = "".join(f"  {counts[column]:>{len(column)}}" for column in COLUMNS)
        lines.append(f"{name:<{width}}  {len(group):>6}{cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
