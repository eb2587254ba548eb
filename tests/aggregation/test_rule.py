"""What all aggregation rules have in common."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from course import (
    ALL,
    ALONE,
    EVERY_RULE,
    SEEDS,
    OneOf,
    Replicas,
    Workers,
    copied,
    course,
    identical,
    mapped,
    proposals,
    vector,
)
from hypothesis import given
from hypothesis import strategies as st

from layerpar.aggregation import Aggregation, Alone, Blocks, Group, Rule
from layerpar.aggregation.aggregator import Aggregator
from layerpar.aggregation.anderson import Anderson
from layerpar.aggregation.elementwise import Replace
from layerpar.aggregation.trust_region import TrustRegion


def test_before_the_first_round_the_common_weights_are_exported() -> None:
    (common,) = proposals(0, 1)
    for aggregation in EVERY_RULE:
        assert aggregation.rule().exported(common) is common


@ALL
def test_identical_replicas_change_nothing(aggregation: Aggregation) -> None:
    start, *steps = proposals(1, 4)
    common, paths = copied(start), course(aggregation, steps, start=start)
    rule = aggregation.rule()
    for step, expected in zip(steps, paths, strict=True):
        proposed = mapped(torch.add, common, step)
        common = rule.combine(common, proposed, Replicas([copied(proposed)]))
        assert identical(common, expected)


@ALL
def test_every_rule_but_replace_starts_from_the_mean_over_replicas(aggregation: Aggregation) -> None:
    start, own, other = proposals(12, 3)
    mean = mapped(lambda a, b: (a + b) / 2, own, other)
    alone, among = aggregation.rule(), aggregation.rule()
    expected = alone.combine(copied(start), own if isinstance(aggregation, Replace) else mean, ALONE)
    found = among.combine(copied(start), own, Replicas([other]))
    torch.testing.assert_close(vector(found), vector(expected))


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


class Block:
    """A block of one weight, which its optimizer moves by 1 a step."""

    def __init__(self) -> None:
        self.weight = torch.zeros(1)

    def weights(self) -> list[torch.Tensor]:
        return [self.weight]

    def set_weights(self, weights: list[torch.Tensor]) -> None:
        self.weight.copy_(weights[0])


class Halfway(Rule):
    """Goes half of the way, written as a function that changes none of its arguments."""

    def combine(self, common: Blocks, proposed: Blocks, group: Group) -> Blocks:
        return [[(old + new) / 2 for old, new in zip(common[0], proposed[0], strict=True)]]


def test_a_rule_may_return_new_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replace, "rule", lambda _: Halfway())
    block = Block()
    aggregator = Aggregator(Replace(name="halfway", every=1), [block], Alone(lambda _: 0.0))
    for expected in (0.5, 1.0, 1.5):
        block.weight += 1
        aggregator.step()
        assert block.weight.item() == expected, "half of a step further than the common weights before"


@ALL
def test_between_rounds_the_blocks_hold_the_common_weights_that_a_state_need_not(
    aggregation: Aggregation,
) -> None:
    def rounds(aggregator: Aggregator, block: Block) -> list[float]:
        found = []
        for _ in range(3):
            block.weight += 1
            aggregator.step()
            found.append(block.weight.item())
        return found

    group, before, after = Alone(lambda weights: -float(weights[0][0])), Block(), Block()
    stopped, going_on = (Aggregator(aggregation, [block], group) for block in (before, after))
    rounds(stopped, before)
    state = stopped.state_dict()
    after.set_weights(before.weights())
    going_on.load_state_dict(state)
    assert set(state) == {"rule"}
    assert rounds(going_on, after) == rounds(stopped, before)
