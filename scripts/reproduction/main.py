"""Regenerate the README's section Results and its figures.

With --long also what takes hours. Pages appear in outputs/reproduce/index.md; of the README's results those
that were measured are renewed from them. Given again, it goes on where it stopped. Data sets are looked for
in $LAYERPAR_DATA or data/, else downloaded; what needs one that cannot be had is left out, saying so.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path

from pages import Outcome, index, machines, noting_commit
from parts import PARTS, Part
from readme import fill, measured, sections
from rich.console import Console

from layerpar import cli
from layerpar.measure.environment import cpu_name
from layerpar.results.show_sweep import show_sweep

CHECKOUT = Path(__file__).resolve().parents[2]


def carry_out(part: Part, folder: Path, commands: list[list[str]]) -> Outcome:
    """Run one part to its end, whatever that is, and put all of it in one table in its folder."""
    begun = time.time()
    others = machines(folder) - {cpu_name()}
    if others:
        why = f"{folder} holds runs of another machine ({', '.join(sorted(others))}); give another --output"
        return Outcome(part, commands, 0.0, why)
    for arguments in commands:
        said = io.StringIO()
        with noting_commit(folder), redirect_stderr(said):
            code = cli.run(arguments, started=time.time())
        sys.stderr.write(said.getvalue())
        if code >= 128:
            sys.exit(code)
        if code == 2:
            words = said.getvalue().strip().splitlines() or [f"a run was refused; see {folder}"]
            return Outcome(part, commands, time.time() - begun, words[-1])
        for weights in folder.rglob("model.pt"):
            weights.unlink()  # gigabytes that no page shows
    if len(commands) > 1:
        show_sweep(folder, Console())
    if part.predicted is not None:
        cli.run(["plot", str(folder), "--predicted", part.predicted], started=time.time())
    return Outcome(part, commands, time.time() - begun, None)


def main(arguments: list[str]) -> int:
    """Entry point of `scripts/reproduce`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [part.name for part in PARTS]
    long = [part.name for part in PARTS if part.long]
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see it work; renews no README")
    parser.add_argument("--long", action="store_true", help=f"also what takes hours: {', '.join(long)}")
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help=", ".join(names))
    parser.add_argument("--no-checksums", action="store_true", help="accept repacked MNIST and CIFAR-10")
    parser.add_argument("--output", type=Path, help="default outputs/reproduce, or outputs/reproduce-quick")
    given = parser.parse_args(arguments)
    outputs = given.output or Path("outputs", "reproduce-quick" if given.quick else "reproduce")
    asked = given.only or [name for name in names if given.long or name not in long]
    outcomes = []
    for part in PARTS:
        if part.name in asked:
            print(f"== {part.title}", flush=True)
            folder = outputs / part.name
            commands = part.commands(folder, quick=given.quick, verify_checksums=not given.no_checksums)
            outcomes.append(carry_out(part, folder, commands))
            (outputs / "index.md").write_text(index(outputs, outcomes))
    (outputs / "results.md").write_text("\n".join(sections(measured(outputs)).values()))
    print(f"pages: {outputs / 'index.md'}")
    if not given.quick:
        fill(CHECKOUT, outputs)
        print("renewed README.md and figures/")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
