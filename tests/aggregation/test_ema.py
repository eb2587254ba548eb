"""The exponential average beside the trained weights."""

import torch
from course import ALONE, SEEDS, ema, proposals, vector
from hypothesis import given
from hypothesis import strategies as st


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
