"""What the README rests on: experiments of `conf/experiment`, each a command of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """One experiment.

    Attributes:
        name: Of its folder.
        title: Of its section.
        experiment: In `conf/experiment`; its quick size is beside it.
        overrides: What is changed of the full experiment, to keep the whole within an hour.
        figures: The figures of it that the README shows.
        real_data: It reads a published data set, which a repacked copy may stand for.
    """

    name: str
    title: str
    experiment: str
    overrides: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    real_data: bool = False

    def command(self, outputs: Path, *, quick: bool, verify_checksums: bool) -> list[str]:
        """The arguments of `layerpar` that carry it out, or go on with it."""
        chosen = [f"experiment={'quick/' if quick else ''}{self.experiment}"]
        if not quick:
            chosen += self.overrides
            chosen += ["dataset.verify_checksums=false"] if self.real_data and not verify_checksums else []
        return ["compare", *chosen, "device=cpu", f"hydra.sweep.dir={outputs / self.name}"]


PARTS = (
    Part("depth_mlp", "Speed-up against depth, MLP", "speedup_vs_depth", figures=("speedup_vs_depth",)),
    Part(
        "depth_resnet",
        "Speed-up against depth, residual CNN",
        "speedup_vs_depth_resnet",
        figures=("speedup_vs_depth",),
    ),
    Part(
        "mnist",
        "Accuracy on MNIST",
        "accuracy_vs_time_mnist",
        figures=("accuracy_vs_time",),
        real_data=True,
        overrides=tuple(
            f"~variants.{name}" for name in ("serial_all_cores", "data", "pipeline", "sequential")
        ),
    ),
    Part(
        "cifar10",
        "Accuracy on CIFAR-10",
        "accuracy_vs_time",
        figures=("accuracy_vs_time",),
        real_data=True,
        overrides=tuple(
            f"~variants.{name}" for name in ("serial_all_cores", "data", "pipeline", "sequential")
        ),
    ),
    Part("aggregations", "Aggregations", "aggregations"),
    Part("blocks", "Finer and finer blocks", "blocks", figures=("accuracy_vs_epoch",)),
)
