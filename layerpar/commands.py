"""The commands that train nothing. Each takes its words and returns the exit code.

Like the command line, this imports neither torch nor hydra before help has answered.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from layerpar.results.choices import FIGURES, PREDICTED_TABLES, TABLES

if TYPE_CHECKING:
    from layerpar.results.load import Runs

PREDICT = """\
How long a step would take in every way of training: layers are measured one by one on this machine, the
messages between them are simulated. Nothing is trained.

keys of the prediction:
  workers=1,2,4      numbers of workers (1, 2, 4 ... as far as there are layers)
  link=10gbit,1gbit  between them: loopback nvlink 100gbit 10gbit 1gbit 100mbit
  bandwidth=0.5,2    links of so many Gbit/s instead
  latency=50         of every link, in microseconds (typical ones, and what busy cores add)
  core=0.3           nanoseconds of a worker's core per byte that it sends or receives
  memory=16          of a worker, in GiB (this machine's, or its GPU's)
  steps=390          between two evaluations (those of an epoch)
all others are those of a run: layerpar train --help lists them.
'+variants.zbv=["mode=pipeline","mode.schedule=zbv"]' adds a way of training, ~variants.data leaves one out.
"""


def report(arguments: list[str]) -> int:
    """`layerpar report`: a table of runs."""
    parser = argparse.ArgumentParser(
        prog="layerpar report",
        description="Print a table of all runs at or below the directories: a row per way of training.",
        epilog="layerpar report outputs --format html > page.html makes a page to send, with every figure.",
    )
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="of a run, a sweep, or above"
    )
    parser.add_argument("--format", choices=TABLES, default="table", help="of what is printed (table)")
    parser.add_argument(
        "--baseline", default="serial", metavar="MODE", help="what speed-up is measured against (serial)"
    )
    _add_prediction(parser, "beside measured seconds those that layerpar predict says")
    given = parser.parse_args(arguments)
    from layerpar.results.report import report as show

    predict = _prediction(given)
    show(given.directories, format=given.format, baseline=given.baseline, predict=predict)
    return 0


def _add_prediction(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--predicted", metavar="LINK", help=f"{what} for this link, such as loopback")


def _prediction(given: argparse.Namespace) -> Callable[[Runs], Runs] | None:
    """What adds predictions to runs, if they were asked for."""
    if given.predicted is None:
        return None
    from layerpar.predict.beside import with_predictions
    from layerpar.predict.links import choose

    (link,) = choose([given.predicted], bandwidths=[], latency=None)
    return partial(with_predictions, link=link)


def plot(arguments: list[str]) -> int:
    """`layerpar plot`: figures of runs."""
    parser = argparse.ArgumentParser(
        prog="layerpar plot",
        description="Draw every figure for which the runs at or below the directories have the data.",
    )
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="of a run, a sweep, or above"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="for the figures (figures/ in the first DIR)"
    )
    parser.add_argument(
        "--format",
        nargs="+",
        choices=FIGURES,
        default=["png", "svg"],
        help="files of each figure (png svg)",
    )
    _add_prediction(parser, "beside accuracy over blocks the speed-up that layerpar predict says")
    given = parser.parse_args(arguments)
    from layerpar.results.plots.draw import plot as draw

    output = given.output or given.directories[0] / "figures"
    drawn = draw(given.directories, output, formats=given.format, predict=_prediction(given))
    for path in drawn.written:
        print(path)
    for figure, reason in drawn.not_drawn.items():
        print(f"not drawn: {figure}: {reason}", file=sys.stderr)
    for reason in drawn.skipped:
        print(f"skipped {reason}", file=sys.stderr)
    return 0


def predict(arguments: list[str]) -> int:
    """`layerpar predict`: what other workers and links would bring."""
    parser = argparse.ArgumentParser(
        prog="layerpar predict",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=PREDICT,
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="see above")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="an earlier prediction or run, for layer times",
    )
    parser.add_argument(
        "--format", choices=PREDICTED_TABLES, default="table", help="of what is printed (table)"
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for figures, table and layer times")
    given = parser.parse_args(arguments)
    from layerpar.predict.command import predict as show

    show(given.overrides, source=given.source, form=given.format, output=given.output)
    return 0


def doctor(arguments: list[str]) -> int:
    """`layerpar doctor`: whether this machine, or others, can train."""
    parser = argparse.ArgumentParser(
        prog="layerpar doctor",
        description="Is this machine ready? With overrides of a run, such as launcher=hosts "
        "'launcher.hosts=[n1,n2]', a small one is tried: on which nodes, over how fast a link.",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of a run to try")
    given = parser.parse_args(arguments)
    from layerpar.doctor import examine

    return examine(given.overrides)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "report": report,
    "plot": plot,
    "predict": predict,
    "doctor": doctor,
}
