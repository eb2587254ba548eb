"""Tables as text: for a terminal, as Markdown, HTML, CSV or JSON."""

from __future__ import annotations

import json
import math
from html import escape
from typing import Any, Literal

import pandas as pd
from rich import box
from rich import table as rich_table
from rich.console import Console
from rich.text import Text

from layerpar.results.lines import MEASURES
from layerpar.results.tables import Table

COLUMNS_OF_RECORDS = [
    "num_runs",
    "num_done",
    "statuses",
    "num_reached",
    "contended",
    "speed_up_missing",
    "messages",
]

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>layerpar report</title>
<style>
body {{ font-family: sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; margin-bottom: 0.5em; }}
caption {{ text-align: left; font-weight: bold; padding: 0.5em 0; }}
th, td {{ padding: 0.25em 0.8em; border-bottom: 1px solid #ccc; text-align: right; white-space: nowrap; }}
.text {{ text-align: left; }}
ul {{ margin-bottom: 2em; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def show(tables: list[Table], console: Console) -> None:
    """Print for people. A terminal that is too narrow gets its cells in two lines; nothing is cut off."""
    for table in tables:
        drawn = _grid(table, table.rows, space=1)
        if console.is_terminal and drawn.width is not None and drawn.width > console.width:
            drawn = _grid(table, [_narrow(row) for row in table.rows], space=0)
        console.print(table.title, style="bold", highlight=False, markup=False, soft_wrap=True)
        console.print(drawn, crop=False)
        for note in table.notes:
            console.print(note, style="dim", highlight=False, markup=False, soft_wrap=True)
        console.print()


def _narrow(row: list[str]) -> list[str]:
    mode, *cells = row
    return [mode.replace(" ", "\n", 1), *(cell.replace(" ± ", "\n±").replace(", ", ",\n") for cell in cells)]


def _grid(table: Table, rows: list[list[str]], *, space: int) -> rich_table.Table:
    drawn = rich_table.Table(box=box.SIMPLE_HEAD, padding=(0, space, 0, 0), pad_edge=False, show_edge=False)
    for column in table.columns:
        justify: Literal["left", "right"] = "left" if column.is_text else "right"
        drawn.add_column(column.title, justify=justify)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    drawn.width = Console(width=10_000).measure(drawn).maximum
    return drawn


def markdown(tables: list[Table]) -> str:
    """GitHub's tables, each under a heading, with its notes as a list."""
    parts = []
    for table in tables:
        rules = [":--" if column.is_text else "--:" for column in table.columns]
        rows = [table.heads, rules, *table.rows]
        grid = "\n".join(
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows
        )
        notes = "\n".join(f"- {note}" for note in table.notes)
        parts.append("\n\n".join(filter(None, [f"## {table.title}", grid, notes])))
    return "\n\n".join(parts) + "\n"


def html(tables: list[Table]) -> str:
    """One page that needs nothing else."""
    return PAGE.format(body="\n".join(map(_html_table, tables)))


def records(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines for programs: every number unrounded, in stable columns."""
    identity = list(lines.columns[: lines.columns.get_loc(MEASURES[0])])
    measures = [name for measure in MEASURES for name in (measure, f"{measure}_std")]
    return lines[[*identity, "settings", *COLUMNS_OF_RECORDS, *measures]]


def csv(lines: pd.DataFrame) -> str:
    """A row per line; infinite times are `inf`, missing values empty."""
    listed = {key: lines[key].map("; ".join) for key in ("speed_up_missing", "messages")}
    return records(lines.assign(**listed)).to_csv(index=False, lineterminator="\n")


def as_json(lines: pd.DataFrame) -> str:
    """A list of objects. What is missing or infinite is null; `num_reached` tells a target never reached."""
    rows = [{key: _strict(value) for key, value in row.items()} for row in records(lines).to_dict("records")]
    return json.dumps(rows, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _strict(value: Any) -> Any:
    if value is pd.NA:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value


def _html_table(table: Table) -> str:
    def row(tag: str, cells: list[str]) -> str:
        kinds = [' class="text"' if column.is_text else "" for column in table.columns]
        return (
            "<tr>"
            + "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
            + "</tr>"
        )

    head = row("th", table.heads)
    body = "\n".join(row("td", cells) for cells in table.rows)
    notes = "\n".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return (
        f"<table>\n<caption>{escape(table.title)}</caption>\n<thead>{head}</thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>\n<ul>\n{notes}\n</ul>"
    )
