"""Schedules as small tables of factors, and optimizers by name."""

from __future__ import annotations

import re
from math import nan
from typing import Any

import pytest
import torch
from tiny import composed
from torch import nn

from layerpar.errors import UserError
from layerpar.learning_rate import SCHEDULES, Schedule
from layerpar.optimizers import OptimizerConfig, Updater


def config(name: str, *, warmup: float = 0.0, algorithm: str = "SGD", **arguments: Any) -> OptimizerConfig:
    schedule = Schedule(name=name, warmup=warmup, milestones=[0.5, 0.75], factor=0.1)
    return OptimizerConfig(name="x", algorithm=algorithm, lr=1.0, arguments=arguments, schedule=schedule)


def rates(options: OptimizerConfig, steps: int) -> list[float]:
    """The learning rate of each step."""
    updater = options.updater([nn.Parameter(torch.zeros(1))], steps)
    seen = []
    for _ in range(steps):
        seen.append(updater._optimizer.param_groups[0]["lr"])
        updater.step()
    return seen


def test_constant() -> None:
    assert rates(config("constant"), 4) == [1, 1, 1, 1]


def test_warmup_rises_linearly_to_the_rate() -> None:
    assert rates(config("constant", warmup=0.5), 6) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_cosine_falls_to_zero() -> None:
    assert rates(config("cosine"), 4) == pytest.approx([1, 0.8536, 0.5, 0.1464], abs=1e-4)


def test_step_drops_at_fractions_of_the_run_whatever_the_warmup() -> None:
    assert rates(config("step"), 8) == pytest.approx([1] * 4 + [0.1] * 2 + [0.01] * 2)
    assert rates(config("step", warmup=0.25), 8)[2:] == pytest.approx([1] * 2 + [0.1] * 2 + [0.01] * 2)


def test_onecycle_peaks_at_the_rate() -> None:
    seen = rates(config("onecycle", warmup=0.5), 8)
    assert 0.95 < max(seen) <= 1
    assert seen.index(max(seen)) == 4
    assert seen[0] < 0.2 > seen[-1]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_resuming_goes_on_exactly(name: str) -> None:
    options = composed(f"optimizer={name}").optimizer

    def train(parameter: nn.Parameter, updater: Any, steps: range) -> None:
        for step in steps:
            parameter.grad = torch.full_like(parameter, 1.0 + step)
            updater.step()

    whole = nn.Parameter(torch.ones(3))
    train(whole, options.updater([whole], 6), range(6))
    halves = nn.Parameter(torch.ones(3))
    first = options.updater([halves], 6)
    train(halves, first, range(3))
    second = options.updater([halves], 6)
    second.load_state_dict(first.state_dict())
    train(halves, second, range(3, 6))
    assert torch.equal(whole, halves)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_taken_up_later_is_the_same_schedule(name: str) -> None:
    whole = rates(config(name, warmup=0.25), 8)
    options = config(name, warmup=0.25)
    updater = options.updater([nn.Parameter(torch.zeros(1))], 8, first_step=5)
    for rate in whole[5:]:
        assert updater._optimizer.param_groups[0]["lr"] == rate
        updater.step()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_moments_go_over_by_name_and_newcomers_begin_with_zeros(name: str) -> None:
    """A newcomer beside a parameter that brings moments takes the steps it would take alone."""
    options = composed(f"optimizer={name}").optimizer

    def step(parameters: list[nn.Parameter], updater: Updater) -> None:
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        updater.step()

    old, newcomer, alone = (nn.Parameter(torch.ones(3)) for _ in range(3))
    first = options.updater([old], 9)
    step([old], first)
    moments = first.optimizer_state([("weight", old), ("of another", newcomer)])
    assert list(moments) == ["weight"]
    second = options.updater([newcomer, old], 9)
    second.set_optimizer_state([("weight", old)], moments)
    assert second.optimizer_state([("weight", old)]).keys() == moments.keys()
    step([newcomer, old], second)
    step([alone], options.updater([alone], 9))
    assert torch.equal(newcomer, alone)


def test_moments_are_inherited_by_the_same_algorithm_only() -> None:
    sgd = composed("optimizer=sgd").optimizer
    assert composed("optimizer=sgd", "optimizer.lr=1").optimizer.inherits(sgd)
    assert not composed("optimizer=adamw").optimizer.inherits(sgd)
    assert not composed("optimizer=sgd", "optimizer.arguments.momentum=0").optimizer.inherits(sgd)
    rms = config("constant", algorithm="RMSprop", momentum=0.5)
    assert not rms.inherits(rms)


def test_any_optimizer_of_torch() -> None:
    parameter = nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    updater = config("constant", algorithm="RMSprop", momentum=0.5).updater([parameter], 3)
    updater.step()
    assert parameter.item() < 1
    assert parameter.grad is None


@pytest.mark.parametrize("algorithm", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "RAdam"])
def test_a_step_is_torchs_own_to_the_last_bit(algorithm: str) -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(16))
    theirs = nn.Parameter(ours.detach().clone())
    updater = config("constant", algorithm=algorithm).updater([ours], 5)
    optimizer = getattr(torch.optim, algorithm)([theirs], lr=1.0)
    for _ in range(5):
        ours.grad = torch.randn(16)
        theirs.grad = ours.grad.clone()
        updater.step()
        optimizer.step()
    assert torch.equal(ours, theirs)


def test_hooks_are_called() -> None:
    weight = nn.Parameter(torch.ones(1))
    updater = config("constant").updater([weight], 1)
    seen = []
    updater._optimizer.register_step_pre_hook(lambda *_: seen.append(weight.item()))
    updater._optimizer.register_step_post_hook(lambda *_: seen.append(weight.item()))
    weight.grad = torch.ones(1)
    updater.step()
    assert seen == [1.0, 0.0]


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_may_lie_otherwise_in_memory_than_its_parameter(fused: bool) -> None:
    """A fused step reads both side by side, whatever their strides say."""
    gradient = torch.arange(36.0).view(2, 2, 3, 3)
    expected, last = torch.zeros(2, 2, 3, 3) - gradient, torch.channels_last
    for weight_format, gradient_format in ((torch.contiguous_format, last), (last, torch.contiguous_format)):
        weight = nn.Parameter(torch.zeros(2, 2, 3, 3).contiguous(memory_format=weight_format))
        weight.grad = gradient.contiguous(memory_format=gradient_format)
        config("constant", fused=fused).updater([weight], 1).step()
        assert torch.equal(weight, expected)


def test_a_gradient_that_lies_as_its_parameter_is_not_copied() -> None:
    weight = nn.Parameter(torch.zeros(4, 4, 1, 1))
    gradient = torch.ones(4, 4, 1, 1).as_strided((4, 4, 1, 1), (4, 1, 4, 4))
    assert weight.stride() != gradient.stride()
    updater = config("constant").updater([weight], 1)
    used = []
    updater._optimizer.register_step_pre_hook(lambda *_: used.append(weight.grad))
    weight.grad = gradient
    updater.step()
    assert used[0] is gradient


REFUSED = {
    "LBFGS": "computes the loss anew within a step, by a closure",
    "SparseAdam": "takes sparse gradients only",
    "Optimizer": "is no optimizer of torch.optim",
    "lr_scheduler": "is no optimizer of torch.optim",
    "Sgd": "is no optimizer of torch.optim",
}


@pytest.mark.parametrize("algorithm", REFUSED)
def test_what_no_mode_can_train_with_is_refused(algorithm: str) -> None:
    with pytest.raises(UserError, match=f"optimizer.algorithm={algorithm} {REFUSED[algorithm]}.*; try "):
        config("constant", algorithm=algorithm)


TRAINABLE = sorted(
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name not in REFUSED
)


@pytest.mark.parametrize("algorithm", TRAINABLE)
def test_every_other_optimizer_trains(algorithm: str) -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    updater = config("constant", algorithm=algorithm).updater([weight], 2)
    for _ in range(2):
        weight.grad = torch.ones(2, 2)
        updater.step()
    assert weight.isfinite().all()
    assert not torch.equal(weight, torch.ones(2, 2))


@pytest.mark.parametrize(
    ("algorithm", "name", "value", "repair"),
    [
        ("SGD", "momentum", "much", "momentum=0"),
        ("SGD", "momentum", True, "momentum=0"),
        ("SGD", "weight_decay", nan, "weight_decay=0"),
        ("SGD", "nesterov", 0.9, "nesterov=false"),
        ("Adam", "betas", 0.9, "betas=[0.9,0.999]"),
        ("Adam", "betas", [0.9, "x"], "betas=[0.9,0.999]"),
    ],
)
def test_an_argument_of_another_type_is_refused_before_anything_starts(
    algorithm: str, name: str, value: Any, repair: str
) -> None:
    with pytest.raises(UserError, match=re.escape(f"try optimizer.arguments.{repair}")):
        config("constant", algorithm=algorithm, **{name: value})


def test_arguments_of_any_type_that_torch_may_take_are_left_to_it() -> None:
    given: dict[str, Any] = {"fused": None, "betas": [0.8, 0.9], "weight_decay": 1}
    assert config("constant", algorithm="Adam", **given).arguments == given


@pytest.mark.parametrize(
    ("algorithm", "arguments", "reason"),
    [
        ("SGD", {"nesterov": True}, "Nesterov momentum requires a momentum"),
        ("Adam", {"betas": [2, 2]}, "Invalid beta"),
        ("Adam", {"fused": True, "foreach": True}, "cannot be"),
        ("Muon", {}, "2D parameters"),
    ],
)
def test_what_torch_refuses_is_one_line(algorithm: str, arguments: dict[str, Any], reason: str) -> None:
    options = config("constant", algorithm=algorithm, **arguments)
    with pytest.raises(UserError, match=reason) as refused:
        options.build([nn.Parameter(torch.ones(3))])
    assert "\n" not in str(refused.value)
