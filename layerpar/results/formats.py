"""Tables as text: for a terminal, as Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import pandas as pd
from rich import box
from rich import table as rich_table
from rich.console import Console
from rich.text import Text

from layerpar.results.groups import IDENTITY, MEASURES
from layerpar.results.screen import print_whole
from layerpar.results.tables import Table

COLUMNS_OF_RECORDS = [
    "settings",
    "num_runs",
    "num_done",
    "num_seeds",
    "statuses",
    "num_reached",
    "contended",
    "speed_up_contended",
    "is_unit",
    "scaled",
    "speed_up_missing",
    "messages",
]
LATEX_SYMBOLS = {"±": r"$\pm$", "∞": r"$\infty$", "→": r"$\rightarrow$", "÷": r"$\div$", "≥": r"$\geq$"}


def show(tables: list[Table], console: Console) -> None:
    """Print for people. A terminal that is too narrow gets its cells in two lines; nothing is cut off."""
    for table in tables:
        drawn = _grid(table, table.rows, space=1)
        if console.is_terminal and drawn.width is not None and drawn.width > console.width:
            drawn = _grid(table, [_narrow(row) for row in table.rows], space=0)
        console.print(table.title, style="bold", highlight=False, markup=False, soft_wrap=True)
        print_whole(drawn, console)
        if table.conclusion is not None:
            console.print(table.conclusion, highlight=False, markup=False, soft_wrap=True)
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
    """GitHub's tables, each under a heading, with what came out and its notes as a list."""
    parts = []
    for table in tables:
        rules = [":--" if column.is_text else "--:" for column in table.columns]
        rows = [table.heads, rules, *table.rows]
        grid = "\n".join(
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows
        )
        notes = "\n".join(f"- {note}" for note in table.notes)
        parts.append("\n\n".join(filter(None, [f"## {table.title}", grid, table.conclusion, notes])))
    return "\n\n".join(parts) + "\n"


def latex(tables: list[Table]) -> str:
    """LaTeX tables; the document needs `\\usepackage{booktabs}`."""
    parts = []
    for table in tables:
        frame = pd.DataFrame([list(map(_latex, row)) for row in table.rows])
        frame.columns = pd.Index(map(_latex, table.heads))
        form = "".join("l" if column.is_text else "r" for column in table.columns)
        tabular = frame.style.hide(axis="index").to_latex(hrules=True, column_format=form)
        notes = "".join(f"% {' '.join(note.split())}\n" for note in table.notes)
        sentence = "" if table.conclusion is None else f" {_latex(table.conclusion)}"
        parts.append(
            f"\\begin{{table}}\n\\caption{{{_latex(table.title)}.{sentence}}}\n\\centering\n"
            f"{tabular}\\end{{table}}\n{notes}"
        )
    return "\n".join(parts)


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"} | LATEX_SYMBOLS
    return "".join(special.get(character, character) for character in text)


def records(groups: pd.DataFrame) -> pd.DataFrame:
    """The groups for programs: every number unrounded, in stable columns."""
    measures = [f"{measure}{suffix}" for measure in MEASURES for suffix in ("", "_std", "_ci95", "_count")]
    return groups[[*IDENTITY, *COLUMNS_OF_RECORDS, *measures]]


def csv(groups: pd.DataFrame) -> str:
    """A row per group; infinite times are `inf`, missing values empty."""
    listed = {key: groups[key].map("; ".join) for key in ("speed_up_missing", "messages")}
    return records(groups.assign(**listed)).to_csv(index=False, lineterminator="\n")


def as_json(groups: pd.DataFrame) -> str:
    """A list of objects. What is missing or infinite is null; `num_reached` tells a target never reached."""
    rows = [{key: _strict(value) for key, value in row.items()} for row in records(groups).to_dict("records")]
    return json.dumps(rows, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _strict(value: Any) -> Any:
    if value is pd.NA:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value
