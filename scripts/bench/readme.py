"""The README's sections that a benchmark makes."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def renew(section: str, text: str, *, by: str) -> None:
    """Put `text` where the README has that section; it names the command that made it."""
    begin, end = f"<!-- {section}: made by {by} -->\n", f"<!-- end of {section} -->\n"
    readme = CHECKOUT / "README.md"
    before, _, rest = readme.read_text().partition(begin)
    _, _, after = rest.partition(end)
    readme.write_text(before + begin + text + end + after)
