"""The presets of the study's table: each says what to expect, can be run in every mode, and trains."""

from __future__ import annotations

import os
import re
from math import isfinite
from pathlib import Path

import pytest
from tiny import build, composed

from layerpar.check import check
from layerpar.config import RunConfig
from layerpar.paths import config_directory
from layerpar.rendezvous.ranks import Ranks

STEPS = 2
PRESETS = {
    "mnist_mlp": ("mnist", "mlp"),
    "mnist_cnn": ("mnist", "cnn"),
    "mnist_lstm": ("mnist", "rnn"),
    "cifar10_cnn": ("cifar10", "cnn"),
    "cifar10_resnet": ("cifar10", "resnet"),
    "imagenet_resnet50": ("imagenet", "resnet50"),
    "imagenet_vgg": ("imagenet", "vgg"),
}
"""Data set and architecture of each."""

LOOKALIKES = {
    "mnist": ("dataset.shape=[1,28,28]", "dataset.num_classes=10"),
    "cifar10": ("dataset.shape=[3,32,32]", "dataset.num_classes=10"),
    "imagenet": ("dataset.shape=[3,224,224]", "dataset.num_classes=1000"),
}
"""Made-up data of each data set's shape, which needs no files."""

SLICES = {
    "mnist": ("mnist", ()),
    "cifar10": ("cifar10", ("dataset.verify_checksums=false",)),  # a repacked copy will do
    "imagenet": ("imagenette", ("dataset.size=64", "dataset.resize=64", "dataset.decode_workers=0")),
}
"""For each data set a folder in $LAYERPAR_DATA with some of it, and how a test reads that."""

NARROW = {"imagenet_vgg": ("architecture.width=8",)}
"""138 million parameters are more than two steps are worth."""


def header(preset: str) -> str:
    """The comment at the top of a preset."""
    lines = (config_directory() / "experiment" / f"{preset}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    comment = []
    for line in lines[1:]:
        if not line.startswith("# "):
            break
        comment.append(line.removeprefix("# "))
    return " ".join(comment)


def modes() -> list[str]:
    return sorted(path.stem for path in (config_directory() / "mode").glob("*.yaml"))


def test_these_are_all_presets() -> None:
    folder = config_directory() / "experiment"
    found = {path.stem for path in folder.glob("*.yaml")}
    found -= {path.stem for path in (folder / "quick").glob("*.yaml")}  # test_experiments.py has those
    assert found - {"hybrid", "search", "tune"} == set(PRESETS)  # which say how to train, not what


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_what_to_expect_where_or_that_it_was_not_run(preset: str) -> None:
    comment = header(preset)
    assert re.search(r"expect \d.* % in about \d.* s of mode=serial.* cores of", comment, re.IGNORECASE) or (
        "not run here" in comment
    ), comment


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_wins_over_the_defaults_and_the_command_line_over_it(preset: str) -> None:
    config = composed(f"experiment={preset}")
    assert (config.dataset.name, config.architecture.name) == PRESETS[preset]
    assert composed(f"experiment={preset}", "epochs=77").epochs == 77


@pytest.mark.parametrize("preset", PRESETS)
def test_every_mode_can_run_a_preset_as_it_is(preset: str) -> None:
    lookalike = ("dataset=synthetic", *LOOKALIKES[PRESETS[preset][0]])
    for mode in modes():
        check(composed(f"experiment={preset}", f"mode={mode}", *lookalike))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains_on_a_slice_of_its_data(preset: str) -> None:
    config = sliced(preset)
    check(config)
    engine, loader = build(config, Ranks(0, 1))
    engine.start(STEPS)
    losses = [engine.step(batch).loss for batch in loader.train(0)]
    engine.finish()
    assert len(losses) == STEPS
    assert all(loss is not None and isfinite(float(loss)) for loss in losses)
    logits = [engine.predict(batch) for batch in loader.test()]
    assert sum(len(some) for some in logits if some is not None) == config.dataset.test_limit


def sliced(preset: str) -> RunConfig:
    """The preset on one worker and so little of its real data that it takes two steps."""
    dataset = PRESETS[preset][0]
    folder, overrides = SLICES[dataset]
    root = Path(os.environ.get("LAYERPAR_DATA") or "data") / folder
    if not root.is_dir():
        pytest.skip(f"no {root}: set LAYERPAR_DATA to the folder with the real sets")
    batch_size = 10
    return composed(
        f"experiment={preset}",
        f"dataset.root={root}",
        *overrides,
        *NARROW.get(preset, ()),
        f"batch_size={batch_size}",
        f"dataset.train_limit={STEPS * batch_size}",
        "dataset.test_limit=10",
        "epochs=1",
        "mode=serial",
        "device=cpu",
    )
