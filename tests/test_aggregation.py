"""The rules by which blocks' proposals become the next common weights."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Barrier

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor

from layerpar.aggregation import Aggregation, Alone, Blocks, Group, Rule
from layerpar.aggregation.anderson import Anderson, mixing_weights
from layerpar.aggregation.elementwise import Average, Damped, Momentum, Replace
from layerpar.aggregation.ema import EMA
from layerpar.aggregation.trust_region import TrustRegion
from layerpar.errors import UserError

CONF = Path(__file__).parents[1] / "conf" / "aggregation"
SHAPES = [[(3, 2), (2,)], [], [(4,)]]  # of three blocks, the second without weights
SEEDS = st.integers(0, 2**32 - 1)


def draw(generator: torch.Generator) -> Blocks:
    return [
        [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in block] for block in SHAPES
    ]


def proposals(seed: int, rounds: int) -> list[Blocks]:
    generator = torch.Generator().manual_seed(seed)
    return [draw(generator) for _ in range(rounds)]


def mapped(function: Callable[..., Tensor], *blocks: Blocks) -> Blocks:
    return [
        [function(*tensors) for tensors in zip(*block, strict=True)] for block in zip(*blocks, strict=True)
    ]


def copied(blocks: Blocks) -> Blocks:
    return mapped(torch.clone, blocks)


def vector(blocks: Blocks) -> Tensor:
    return torch.cat([tensor.flatten() for block in blocks for tensor in block])


def identical(left: Blocks, right: Blocks) -> bool:
    return torch.equal(vector(left), vector(right))


def bowl(weights: Blocks) -> float:
    """A loss with its minimum at one, steeper in some directions than in others."""
    away = vector(weights) - 1
    return float((away.square() * torch.arange(1, len(away) + 1)).sum())


ALONE = Alone(bowl)


def replace() -> Replace:
    return Replace(name="replace", every=1)


def average() -> Average:
    return Average(name="average", every=1)


def damped(alpha: float) -> Damped:
    return Damped(name="damped", every=1, alpha=alpha)


def momentum(alpha: float, beta: float, *, nesterov: bool = False) -> Momentum:
    return Momentum(name="momentum", every=1, alpha=alpha, beta=beta, nesterov=nesterov)


def trust_region(radius: float) -> TrustRegion:
    return TrustRegion(
        name="trust_region", every=1, radius=radius, accept=0.25, expand=0.75, grow=1.2, shrink=0.9
    )


def anderson(
    memory: int, *, alpha: float = 1.0, regularisation: float = 1e-12, joint: bool = True
) -> Anderson:
    return Anderson(
        name="anderson", every=1, memory=memory, alpha=alpha, regularisation=regularisation, joint=joint
    )


def ema(decay: float) -> EMA:
    return EMA(name="ema", every=1, decay=decay)


EVERY_RULE = [
    replace(),
    average(),
    damped(0.3),
    momentum(0.7, 0.9),
    momentum(0.7, 0.9, nesterov=True),
    trust_region(2.0),
    anderson(2),
    anderson(2, joint=False),
    ema(0.9),
]
ALL = pytest.mark.parametrize("aggregation", EVERY_RULE, ids=lambda aggregation: type(aggregation).__name__)


def course(
    aggregation: Aggregation,
    steps: list[Blocks],
    *,
    start: Blocks,
    group: Group = ALONE,
    rule: Rule | None = None,
) -> list[Blocks]:
    """The common weights after each round, the blocks proposing w^t + step."""
    rule = rule or aggregation.rule()
    common, path = copied(start), []
    for step in steps:
        proposed = mapped(torch.add, common, step)
        common = rule.combine(common, proposed, group)
        path.append(copied(common))
    return path


# --- replace, average, damped -----------------------------------------------------------------------


def test_replace_and_ema_hand_back_the_very_tensors_they_were_given() -> None:
    (proposed,) = proposals(0, 1)
    for aggregation in (replace(), average(), ema(0.9)):
        rule = aggregation.rule()
        assert not rule.needs_common
        assert rule.combine(proposed, proposed, ALONE) is proposed


@given(SEEDS)
def test_damped_by_one_is_replace_to_the_last_bit(seed: int) -> None:
    common, proposed = proposals(seed, 2)
    assert identical(damped(1.0).rule().combine(common, proposed, ALONE), proposed)


@given(SEEDS, st.floats(0.01, 1.0))
def test_damped_goes_alpha_of_the_way(seed: int, alpha: float) -> None:
    common, proposed = proposals(seed, 2)
    expected = mapped(lambda w, p: w + alpha * (p - w), common, proposed)
    found = damped(alpha).rule().combine(common, proposed, ALONE)
    torch.testing.assert_close(vector(found), vector(expected))


@given(SEEDS)
def test_jacobi_averaging_of_blocks_never_increases_a_convex_loss(seed: int) -> None:
    # Each block alone lowers the loss, so by convexity their mean does; all of them at once may not.
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    hessian = root @ root.T + 0.1 * torch.eye(6, dtype=torch.float64)
    common = [[torch.randn(2, generator=generator, dtype=torch.float64)] for _ in range(3)]

    def loss(weights: Blocks) -> float:
        return float(vector(weights) @ hessian @ vector(weights))

    before, gradient = loss(common), (hessian @ vector(common)).reshape(3, 2)
    solved = [
        [own[0] - torch.linalg.solve(hessian[2 * k : 2 * k + 2, 2 * k : 2 * k + 2], gradient[k])]
        for k, own in enumerate(common)
    ]
    assert loss(damped(1 / 3).rule().combine(common, solved, ALONE)) <= before


@dataclass(frozen=True)
class Replicas:
    """The group of one replica, the others' proposals being known."""

    others: list[Blocks]

    def mean(self, proposed: Blocks) -> Blocks:
        return mapped(lambda *tensors: torch.stack(tensors).mean(0), proposed, *self.others)

    def sum(self, values: Tensor) -> Tensor:
        return values.sum(0)

    def loss(self, weights: Blocks) -> float:
        return bowl(weights)


@ALL
def test_identical_replicas_change_nothing(aggregation: Aggregation) -> None:
    start, *steps = proposals(1, 4)
    common, paths = copied(start), course(aggregation, steps, start=start)
    rule = aggregation.rule()
    for step, expected in zip(steps, paths, strict=True):
        proposed = mapped(torch.add, common, step)
        common = rule.combine(common, proposed, Replicas([copied(proposed)]))
        assert identical(common, expected)


@given(SEEDS)
def test_average_is_the_mean_over_replicas_in_any_order(seed: int) -> None:
    first, second, third = proposals(seed, 3)
    expected = mapped(lambda a, b, c: (a + b + c) / 3, first, second, third)
    for own, others in ((first, [second, third]), (third, [first, second])):
        found = average().rule().combine(own, own, Replicas(others))
        torch.testing.assert_close(vector(found), vector(expected))


# --- momentum ---------------------------------------------------------------------------------------


@given(SEEDS, st.floats(0.01, 1.0), st.booleans())
def test_momentum_without_velocity_is_damped_to_the_last_bit(seed: int, alpha: float, nesterov: bool) -> None:
    start, *steps = proposals(seed, 4)
    expected = course(damped(alpha), steps, start=start)
    found = course(momentum(alpha, 0.0, nesterov=nesterov), steps, start=start)
    assert identical(found[-1], expected[-1])


@pytest.mark.parametrize("nesterov", [False, True])
def test_three_rounds_of_momentum_written_out(nesterov: bool) -> None:
    start, *steps = proposals(2, 4)
    weights, velocity = vector(start), torch.zeros_like(vector(start))
    found = course(momentum(0.7, 0.9, nesterov=nesterov), steps, start=start)
    for step, combined in zip(steps, found, strict=True):
        delta = vector(step)
        velocity = 0.9 * velocity + delta
        weights = weights + 0.7 * (delta + 0.9 * velocity if nesterov else velocity)
        torch.testing.assert_close(vector(combined), weights)


def test_momentum_is_torch_sgd_on_the_negative_step() -> None:
    start, *steps = proposals(3, 5)
    weights = vector(start).requires_grad_()
    sgd = torch.optim.SGD([weights], lr=0.7, momentum=0.9, nesterov=True)
    found = course(momentum(0.7, 0.9, nesterov=True), steps, start=start)
    for step, combined in zip(steps, found, strict=True):
        weights.grad = -vector(step)
        sgd.step()
        torch.testing.assert_close(vector(combined), weights.detach())


# --- trust region -----------------------------------------------------------------------------------


@given(SEEDS, st.floats(0.01, 100.0), st.floats(0.01, 10.0))
def test_a_trust_region_only_takes_steps_within_its_radius_that_lower_the_loss(
    seed: int, radius: float, length: float
) -> None:
    start, *steps = proposals(seed, 9)
    rule, common = trust_region(radius).rule(), copied(start)
    for step in steps:
        before, allowed, accepted = copied(common), rule.scalars()["radius"], rule.accepted
        proposed = mapped(lambda w, s: w + length * s, common, step)
        common = rule.combine(common, proposed, ALONE)
        moved = float((vector(common) - vector(before)).norm())
        assert moved <= allowed * (1 + 1e-9)
        if rule.accepted > accepted:
            assert bowl(common) < bowl(before)
        else:
            assert identical(common, before)
            assert rule.scalars()["radius"] < allowed


def falling(start: Blocks, fraction: float) -> Blocks:
    """A proposal `fraction` of the way from `start` to the bowl's minimum."""
    return mapped(lambda w: w + fraction * (1 - w), start)


def test_an_accepted_step_inside_the_radius_is_the_proposal_to_the_last_bit() -> None:
    (common,) = proposals(4, 1)
    proposed = falling(common, 0.5)
    rule = trust_region(100.0).rule()
    assert identical(rule.combine(common, copied(proposed), ALONE), proposed)
    assert rule.scalars() == {"accepted_fraction": 1.0, "radius": 100.0}


def test_a_step_that_reaches_the_radius_and_keeps_its_promise_lets_it_grow() -> None:
    (common,) = proposals(4, 1)
    rule = trust_region(0.1).rule()
    found = rule.combine(copied(common), falling(common, 0.5), ALONE)
    assert float((vector(found) - vector(common)).norm()) == pytest.approx(0.1)
    assert rule.scalars()["radius"] == pytest.approx(0.12)


@pytest.mark.parametrize("fraction", [-0.5, 1.9, 2.1, math.nan, math.inf])
def test_a_step_that_breaks_its_promise_restores_the_common_weights(fraction: float) -> None:
    # The whole way to a quadratic's minimum keeps half of the slope's promise; 1.9 ways keep a twentieth.
    (common,) = proposals(4, 1)
    before = copied(common)
    rule = trust_region(100.0).rule()
    assert identical(rule.combine(common, falling(common, fraction), ALONE), before)
    length = float((vector(falling(before, fraction)) - vector(before)).norm())
    radius = 0.9 * length if math.isfinite(length) else 90.0
    assert rule.scalars() == {"accepted_fraction": 0.0, "radius": pytest.approx(radius)}


def test_repeated_rejection_ends_in_an_accepted_shorter_step() -> None:
    (common,) = proposals(4, 1)
    rule = trust_region(100.0).rule()
    rounds = 0
    while rule.accepted == 0 and rounds < 20:
        common = rule.combine(common, falling(common, 3.0), ALONE)
        rounds += 1
    assert 1 < rounds < 20


# --- anderson ---------------------------------------------------------------------------------------


@given(SEEDS, st.floats(0.01, 1.0), st.booleans())
def test_anderson_without_memory_is_damped_to_the_last_bit(seed: int, alpha: float, joint: bool) -> None:
    start, *steps = proposals(seed, 4)
    expected = course(damped(alpha), steps, start=start)
    assert identical(course(anderson(0, alpha=alpha, joint=joint), steps, start=start)[-1], expected[-1])


@pytest.mark.parametrize("unknowns", [1, 2, 4])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_anderson_solves_a_linear_problem_of_m_unknowns_in_one_round_more(
    unknowns: int, alpha: float
) -> None:
    generator = torch.Generator().manual_seed(5)
    matrix = torch.randn(unknowns, unknowns, generator=generator, dtype=torch.float64)
    matrix *= 0.9 / torch.linalg.matrix_norm(matrix, 2)
    offset = torch.randn(unknowns, generator=generator, dtype=torch.float64)
    solution = torch.linalg.solve(torch.eye(unknowns, dtype=torch.float64) - matrix, offset)
    rule = anderson(unknowns, alpha=alpha, regularisation=0.0).rule()
    common: Blocks = [[torch.zeros(unknowns, dtype=torch.float64)]]
    for _ in range(unknowns + 1):
        common = rule.combine(common, [[matrix @ common[0][0] + offset]], ALONE)
    torch.testing.assert_close(common[0][0], solution, rtol=1e-5, atol=1e-6)


def test_anderson_per_block_solves_blocks_that_do_not_touch_each_other_where_joint_weights_cannot() -> None:
    def after_two_rounds(joint: bool) -> Tensor:
        rule = anderson(1, joint=joint).rule()
        common: Blocks = [[torch.ones(1, dtype=torch.float64)], [torch.ones(1, dtype=torch.float64)]]
        for _ in range(2):
            common = rule.combine(common, [[0.9 * common[0][0]], [-0.5 * common[1][0]]], ALONE)
        return vector(common).abs().max()

    assert after_two_rounds(joint=False) < 1e-6
    assert after_two_rounds(joint=True) > 0.1


@given(SEEDS, st.integers(1, 4), st.sampled_from([1e-6, 1e-2, 1.0]))
def test_mixing_weights_minimise_the_penalised_joint_step(seed: int, rounds: int, penalty: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.randn(rounds, 6, generator=generator, dtype=torch.float64)
    gram = deltas @ deltas.T
    (found,) = mixing_weights(gram[None], penalty)

    def worth(weights: Tensor) -> float:
        return float(weights @ gram @ weights + penalty * (weights.square() * gram.diagonal()).sum())

    assert float(found.sum()) == pytest.approx(1)
    for other in torch.randn(10, rounds, generator=generator, dtype=torch.float64):
        direction = other - other.mean()  # keeps the sum
        assert worth(found) <= worth(found + 0.1 * direction) + 1e-9


@given(SEEDS, st.integers(2, 4))
def test_mixing_weights_follow_the_order_of_rounds_and_ignore_the_scale_of_steps(
    seed: int, rounds: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.randn(rounds, 6, generator=generator, dtype=torch.float64)
    gram, order = deltas @ deltas.T, torch.randperm(rounds, generator=generator)
    (weights,) = mixing_weights(gram[None], 1e-2)
    torch.testing.assert_close(mixing_weights(1e-12 * gram[None], 1e-2)[0], weights)
    torch.testing.assert_close(mixing_weights(gram[order][:, order][None], 1e-2)[0], weights[order])


@pytest.mark.parametrize(
    "gram", [[[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]], [[1.0, math.nan], [math.nan] * 2]]
)
def test_the_newest_round_counts_alone_where_mixing_has_no_answer(gram: list[list[float]]) -> None:
    (weights,) = mixing_weights(torch.tensor([gram], dtype=torch.float64), 0.0)
    assert weights.tolist() == [0.0, 1.0]


def test_anderson_reports_its_mixing_weights_newest_first_and_forgets_the_oldest_round() -> None:
    start, *steps = proposals(6, 5)
    rule = anderson(2).rule()
    course(anderson(2), steps, start=start, rule=rule)
    scalars = rule.scalars()
    assert list(scalars) == ["mixing/0", "mixing/1", "mixing/2"]
    assert sum(scalars.values()) == pytest.approx(1)


# --- ema --------------------------------------------------------------------------------------------


@given(SEEDS, st.floats(0.0, 0.99))
def test_ema_exports_the_closed_form_and_trains_on_undisturbed(seed: int, decay: float) -> None:
    rounds = proposals(seed, 5)
    rule = ema(decay).rule()
    for proposed in rounds:
        common = rule.combine(proposed, proposed, ALONE)
        assert common is proposed
    shares = [decay**4] + [(1 - decay) * decay ** (4 - t) for t in range(1, 5)]
    expected = sum(share * vector(proposed) for share, proposed in zip(shares, rounds, strict=True))
    torch.testing.assert_close(vector(rule.exported(common)), expected)


def test_before_the_first_round_the_common_weights_are_exported() -> None:
    (common,) = proposals(0, 1)
    for aggregation in EVERY_RULE:
        assert aggregation.rule().exported(common) is common


# --- what all rules have in common ------------------------------------------------------------------


@ALL
def test_a_rule_goes_on_exactly_from_its_state(aggregation: Aggregation) -> None:
    start, *steps = proposals(7, 6)
    rule, fresh = aggregation.rule(), aggregation.rule()
    middle = course(aggregation, steps[:3], start=start, rule=rule)[-1]
    fresh.load_state_dict(rule.state_dict())
    expected = course(aggregation, steps[3:], start=middle, rule=rule)
    found = course(aggregation, steps[3:], start=middle, rule=fresh)
    assert identical(found[-1], expected[-1])
    assert identical(fresh.exported(found[-1]), rule.exported(expected[-1]))
    assert fresh.scalars() == rule.scalars()


@ALL
def test_a_state_dict_is_a_copy_that_later_rounds_leave_alone(aggregation: Aggregation) -> None:
    start, *steps = proposals(7, 6)
    rule = aggregation.rule()
    middle = course(aggregation, steps[:3], start=start, rule=rule)[-1]
    state = rule.state_dict()
    expected = course(aggregation, steps[3:], start=middle, rule=rule)[-1]
    again = aggregation.rule()
    again.load_state_dict(state)
    assert identical(course(aggregation, steps[3:], start=middle, rule=again)[-1], expected)


@ALL
def test_a_proposal_and_live_parameters_are_only_read(aggregation: Aggregation) -> None:
    common, proposed = proposals(8, 2)
    live = mapped(torch.nn.Parameter, proposed)
    aggregation.rule().combine(common, live, ALONE)
    assert identical(live, proposed)


@ALL
def test_a_rule_that_needs_the_common_weights_overwrites_and_returns_them(aggregation: Aggregation) -> None:
    common, proposed = proposals(8, 2)
    rule = aggregation.rule()
    assert rule.combine(common, proposed, ALONE) is (common if rule.needs_common else proposed)


@ALL
def test_blocks_that_propose_what_they_were_given_stay_there(aggregation: Aggregation) -> None:
    start, still = proposals(9, 1)[0], mapped(torch.zeros_like, proposals(9, 1)[0])
    for common in course(aggregation, [still, still, still], start=start):
        assert identical(common, start)


@pytest.mark.parametrize("aggregation", [a for a in EVERY_RULE if not isinstance(a, TrustRegion)], ids=str)
@given(seed=SEEDS, exponent=st.integers(-8, 8))
def test_scaled_weights_and_steps_give_scaled_results(
    aggregation: Aggregation, seed: int, exponent: int
) -> None:
    start, *steps = proposals(seed, 4)
    expected = course(aggregation, steps, start=start)[-1]

    def scaled(weights: Blocks) -> Blocks:
        return mapped(lambda tensor: tensor * 2.0**exponent, weights)

    found = course(aggregation, [scaled(step) for step in steps], start=scaled(start))[-1]
    torch.testing.assert_close(vector(found), vector(scaled(expected)), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "aggregation", [a for a in EVERY_RULE if not isinstance(a, Anderson | TrustRegion)], ids=str
)
@given(seed=SEEDS)
def test_elementwise_rules_do_not_care_which_weight_is_which(aggregation: Aggregation, seed: int) -> None:
    start, *steps = proposals(seed, 4)
    expected = course(aggregation, steps, start=start)[-1]
    flipped = [mapped(lambda tensor: tensor.flip(0), step) for step in steps]
    found = course(aggregation, flipped, start=mapped(lambda tensor: tensor.flip(0), start))[-1]
    assert identical(found, mapped(lambda tensor: tensor.flip(0), expected))


@dataclass
class Workers:
    """Owners of one block each, in threads, meeting at a barrier."""

    size: int
    rows: dict[int, Tensor] = field(default_factory=dict)
    weights: dict[int, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = Barrier(self.size, timeout=20)

    def together(self, held: dict[int, object], rank: int, mine: object) -> list[object]:
        held[rank] = mine
        self.barrier.wait()
        everyone = [held[other] for other in range(self.size)]
        self.barrier.wait()
        return everyone


@dataclass(frozen=True)
class OneOf:
    """One worker's view of `Workers`."""

    workers: Workers
    rank: int

    def mean(self, proposed: Blocks) -> Blocks:
        return proposed

    def sum(self, values: Tensor) -> Tensor:
        return torch.cat(self.workers.together(self.workers.rows, self.rank, values)).sum(0)

    def loss(self, weights: Blocks) -> float:
        return bowl(self.workers.together(self.workers.weights, self.rank, weights[0]))


@ALL
def test_three_workers_with_a_block_each_end_where_one_with_all_three_does(aggregation: Aggregation) -> None:
    start, *steps = proposals(10, 5)
    expected = course(aggregation, steps, start=start)
    workers = Workers(3)

    def worker(rank: int) -> list[Blocks]:
        own = [[step[rank]] for step in steps]
        return course(aggregation, own, start=[start[rank]], group=OneOf(workers, rank))

    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(worker, range(3)))
    for together, *apart in zip(expected, *paths, strict=True):
        assert identical(together, [block for (block,) in apart])


# --- options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_option_is_made_by_its_yaml_and_combines(path: Path) -> None:
    values = OmegaConf.to_container(OmegaConf.load(path))
    module, _, name = values.pop("_target_").rpartition(".")
    aggregation = getattr(import_module(module), name)(**values)
    assert isinstance(aggregation, Aggregation)
    assert aggregation.name == path.stem
    common, proposed = proposals(11, 2)
    assert vector(aggregation.rule().combine(common, proposed, ALONE)).isfinite().all()


def test_the_seven_rules_have_a_yaml() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == {
        *("replace", "damped", "momentum", "average", "trust_region", "anderson", "ema")
    }


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Replace(name="replace", every=0), "every"),
        (lambda: damped(0.0), "alpha"),
        (lambda: damped(1.5), "alpha"),
        (lambda: damped(math.nan), "alpha"),
        (lambda: momentum(-1.0, 0.5), "alpha"),
        (lambda: momentum(math.inf, 0.5), "alpha"),
        (lambda: momentum(0.7, 1.0), "beta"),
        (lambda: trust_region(0.0), "radius"),
        (lambda: anderson(-1), "memory"),
        (lambda: anderson(1, alpha=0.0), "alpha"),
        (lambda: anderson(1, regularisation=-1.0), "regularisation"),
        (lambda: ema(1.0), "decay"),
    ],
)
def test_values_out_of_range_are_refused_with_the_repair(make: Callable[[], Aggregation], key: str) -> None:
    with pytest.raises(UserError, match=rf"^aggregation\.{key}=.*try aggregation\.{key}=[0-9.]+$"):
        make()


@pytest.mark.parametrize(("key", "value"), [("accept", 0.9), ("accept", 0.0), ("grow", 0.5), ("shrink", 1.0)])
def test_a_trust_region_refuses_constants_that_work_against_each_other(key: str, value: float) -> None:
    constants = {"accept": 0.25, "expand": 0.75, "grow": 1.2, "shrink": 0.9} | {key: value}
    with pytest.raises(UserError, match=rf"^aggregation\.{key}={value}.*try aggregation\.{key}="):
        TrustRegion(name="trust_region", every=1, radius=1.0, **constants)
