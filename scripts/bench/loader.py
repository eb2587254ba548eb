"""What the loaders cost: pictures decoded per second and core, and the share of a step for small sets.

    python scripts/bench/loader.py [FOLDER]

FOLDER holds `train/CLASS/` and `val/CLASS/`; without it `$LAYERPAR_DATA/imagenette`. Each figure is the
median of rounds that take turns, so that a machine that slows down slows all of them down.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder as BareImageFolder
from torchvision.transforms import v2

from layerpar.config import RunConfig, parse
from layerpar.datasets.augment import Augment
from layerpar.datasets.base import Loader, LoaderSpec
from layerpar.datasets.decoding_loader import MEAN, STD
from layerpar.datasets.image_folder import ImageFolder
from layerpar.datasets.memory import MemoryLoader, Samples
from layerpar.paths import config_directory

Epoch = Callable[[], Iterator[Tensor]]
"""Starts an epoch: its labels, batch by batch."""

ROUNDS = 5
DECODE_BATCH = 50
STEP_BATCH = 128
ILSVRC_SIZE = (500, 375)
"""About the average of ImageNet's training pictures."""

VARIATIONS = {
    "select, normalise": Augment(pad=0, flip=False, cutout=0),
    "and pad-crop, flip": Augment(pad=4, flip=True, cutout=0),
    "and cutout": Augment(pad=4, flip=True, cutout=8),
}


def main(folder: Path) -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    console = Console()
    console.print(decoding_table(folder))
    console.print(memory_table())


def decoding_table(folder: Path) -> Table:
    """Training pictures per second: our loader beside a bare `DataLoader` of torchvision's reference recipe.

    `in the process` counts CPU time, which other programs do not disturb; `one worker` counts seconds.
    """
    table = Table(
        "pictures", "decoded", *CONTENDERS, "ours / best other", title="Training pictures per second"
    )
    with tempfile.TemporaryDirectory() as scratch:
        large = enlarged(folder, Path(scratch))
        for label, root in (("as they are", folder), (f"{ILSVRC_SIZE[0]} x {ILSVRC_SIZE[1]}", large)):
            for place, workers, clock in (
                ("in the process", 0, process_time),
                ("one worker", 1, perf_counter),
            ):
                loaders = [make(root, workers) for make in CONTENDERS.values()]
                rates = [1 / seconds for seconds in alternate([timed(loader, clock) for loader in loaders])]
                ratio = rates[0] / max(rates[1:])
                table.add_row(label, place, *(f"{rate:.0f}" for rate in rates), f"{ratio:.2f}")
    return table


def memory_table() -> Table:
    """What a batch of CIFAR's size costs of a training step of the default CNN."""
    config = composed("dataset=synthetic", "architecture=cnn")
    step = training_step(config)
    loaders = [timed(memory_loader(config, augment), process_time) for augment in VARIATIONS.values()]
    step_seconds, *per_sample = alternate([step, *loaders])
    table = Table(
        "loader",
        "ms per batch",
        "% of a step",
        title=f"A step of the default CNN: {1000 * step_seconds:.0f} ms",
    )
    for label, seconds in zip(VARIATIONS, per_sample, strict=True):
        cost = STEP_BATCH * seconds
        table.add_row(label, f"{1000 * cost:.2f}", f"{100 * cost / step_seconds:.2f}")
    return table


def alternate(works: list[Callable[[], float]]) -> list[float]:
    """The median seconds of each work, taken in turns after one round of warming up."""
    for work in works:
        work()
    rounds = [[work() for work in works] for _ in range(ROUNDS)]
    return [median(seconds) for seconds in zip(*rounds, strict=True)]


def ours(root: Path, workers: int) -> Epoch:
    """The labels of a training epoch from our loader."""
    dataset = ImageFolder(
        name="pictures",
        train_limit=None,
        test_limit=None,
        root=str(root),
        size=224,
        resize=256,
        decode_workers=workers,
        prefetch=2,
        corrupt="error",
    )
    loader = dataset.loader(spec(DECODE_BATCH, channels_last=False))
    return partial(_served, loader)


def reference(backend: str, root: Path, workers: int) -> Epoch:
    """The labels of a training epoch as torchvision's classification reference loads it."""
    crop = [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()]
    numbers = [v2.ToDtype(torch.float, scale=True), v2.Normalize(MEAN, STD), v2.ToPureTensor()]
    steps = [*crop, v2.PILToTensor(), *numbers] if backend == "pil" else [v2.PILToTensor(), *crop, *numbers]
    loader = DataLoader(
        BareImageFolder(str(root / "train"), v2.Compose(steps)),
        batch_size=DECODE_BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        drop_last=True,
    )
    return lambda: (labels for _, labels in loader)


CONTENDERS: dict[str, Callable[[Path, int], Epoch]] = {
    "layerpar": ours,
    "reference, PIL": partial(reference, "pil"),
    "reference, tensor": partial(reference, "tensor"),
}


def timed(start: Epoch, clock: Callable[[], float]) -> Callable[[], float]:
    """Seconds per sample of an epoch."""

    def epoch() -> float:
        before = clock()
        count = sum(len(labels) for labels in start())
        return (clock() - before) / count

    return epoch


def enlarged(folder: Path, target: Path) -> Path:
    """A third of the training pictures at ImageNet's usual size: decoding costs more there."""
    for split in ("train", "val"):
        for path in sorted((folder / split).glob("*/*"))[::3]:
            copy = target / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as picture:
                picture.convert("RGB").resize(ILSVRC_SIZE).save(copy, quality=90)
    return target


def training_step(config: RunConfig) -> Callable[[], float]:
    """Seconds of CPU time of forward, backward and update, the batch being there."""
    info = config.dataset.info()
    model = config.architecture.create(info.input_shape, info.num_classes, seed=0).plain
    updates = config.optimizer.build(model.parameters())
    layout = torch.channels_last if config.architecture.channels_last else torch.contiguous_format
    images = torch.randn(STEP_BATCH, *info.input_shape).contiguous(memory_format=layout)
    labels = torch.randint(0, info.num_classes, (STEP_BATCH,))

    def step() -> float:
        before = process_time()
        nn.functional.cross_entropy(model(images), labels).backward()
        updates.step()
        updates.zero_grad()
        return process_time() - before

    return step


def memory_loader(config: RunConfig, augment: Augment) -> Epoch:
    """The labels of an epoch of random pictures of CIFAR-10's number and size, laid out for the network."""
    images = torch.randint(0, 256, (50_000, 3, 32, 32), dtype=torch.uint8)
    samples = Samples(images, torch.randint(0, 10, (50_000,)))
    wanted = spec(STEP_BATCH, channels_last=config.architecture.channels_last)
    loader = MemoryLoader(
        samples, samples.first(1), mean=(0.5,) * 3, std=(0.2,) * 3, spec=wanted, augment=augment
    )
    return partial(_served, loader)


def spec(batch_size: int, *, channels_last: bool) -> LoaderSpec:
    """The whole batch, with images, on the CPU."""
    shard, cpu = slice(0, batch_size), torch.device("cpu")
    return LoaderSpec(
        seed=0, batch_size=batch_size, shard=shard, images=True, device=cpu, channels_last=channels_last
    )


def composed(*overrides: str) -> RunConfig:
    """The run that `layerpar train OVERRIDES` would be."""
    with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
        return parse(compose("train", overrides=list(overrides)))


def _served(loader: Loader) -> Iterator[Tensor]:
    for batch in loader.train(0):
        assert batch.images is not None  # makes them
        yield batch.labels


if __name__ == "__main__":
    default = Path(os.environ.get("LAYERPAR_DATA") or "data") / "imagenette"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
