"""A cut inside a layer changes where work is done, not what is computed."""

from __future__ import annotations

import pytest
import torch
from tiny import OBJECTIVES, largest_difference, tiny, weights_after

WHOLE = ("architecture=resnet", "architecture.depth=8", "architecture.width=4")
RESNET = (*WHOLE, "architecture.fine_cuts=true")
CUT_IN_BLOCKS = "mode.partition=[2,4]"
STEPS = 3


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_blocks_cut_in_the_middle_of_a_residual_block_do_not_depend_on_workers(objective: str) -> None:
    overrides = (*RESNET, "mode=layerwise", CUT_IN_BLOCKS, *objective.split())
    one = weights_after(tiny(*overrides, "workers=1"), STEPS)
    three = weights_after(tiny(*overrides, "workers=3"), STEPS)
    assert all(torch.equal(one[name], three[name]) for name in one)


def test_without_delay_a_cut_in_the_middle_of_a_residual_block_is_serial_training() -> None:
    delayed = ("mode=layerwise", CUT_IN_BLOCKS, "objective=delayed", "objective.link_delay=0", "workers=2")
    serial = weights_after(tiny(*WHOLE, "mode=serial"), STEPS)
    assert largest_difference(serial, weights_after(tiny(*RESNET, *delayed), STEPS)) < 1e-5


def test_a_pipeline_of_half_blocks_takes_the_steps_of_one_of_whole_blocks() -> None:
    pipeline = ("mode=pipeline", "mode.microbatches=2", "workers=2")
    whole = weights_after(tiny(*WHOLE, *pipeline, "mode.partition=[2]"), STEPS)
    half = weights_after(tiny(*RESNET, *pipeline, "mode.partition=[4]"), STEPS)
    assert largest_difference(whole, half) < 1e-5
