"""The options of `aggregation`, as a user sets them."""

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from course import (
    ALONE,
    anderson,
    damped,
    ema,
    momentum,
    proposals,
    trust_region,
    vector,
)
from omegaconf import OmegaConf

from layerpar.aggregation import Aggregation
from layerpar.aggregation.elementwise import Replace
from layerpar.aggregation.trust_region import TrustRegion
from layerpar.errors import UserError

CONF = Path(__file__).parents[2] / "conf" / "aggregation"


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
