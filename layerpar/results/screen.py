"""Tables on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def print_whole(drawn: Table, console: Console) -> None:
    """Print a table at its own width: where the console is narrower, its lines wrap, and no cell is cut."""
    drawn.width = Console(width=10_000).measure(drawn).maximum
    console.print(drawn, crop=False, soft_wrap=True)
