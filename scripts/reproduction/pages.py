"""The pages: what it ran on, and for every part its command, its table and its figures."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parts import Part


@dataclass(frozen=True)
class Outcome:
    """What became of a part.

    Attributes:
        part: Which.
        commands: What was run, as arguments of `layerpar`.
        seconds: How long that took, start to end; little where it had only to go on.
        left_out: Why it could not be run, None if it could.
    """

    part: Part
    commands: list[list[str]]
    seconds: float
    left_out: str | None


def index(outputs: Path, outcomes: Sequence[Outcome]) -> str:
    """The content of `index.md` in `outputs`."""
    sections = [_section(outputs, outcome) for outcome in outcomes]
    return "\n".join(["# What layerpar measured", "", *_machine(outputs), *sections])


def commits(folder: Path) -> str:
    """With which commits of this checkout the runs of a part were made: those noted by `noting_commit`."""
    noted = folder / "commits"
    return ", ".join(noted.read_text().split()) if noted.exists() else "unknown"


@contextmanager
def noting_commit(folder: Path) -> Iterator[None]:
    """Note the commit of this checkout in the folder of a part, if runs end well there within the block."""
    commit, before = _commit(), _finished(folder)
    try:
        yield
    finally:
        if _finished(folder) - before:
            noted = folder / "commits"
            earlier = noted.read_text().split() if noted.exists() else []
            noted.write_text("\n".join(dict.fromkeys([*earlier, commit])) + "\n")


def _commit() -> str:
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(describe, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def _finished(folder: Path) -> set[Path]:
    """The summaries of runs that have ended well."""
    return {
        path for path in folder.rglob("summary.json") if json.loads(path.read_text()).get("status") == "done"
    }


def machines(folder: Path) -> set[str]:
    """The processors that the runs in a folder were made on."""
    return {json.loads(path.read_text())["cpu"] for path in folder.rglob("env.json")}


def _machine(outputs: Path) -> list[str]:
    """The machine and the versions of any run, as a list."""
    for path in sorted(outputs.rglob("env.json")):
        found = json.loads(path.read_text())
        versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        return [
            f"- {found['cpu']}, {found['cores']} cores, {found['memory_bytes'] / 2**30:.0f} GiB",
            f"- {found['platform']}, Python {found['python']}",
            f"- {versions}",
            "",
        ]
    return []


def _section(outputs: Path, outcome: Outcome) -> str:
    part = outcome.part
    commands = [f"    {shlex.join(['layerpar', *arguments])}" for arguments in outcome.commands]
    lines = [f"## {part.title}", "", *commands, ""]
    if outcome.left_out is not None:
        return "\n".join([*lines, f"Left out: {outcome.left_out}", ""])
    table = (outputs / part.name / "results.md").read_text()
    lines += [
        f"Commit {commits(outputs / part.name)}; {outcome.seconds / 60:.1f} minutes, without what an earlier "
        "call had done.",
        "",
        table.replace("## ", "### "),
    ]
    pictures = sorted((outputs / part.name / "figures").glob("*.png"))
    lines += [f"![{path.stem}]({path.relative_to(outputs).as_posix()})\n" for path in pictures]
    return "\n".join(lines)
