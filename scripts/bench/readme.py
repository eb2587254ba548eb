"""The README's sections that a benchmark makes."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

CHECKOUT = Path(__file__).resolve().parents[2]


def quotable(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs, of `Runs.summaries`; ends the command where one ended badly or has contended seconds."""
    bad = runs[(runs["status"] != "done") | runs["contended"]]
    if len(bad):
        named = [
            f"{run.path}: {'contended' if run.status == 'done' else run.status}" for run in bad.itertuples()
        ]
        sys.exit("\n".join([*named, "README.md stays as it was; do these runs again"]))
    return runs


def renew(section: str, text: str, *, by: str) -> None:
    """Put `text` where the README has that section; it names the command that made it."""
    begin, end = f"<!-- {section}: made by {by} -->\n", f"<!-- end of {section} -->\n"
    readme = CHECKOUT / "README.md"
    text_before, found, rest = readme.read_text().partition(begin)
    _, found_end, text_after = rest.partition(end)
    if not found or not found_end:
        sys.exit(f"{readme} has no lines {begin.strip()} and {end.strip()}")
    readme.write_text(text_before + begin + text + end + text_after)
