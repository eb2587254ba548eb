"""An objective with a new kind of message takes one file and one YAML, neither of them in the package."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from own_objective import Agreeing
from processes import SMALL, ended, start
from tiny import build, largest_difference, tiny, weights_after
from torch import Tensor

from layerpar.errors import UserError
from layerpar.objectives.block import Message
from layerpar.paths import RunDirectory
from layerpar.rendezvous.ranks import Ranks

HERE = Path(__file__).parent
SEARCH = f"hydra.searchpath=[file://{HERE / 'conf'}]"
OWN = (SEARCH, "objective=own", "mode=layerwise", "mode.partition=[1,3]")
STEPS = 4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_its_blocks_do_not_depend_on_where_they_are_placed(precision: str) -> None:
    options = [*OWN, "objective.microbatches=2", f"precision={precision}"]
    one, three = (weights_after(tiny(*options, f"workers={workers}"), STEPS) for workers in (1, 3))
    assert all(torch.equal(one[name], three[name]) for name in one)


def test_its_message_arrives_and_counts() -> None:
    """The term that reads it changes the weights of all blocks but the first, which gets none."""
    with_term, without = (
        weights_after(tiny(*OWN, f"objective.weight={weight}"), STEPS) for weight in (0.5, 0)
    )
    first = {name for name in with_term if name.startswith("0.")}
    assert first
    assert all(torch.equal(with_term[name], without[name]) for name in first)
    assert largest_difference(with_term, without) > 1e-4


def test_its_message_needs_activations_to_cross() -> None:
    objective = tiny(*OWN).objective
    assert objective.cannot("activations") is None
    assert objective.cannot("weights") == "its messages need activations"


def test_it_trains_by_the_command_line(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    options = [SEARCH, "objective=own", "objective.weight=0.2", "workers=2", "epochs=1", *SMALL]
    code, _, error = ended(
        start("train", f"hydra.run.dir={directory.root}", *options, PYTHONPATH=path), tmp_path
    )
    assert code == 0, error
    summary = json.loads(directory.summary.read_text())
    assert (summary["status"], summary["objective"]) == ("done", "own")
    activations, targets = (summary["steps"] * 64 * numbers * 4 for numbers in (32, 10))
    assert [rank["sent_bytes"] for rank in summary["ranks"]] == [activations + targets, 0]


class Rising(Agreeing):
    """It says that something goes up, but not how late it is taken."""

    def messages(self, activation: Tensor, *, num_classes: int) -> list[Message]:
        down = super().messages(activation, num_classes=num_classes)
        return [*down, Message("thanks", "up", (1,), activation.dtype)]


def test_a_message_that_goes_up_needs_a_delay() -> None:
    own = tiny(*OWN, "workers=1")
    values = {field.name: getattr(own.objective, field.name) for field in fields(own.objective)}
    rising = replace(own, objective=Rising(**values))
    with pytest.raises(UserError, match="objective=own sends thanks up, but its delay_per_link is None"):
        build(rising, Ranks(0, 1))
