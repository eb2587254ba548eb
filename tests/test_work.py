"""What each way of training computes, counted: beside what one gradient of the network takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from tiny import largest_difference, on_workers, take_steps, tiny, trained
from torch import Tensor, nn

from layerpar.architectures.base import Architecture, Network
from layerpar.config import RunConfig
from layerpar.loop import Progress
from layerpar.measure.stopwatch import Stopwatch
from layerpar.phases import assemble
from layerpar.rendezvous.ranks import Ranks
from layerpar.work import Work, add_work, count_work

STEPS = 3


def counted(ranks: Ranks, config: RunConfig) -> tuple[Work | None, dict[str, Tensor] | None]:
    """The work of a step, and the weights after steps that come after the counting."""
    workload, engine, loader = assemble(config, ranks, Stopwatch(torch.device("cpu")))
    work = count_work(engine, loader, config, workload)
    take_steps(engine, loader, STEPS)
    return work, engine.full_state()


def work_of(*overrides: str) -> list[Work]:
    """By rank."""
    config = tiny(*overrides)
    found = [work for work, _ in on_workers(counted, config.num_workers, config)]
    return [work for work in found if work is not None]


def relative(*overrides: str) -> float:
    """Gradient evaluations per sample."""
    return work_of(*overrides)[0].gradient_evaluations / 16


EXACT = (
    "mode=serial",
    "mode=serial mode.microbatches=4",
    "mode=data",
    "mode=data aggregation=average aggregation.every=3",
    "mode=pipeline mode.partition=[2]",
    "mode=layerwise objective=delayed mode.partition=[2]",
    "mode=layerwise objective=delayed objective.microbatches=4 mode.partition=[1,3] mode.blocks=3",
)


@pytest.mark.parametrize("way", EXACT)
def test_exact_gradients_and_delayed_ones_take_the_operations_of_backpropagation(way: str) -> None:
    # The gradient by the images, which nothing needs, is not computed: nor is it in the unit.
    assert relative(*way.split()) == pytest.approx(1)


def test_frozen_blocks_compute_the_whole_network_on_every_worker() -> None:
    widths = ("architecture=mlp", "architecture.width=64", "architecture.depth=8", "mode.partition=[4]")
    found = relative("mode=layerwise", "objective=frozen", *widths)
    # F + Bx above + own Bw, over both workers, of F + Bx + Bw: about (8 + 8 + 4 + 4 + 4) / 24 for 8 layers.
    assert 1.3 < found < 1.8


def test_a_head_of_a_block_is_work_too() -> None:
    # More than the gradient by the upper block's input, which it spares.
    assert relative("mode=layerwise", "objective=local", "mode.partition=[2]") > 1.05


def test_recomputing_is_a_forward_more_of_the_blocks_that_are_late() -> None:
    assert (
        relative("mode=layerwise", "objective=delayed", "objective.recompute=true", "mode.partition=[2]")
        > 1.05
    )


def test_a_trust_region_looks_at_the_loss_at_the_end_of_each_round() -> None:
    common = ("mode=data", "aggregation=trust_region", "aggregation.radius=100")
    often, seldom = (relative(*common, f"aggregation.every={every}") for every in (1, 3))
    assert often > seldom > 1
    assert (often - 1) == pytest.approx(3 * (seldom - 1), rel=0.01), "six steps are two rounds of three"


def test_updates_are_those_of_the_common_weights() -> None:
    assert work_of("mode=serial")[0].updates == 1
    assert work_of("mode=data", "aggregation=average", "aggregation.every=4")[0].updates == 2 / 6


def test_segments_end_rounds_also_the_last_and_shorter_one() -> None:
    """Six steps in segments of four and two, rounds of three: 3, 1 and 2 steps."""
    common = ("mode=data", "aggregation=average", "aggregation.every=3")
    assert work_of(*common, "evaluate_every_steps=4")[0].updates == 3 / 6


def test_what_steps_not_alike_compute_is_not_counted() -> None:
    assert work_of("mode=sequential", "mode.partition=[2]") == []
    progress = Progress()
    add_work(progress, Work(6.0, 2.0, 1.0), steps=3)
    assert (progress.flops, progress.gradient_evaluations, progress.updates) == (18, 6, 3)
    add_work(progress, None, steps=1)
    add_work(progress, Work(6.0, 2.0, 1.0), steps=3)
    assert progress.flops is None


@pytest.mark.parametrize("architecture", ["rnn", "vit"])
def test_kernels_that_do_several_operations_at_once_are_counted(architecture: str) -> None:
    assert relative("mode=serial", f"architecture={architecture}", "architecture.width=16") == pytest.approx(
        1
    )


@pytest.mark.parametrize(
    "way", ["mode=layerwise objective=delayed mode.partition=[2]", "mode=data aggregation=momentum"]
)
def test_counting_leaves_no_trace(way: str) -> None:
    config = tiny(*way.split())
    (after,) = (state for _, state in on_workers(counted, 2, config) if state is not None)
    (plain,) = (state for state in on_workers(trained, 2, config, STEPS) if state is not None)
    assert largest_difference(after, plain) == 0


class Scaled(nn.Module):
    """The first ten pixels, each times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(10))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :10] * self.weights


@dataclass(kw_only=True)
class WithoutProducts(Architecture):
    """A network in which nothing is counted."""

    def build(self, input_shape: tuple[int, int, int], num_classes: int) -> Network:
        return Network([Scaled()])


def test_a_network_without_matrix_products_trains_though_its_work_is_not_known() -> None:
    own = WithoutProducts(name="scaled", depth=1, width=1)
    [(work, state)] = on_workers(counted, 1, replace(tiny("mode=serial"), architecture=own))
    assert work is None
    assert state["0.weights"].ne(1).any()
