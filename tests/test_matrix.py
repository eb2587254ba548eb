"""Every architecture in every way of training: two steps, after which one worker holds the whole network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import pytest
import torch
from families import CLASSES, FAMILIES, SHAPE, configured
from tiny import build, composed, immoderate, on_workers
from torch import Tensor

from layerpar.architectures.base import Network
from layerpar.config import RunConfig
from layerpar.datasets.base import LoaderSpec
from layerpar.paths import config_directory
from layerpar.rendezvous.ranks import Ranks

STEPS = 2
BATCH_SIZE = 16
WORK = (
    "dataset=synthetic",
    f"dataset.shape=[{','.join(map(str, SHAPE))}]",
    f"dataset.num_classes={CLASSES}",
    f"dataset.num_train={STEPS * BATCH_SIZE}",
    "dataset.num_test=4",
    f"batch_size={BATCH_SIZE}",
    "epochs=1",
    "workers=2",
    "device=cpu",
    "optimizer.lr=1e-3",
)
OWN_WORK = {"pipeline": ("mode.microbatches=2",)}
"""A quarter of the batch leaves BatchNorm two values where a picture is one pixel: gradients of 10^5."""

NARROW = {"resnet50": ("architecture.width=8",)}
"""25 million parameters are more than two steps are worth."""


@dataclass(frozen=True)
class Trained:
    """What a worker has after training.

    Attributes:
        losses: Of the steps; none on a worker that does not hold them.
        logits: Of the test set as the engine predicts them; this and the rest on the owner only.
        plain_logits: The same from a plain network with the weights that the engine handed out.
        immoderate: What of these weights and statistics has outgrown a healthy network.
        unmoved: Layers without a parameter that training changed.
    """

    losses: list[float]
    logits: Tensor | None
    plain_logits: Tensor | None = None
    immoderate: dict[str, float] | None = None
    unmoved: list[int] | None = None


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))


@cache
def ways() -> dict[str, RunConfig]:
    """Every mode; of layerwise every objective with every exchange that it can have, overlap and replicas."""
    found = {
        f"mode={mode}": composed(*WORK, f"mode={mode}", *OWN_WORK.get(mode, ())) for mode in options("mode")
    }
    del found["mode=layerwise"]
    for objective, exchange in product(options("objective"), ("activations", "weights")):
        choices = ("mode=layerwise", f"objective={objective}", f"mode.exchange={exchange}")
        config = composed(*WORK, *choices)
        if config.objective.cannot(exchange) is None:
            found[" ".join(choices)] = config
    found["overlap"] = composed(*WORK, "mode=layerwise", "objective.overlap=1", "objective.head=conv")
    found["mode.replicas=2"] = composed(*WORK, "mode=layerwise", "mode.replicas=2")
    return found


def train_in_turn(ranks: Ranks, configs: dict[str, RunConfig]) -> dict[str, Trained]:
    """Each run, one after the other on the same workers."""
    trained = {}
    for way, config in configs.items():
        try:
            trained[way] = train(ranks, config)
        except Exception as error:
            error.add_note(f"in {way}")
            raise
    return trained


def train(ranks: Ranks, config: RunConfig) -> Trained:
    engine, loader = build(config, ranks)
    engine.start(STEPS)
    results = [engine.step(batch) for batch in loader.train(0)]
    engine.finish()
    losses = [float(result.loss) for result in results if result.loss is not None]
    (test,) = loader.test()
    logits, state = engine.predict(test), engine.full_state()
    assert (logits is not None) == (state is not None) == engine.owner
    if state is None:
        return Trained(losses, logits)
    network = config.architecture.create(SHAPE, CLASSES, seed=config.seed)
    unmoved = unchanged_layers(network, state)
    network.plain.load_state_dict(state, strict=True)
    with torch.no_grad():
        plain_logits = network.plain.eval()(held_out_images(config))
    return Trained(losses, logits, plain_logits, immoderate(state), unmoved)


def unchanged_layers(network: Network, state: dict[str, Tensor]) -> list[int]:
    """The layers all of whose parameters have in `state` the values that they have in the network."""
    parameters = dict(network.plain.named_parameters())
    return [
        index
        for index in range(len(network.layers))
        if all(
            torch.equal(state[name], parameters[name])
            for name in network.names(index, index + 1)
            if name in parameters
        )
    ]


def held_out_images(config: RunConfig) -> Tensor:
    everything = LoaderSpec(
        seed=0, batch_size=BATCH_SIZE, shard=slice(0, BATCH_SIZE), images=True, device=torch.device("cpu")
    )
    (test,) = config.dataset.loader(everything).test()
    assert test.images is not None
    return test.images


@pytest.mark.parametrize("family", FAMILIES)
def test_every_architecture_trains_in_every_way(family: str) -> None:
    architecture = configured(*FAMILIES[family], *NARROW.get(family, ()))
    configs = {way: replace(config, architecture=architecture) for way, config in ways().items()}
    for num_workers in (1, 2):
        chosen = {way: config for way, config in configs.items() if config.num_workers == num_workers}
        by_rank = on_workers(train_in_turn, num_workers, chosen)
        for way in chosen:
            losses = [loss for trained in by_rank for loss in trained[way].losses]
            assert losses, way
            assert all(loss < 10 for loss in losses), (way, losses)
            (owner,) = (trained[way] for trained in by_rank if trained[way].logits is not None)
            assert owner.immoderate == {}, way
            assert owner.plain_logits.isfinite().all(), way
            torch.testing.assert_close(owner.logits, owner.plain_logits, rtol=1e-4, atol=1e-5, msg=way)
            assert owner.unmoved == [], way
