"""Train the same small runs with this checkout and another, and compare their weights bit for bit.

scripts/same_weights ../before            every run; exit code 1 if any differs or fails
scripts/same_weights ../before delayed    those whose command line has this text

Relies on the command line and model.pt only. outputs/same_weights/ keeps what a commit has trained with this
release of torch: a checkout without local changes trains once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from cases import CASES, COMMON
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]


class Trainer:
    """Trains with one checkout, in one process: only the workers have to start anew for each run.

    Args:
        checkout: Whose package it is.
        side: Keeps the runs of the two checkouts apart.
    """

    def __init__(self, checkout: Path, side: str) -> None:
        describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40"]
        version = subprocess.check_output(describe, text=True).strip()
        self._folder = ROOT / "outputs" / "same_weights" / f"{side}-{version}-torch-{torch.__version__}"
        if version.endswith("dirty"):
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._driver = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("driver.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=self._folder,
            env=os.environ | {"PYTHONPATH": str(checkout)},
        )

    def model(self, case: str) -> Path:
        return self._folder / hashlib.sha256(f"{COMMON} {case}".encode()).hexdigest()[:16] / "model.pt"

    def begin(self, case: str) -> None:
        directory = self.model(case).parent
        shutil.rmtree(directory, ignore_errors=True)
        command = ["train", f"hydra.run.dir={directory}", *COMMON.split(), *case.split()]
        print(json.dumps(command), file=self._driver.stdin)

    def failed(self) -> bool:
        """Wait for the end of what began; whether it failed."""
        assert self._driver.stdout is not None
        return self._driver.stdout.readline().strip() != "0"


def trained(trainers: tuple[Trainer, ...], case: str) -> list[dict[str, Tensor]]:
    """The weights that each has trained, at the same time; fewer if some failed."""
    missing = [trainer for trainer in trainers if not trainer.model(case).exists()]
    for trainer in missing:
        trainer.begin(case)
    failed = [trainer for trainer in missing if trainer.failed()]
    return [torch.load(t.model(case), weights_only=True) for t in trainers if t not in failed]


def verdict(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> str:
    """Whether two networks are equal, else by how much they differ."""
    if {name: ours[name].shape for name in ours} != {name: theirs[name].shape for name in theirs}:
        return "other tensors"
    unequal = [name for name in ours if digest(ours[name]) != digest(theirs[name])]
    if not unequal:
        return "equal"
    largest, name = max((float((ours[n].double() - theirs[n].double()).abs().max()), n) for n in unequal)
    return f"{len(unequal)} of {len(ours)} tensors differ, by {largest:.1e} in {name}:"


def digest(tensor: Tensor) -> str:
    return hashlib.sha256(str(tensor.dtype).encode() + tensor.numpy().tobytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("other", type=Path, help="folder of another checkout")
    parser.add_argument("text", nargs="?", default="", help="only runs whose command line has this")
    given = parser.parse_args()
    trainers = Trainer(ROOT, "this"), Trainer(given.other.resolve(), "other")
    chosen = [case for case in CASES if given.text in case]
    equal = 0
    for case in chosen:
        weights = trained(trainers, case)
        said = verdict(*weights) if len(weights) == 2 else "failed"
        equal += said == "equal"
        print(f"{said:8} {case}", flush=True)
    print(f"{equal} of {len(chosen)} equal; all with {COMMON}")
    sys.exit(equal < len(chosen))


if __name__ == "__main__":
    main()
