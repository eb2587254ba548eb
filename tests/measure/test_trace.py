"""The timeline that is recorded, as a file and of every mode."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tiny import counted, on_workers, tiny

from layerpar.measure.trace import Span, chrome_trace, middle


@pytest.mark.parametrize(
    ("steps", "steps_per_epoch", "traced"),
    [(0, 10, []), (2, 10, [5, 6]), (3, 11, [5, 6, 7]), (4, 4, [1, 2, 3, 4])],
)
def test_the_middle_of_an_epoch(steps: int, steps_per_epoch: int, traced: list[int]) -> None:
    assert list(middle(steps, steps_per_epoch)) == traced


def test_workers_of_a_machine_share_its_clock_and_machines_are_aligned_at_the_barrier() -> None:
    def span(start: float) -> list[Span]:
        return [Span("forward", start, start + 0.5, {"batch": 3})]

    trace = chrome_trace(
        [("one", 10.0, "a", span(11.0)), ("one", 10.25, "b", span(11.0)), ("two", 700.0, "c", span(701.0))]
    )
    shown = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [(event["pid"], event["tid"], event["ts"], event["dur"]) for event in shown] == [
        (0, 0, 1e6, 0.5e6),
        (0, 1, 1e6, 0.5e6),
        (1, 2, 1e6, 0.5e6),
    ]
    assert shown[0] | {"ts": 0, "dur": 0} == {
        "name": "forward 3",
        "cat": "forward",
        "ph": "X",
        "ts": 0,
        "dur": 0,
        "pid": 0,
        "tid": 0,
        "args": {"batch": 3},
    }
    names = [event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"]
    assert names == ["one", "two", "a", "b", "c"]


def spans_of(*overrides: str) -> list[list[Span]]:
    """What each worker records of steps 3 and 4 out of 6."""
    config = tiny("trace_steps=2", *overrides)
    return [watch.spans for watch in on_workers(counted, config.num_workers, config, 6)]


def computing(spans: list[Span]) -> set[tuple[str, tuple[int, ...]]]:
    """Which kinds of computing were done on what, in order of `where`."""
    return {(span.kind, tuple(span.where.values())) for span in spans if span.kind in ("forward", "backward")}


WHOLE = {("forward", (3,)), ("backward", (3,)), ("forward", (4,)), ("backward", (4,))}
EXPECTED = {
    "mode=serial": [WHOLE],
    "mode=data": [WHOLE] * 2,
    "mode=data aggregation=average aggregation.every=2": [WHOLE] * 2,
    "mode=sequential": [
        {
            ("forward", (3, 0)),
            ("backward", (3, 0)),
            ("forward", (4, 0)),
            ("forward", (4, 1)),
            ("backward", (4, 1)),
        }
    ],
    "mode=pipeline mode.microbatches=2": [
        {
            (kind, (batch, stage, chunk))
            for kind in ("forward", "backward")
            for batch in (3, 4)
            for chunk in (0, 1)
        }
        for stage in (0, 1)
    ],
    "objective=local": [
        {(kind, (batch, block)) for kind in ("forward", "backward") for batch in (3, 4)} for block in (0, 1)
    ],
    "objective=delayed objective.link_delay=2": [
        {("forward", (3, 0)), ("backward", (1, 0)), ("forward", (4, 0)), ("backward", (2, 0))},
        {("forward", (3, 1)), ("backward", (3, 1)), ("forward", (4, 1)), ("backward", (4, 1))},
    ],
    "objective=frozen mode.exchange=weights": [
        {(kind, (batch, block)) for kind in ("forward", "backward") for batch in (3, 4)}
        | {("forward", (batch,)) for batch in (3, 4)}
        for block in (0, 1)
    ],
}


@pytest.mark.parametrize("overrides", list(EXPECTED))
def test_every_mode_tells_what_it_computed_on(overrides: str) -> None:
    for spans, expected in zip(spans_of(*overrides.split()), EXPECTED[overrides], strict=True):
        assert computing(spans) == expected


@pytest.mark.parametrize("overrides", ["mode=pipeline mode.microbatches=2", "objective=delayed"])
def test_spans_lie_within_their_step_and_no_two_kinds_of_time_are_one(overrides: str) -> None:
    for spans in spans_of(*overrides.split()):
        steps = [span for span in spans if span.kind == "step"]
        assert [step.where["batch"] for step in steps] == [3, 4]
        assert all(any(step.start <= span.start <= span.end <= step.end for step in steps) for span in spans)
        counted = sorted((span.start, span.end) for span in spans if span.kind in ("wait", "exchange"))
        assert all(end <= start for (_, end), (start, _) in pairwise(counted))
        assert {span.kind for span in spans} == {"step", "forward", "backward", "update", "exchange", "wait"}


def test_a_run_that_is_not_traced_records_nothing() -> None:
    config = tiny("mode=serial")
    (watch,) = on_workers(counted, 1, config, 2)
    assert watch.spans == []
