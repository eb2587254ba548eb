"""The small runs that faults are injected into: every mode and objective, and several runs in one command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WORK = (
    "dataset=synthetic",
    "dataset.shape=[1,8,8]",
    "dataset.num_train=512",
    "dataset.num_test=128",
    "architecture.width=96",
    "architecture.depth=4",
    "batch_size=16",
    "optimizer.lr=0.02",
    "device=cpu",
    "warmup_steps=1",
)
"""Of every run: an epoch of 32 steps."""


@dataclass(frozen=True)
class Way:
    """A way of training.

    Attributes:
        name: What it is called.
        overrides: Of the command line; where layers are cut is said, so that weights repeat bit for bit.
        workers: How many there are.
        command: train, `train -m` or compare.
    """

    name: str
    overrides: tuple[str, ...]
    workers: int = 2
    command: tuple[str, ...] = ("train",)

    @property
    def several(self) -> bool:
        """Whether the command has several runs."""
        return self.command != ("train",)

    def words(self, root: Path) -> list[str]:
        """The command and where it writes."""
        key = "hydra.sweep.dir" if "-m" in self.command else "hydra.run.dir"
        return [*self.command, f"{key}={root}"]


CUT = "mode.partition=[2]"
EPOCHS = "epochs=5"
LAYERWISE = ("mode=layerwise", CUT, EPOCHS)
SINGLE = (
    Way("serial", ("mode=serial", EPOCHS), workers=1),
    Way("sequential", ("mode=sequential", CUT, EPOCHS), workers=1),
    Way("data", ("mode=data", EPOCHS)),
    Way("data-momentum", ("mode=data", "aggregation=momentum", "aggregation.every=8", EPOCHS)),
    Way("pipeline", ("mode=pipeline", CUT, EPOCHS)),
    Way("local", (*LAYERWISE, "objective=local")),
    Way("delayed", (*LAYERWISE, "objective=delayed")),
    Way("frozen", (*LAYERWISE, "objective=frozen", "aggregation.every=8")),
    Way("frozen-anderson", (*LAYERWISE, "objective=frozen", "aggregation=anderson", "aggregation.every=8")),
    Way("replicas", (*LAYERWISE, "mode.replicas=2", "workers=4"), workers=4),
    Way(
        "phases",
        (
            "+mode@phases.first.mode=serial",
            "+phases.first.epochs=2",
            "+mode@phases.second.mode=layerwise",
            "phases.second.mode.partition=[2]",
            "+objective@phases.second.objective=delayed",
            "+phases.second.epochs=3",
            EPOCHS,
        ),
    ),
)
SEVERAL = (
    Way(
        "compare",
        (
            "~variants.serial_all_cores",
            "~variants.pipeline",
            "~variants.sequential",
            "~variants.layerwise_local",
            EPOCHS,
        ),
        command=("compare",),
    ),
    Way("sweep", ("mode=data", "seed=0,1", EPOCHS), command=("train", "-m")),
)
WAYS = (*SINGLE, *SEVERAL)
