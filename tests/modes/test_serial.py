"""The unit of every speed-up, with its options."""

from __future__ import annotations

import pytest
import torch
from tiny import captured, largest_difference, on_workers, tiny, trained, weights_after
from torch import Tensor

from layerpar.check import check
from layerpar.config import RunConfig
from layerpar.engine.contract import Workload
from layerpar.errors import UserError
from layerpar.rendezvous.ranks import Ranks

STEPS = 2
SMALL = ("mode=serial", "architecture.depth=1", "architecture.norm=none")


def test_compiled_training_is_the_same_training() -> None:
    plain, compiled = (weights_after(tiny(*SMALL, f"compile={given}"), STEPS) for given in ("false", "true"))
    assert largest_difference(plain, compiled) < 1e-6


def captures(ranks: Ranks, config: RunConfig) -> int:
    from torch._dynamo.utils import counters

    captured(ranks, config, STEPS)
    return counters["frames"]["ok"]


def test_compiling_happens_where_asked_for_only() -> None:
    [without], [asked] = (
        on_workers(captures, 1, tiny(*SMALL, f"compile={given}")) for given in ("false", "true")
    )
    assert without == 0
    assert asked > 0


def forward_type(ranks: Ranks, config: RunConfig) -> torch.dtype:
    types: list[torch.dtype] = []
    plain = Workload.compiled

    def noting(workload: Workload, forward: torch.nn.Module) -> object:
        forward.register_forward_hook(lambda module, inputs, output: types.append(output.dtype))
        return plain(workload, forward)

    Workload.compiled = noting
    trained(ranks, config, 1)
    return types[0]


def test_precision_is_that_of_the_forward_not_of_the_weights() -> None:
    for precision, expected in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        config = tiny(*SMALL, f"precision={precision}")
        assert on_workers(forward_type, 1, config) == [expected]
        assert all(tensor.dtype == torch.float32 for tensor in weights_after(config, 1).values())


def test_half_the_digits_cost_little_accuracy_in_a_step() -> None:
    exact: dict[str, Tensor] = weights_after(tiny("mode=serial"), STEPS)
    rounded = weights_after(tiny("mode=serial", "precision=bf16"), STEPS)
    assert 0 < largest_difference(exact, rounded) < 0.02


REFUSED = {
    "inside the clock": (["compile=true"], "try warmup_steps=5"),
    "in blocks": (["compile=true", "warmup_steps=1", "mode=layerwise"], "try compile=false"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_compiling_is_refused_where_it_makes_no_sense(name: str) -> None:
    overrides, repair = REFUSED[name]
    with pytest.raises(UserError) as refused:
        check(tiny("mode=serial", *overrides))
    assert repair in str(refused.value)


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="there is no no-such-compiler; try compile=false"):
        check(tiny("mode=serial", "compile=true", "warmup_steps=1"))
