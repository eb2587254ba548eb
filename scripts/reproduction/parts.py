"""What the README's results rest on: experiments of `conf/experiment`, each a command of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WITHOUT = "~variants.{}".format
ONE_CORE_AND_LAYERWISE = tuple(map(WITHOUT, ("serial_all_cores", "data", "pipeline", "sequential")))
SEEDS_SIDE_BY_SIDE = ("workers=1", "seed=0,1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=3")
"""One worker gives the weights that several give, so accuracies need no cores of their own; but for `data`,
whose workers normalise their parts of a batch apart."""
DELAYED = ("mode=layerwise", "objective=delayed", "objective.link_delay=1", "objective.microbatches=4")


@dataclass(frozen=True)
class Part:
    """One experiment.

    Attributes:
        name: Of its folder.
        title: Of its section.
        experiment: In `conf/experiment`.
        quick: The comparison in `conf/experiment/quick` that shows it to work, None: it has the same name.
        sweeps: What is changed of the full experiment, in each of the sweeps that make it up.
        command: What carries out a sweep: `compare` times one run after the other, `train -m` need not.
        figures: The figures of it that the README shows.
        real_data: It reads a published data set, which a repacked copy may stand for.
        predicted: The link over which the figures show predictions too, None for measurements only.
        long: It takes hours: only with `--long` or by name, and it can be stopped at every epoch and gone on
            with.
    """

    name: str
    title: str
    experiment: str
    quick: str | None = None
    sweeps: tuple[tuple[str, ...], ...] = ((),)
    command: tuple[str, ...] = ("compare",)
    figures: tuple[str, ...] = ()
    real_data: bool = False
    predicted: str | None = None
    long: bool = False

    def commands(self, folder: Path, *, quick: bool, verify_checksums: bool) -> list[list[str]]:
        """The arguments of `layerpar` that carry it out below `folder`, or go on with it."""
        if quick:
            return [self._arguments(("compare",), folder, f"quick/{self.quick or self.experiment}")]
        repacked = ("dataset.verify_checksums=false",) if self.real_data and not verify_checksums else ()
        folders = (
            [folder / str(number) for number in range(len(self.sweeps))] if self.sweeps[1:] else [folder]
        )
        return [
            self._arguments(self.command, place, self.experiment, *overrides, *repacked)
            for place, overrides in zip(folders, self.sweeps, strict=True)
        ]

    def _arguments(
        self, command: tuple[str, ...], folder: Path, experiment: str, *overrides: str
    ) -> list[str]:
        return [
            *command,
            f"experiment={experiment}",
            *overrides,
            "device=cpu",
            f"checkpoint_every={int(self.long)}",
            f"hydra.sweep.dir={folder}",
        ]


PARTS = (
    Part(
        "depth_mlp",
        "Speed-up against depth, MLP",
        "speedup_vs_depth",
        sweeps=(
            ("architecture.depth=4,8", "dataset.num_train=10240"),
            ("architecture.depth=16,32", "dataset.num_train=4608"),
        ),
        figures=("speedup_vs_depth",),
    ),
    Part(
        "depth_resnet",
        "Speed-up against depth, residual CNN",
        "speedup_vs_depth_resnet",
        sweeps=(
            ("architecture.depth=8,20", "dataset.num_train=3072"),
            ("architecture.depth=32", "dataset.num_train=2048"),
        ),
        figures=("speedup_vs_depth",),
    ),
    Part(
        "mnist",
        "Accuracy on MNIST",
        "accuracy_vs_time_mnist",
        sweeps=(ONE_CORE_AND_LAYERWISE,),
        figures=("accuracy_vs_time",),
        real_data=True,
    ),
    Part(
        "aggregations",
        "Aggregations",
        "aggregations",
        # a block with one owner has nothing to average: there `average` is `replace`
        sweeps=(("~variants.frozen_average", "~variants.local_average", "epochs=6"),),
    ),
    Part(
        "blocks",
        "Finer and finer blocks",
        "blocks",
        sweeps=(tuple(WITHOUT(f"{way}_7") for way in ("local", "delayed", "accumulated")),),
        figures=("accuracy_vs_blocks",),
    ),
    Part(
        "cifar10",
        "Finer blocks on CIFAR-10",
        "blocks_cifar10",
        figures=("accuracy_vs_blocks", "accuracy_vs_time"),
        real_data=True,
        predicted="10gbit",
    ),
    Part(
        "cifar10_long",
        "Accuracy on all of CIFAR-10",
        "cifar10_cnn",
        quick="blocks_cifar10",
        sweeps=tuple(
            ("epochs=20", "precision=bf16", "target_accuracy=null", *SEEDS_SIDE_BY_SIDE, *way)
            for way in (
                ("mode=serial",),
                (*DELAYED, "mode.blocks=2", "mode.partition=equal"),
                (*DELAYED, "mode.blocks=4", "mode.partition=equal"),
                ("mode=layerwise", "objective.overlap=1", "mode.blocks=2", "mode.partition=equal"),
                ("mode=data", "workers=2"),
            )
        ),
        command=("train", "-m"),
        real_data=True,
        long=True,
    ),
)
"""In the order of the README; those that are long come last. Minutes on two shared cores, the first five on
an AMD EPYC, the others on a slower Intel Xeon:

    depth_mlp     72 runs   7.5
    depth_resnet  54        4.6
    mnist          9        4.4
    aggregations  60        3.0
    blocks        39        3.0
    cifar10       21       90
    cifar10_long  15       nine of them 121, beside other work

The steps of a sweep are as many as make its shortest serial run last two seconds; so depths come in two
sweeps.
"""
