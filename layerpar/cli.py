"""The command line. Imports neither torch nor hydra, so that help answers at once."""

from __future__ import annotations

import argparse
import codecs
import io
import os
import sys
import time
from functools import partial
from pathlib import Path

from layerpar import __version__
from layerpar.errors import UserError
from layerpar.search_path import put_standard_library_first

DESCRIPTION = """\
Compare ways of training one network: serial, data-parallel, pipeline, layerwise-parallel.

commands:
  train     one run, or with -m a sweep      layerpar train dataset=digits mode=layerwise workers=2
  compare   every mode on the same work      layerpar compare dataset=mnist architecture=cnn
  resume    go on with a stopped run         layerpar resume outputs/…
  report    table of finished runs           layerpar report outputs/… --format markdown
  plot      figures of finished runs         layerpar plot outputs/…
  predict   on more workers, other links     layerpar predict workers=1,2,4,8 link=1gbit
  doctor    is this machine ready?           layerpar doctor

layerpar COMMAND --help says more. Tab completion for bash: eval "$(layerpar train -sc install=bash)"
"""
RUNNING = ("train", "compare", "resume")
"""The commands that start workers."""

FORMATS = ("table", "markdown", "latex", "csv", "json", "html")
FIGURE_FORMATS = ("png", "svg", "pdf")
PREDICTION_FORMATS = ("table", "markdown", "latex", "csv", "json")


IN_ASCII = {"∞": "inf", "±": "+/-", "→": "->", "÷": "/", "·": "-", "…": "...", "─": "-", "\xa0": " "}

PREDICT = """\
How long a step would take in every way of training: layers are measured one by one on this machine, the
messages between them are simulated. Nothing is trained.

keys of the prediction:
  workers=1,2,4      numbers of workers (1, 2, 4 ... as far as there are layers)
  link=10gbit,1gbit  between them: loopback nvlink 100gbit 10gbit 1gbit 100mbit
  bandwidth=0.5,2    links of so many Gbit/s instead
  latency=50         of every link, in microseconds
  memory=16          of a worker, in GiB (this machine's, or its GPU's)
  steps=390          between two evaluations (those of an epoch)
all others are those of a run: layerpar train --help lists them.
'+variants.zbv=["mode=pipeline","mode.schedule=zbv"]' adds a way of training, ~variants.data leaves one out.
"""


def main() -> None:
    """Entry point of the `layerpar` command."""
    put_standard_library_first()
    codecs.register_error("layerpar", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="layerpar")
    sys.exit(run(sys.argv[1:], started=time.time()))


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that the output's encoding does not have."""
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(IN_ASCII.get(character, "?") for character in missing), error.end


def run(arguments: list[str], *, started: float) -> int:
    """Carry out one command line; returns the exit code.

    Exit codes: 0 done, 1 a run failed or diverged, 2 a mistake in what was asked for, 128 + n stopped by
    signal n.
    """
    try:
        return _dispatch(arguments, started)
    except UserError as error:
        print(f"layerpar: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException as error:
        if hasattr(error, "exit_code"):
            print(f"layerpar: {error}", file=sys.stderr)
            return int(error.exit_code)
        raise


def _dispatch(arguments: list[str], started: float) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(DESCRIPTION, end="")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command == "--version":
        print(f"layerpar {__version__}")
        return 0
    if command in RUNNING:
        return _run(command, rest, started=started)
    if command in ("-sc", "--shell-completion", "--hydra-help"):
        return _complete(arguments)
    if command in COMMANDS:
        return COMMANDS[command](rest)
    names = ", ".join([*RUNNING, *COMMANDS])
    raise UserError(f"{command} is not a command; try one of {names}")


def _run(command: str, arguments: list[str], *, started: float) -> int:
    from layerpar import app, comparison

    commands = {"train": app.train, "compare": comparison.compare, "resume": app.resume}
    return commands[command](arguments, started=started)


def _complete(arguments: list[str]) -> int:
    """Answer Hydra's completion script, which knows the program but not its commands."""
    line = os.environ.get("COMP_LINE", "")
    words = line.split(" ", 2)
    if len(words) == 3 and words[1] in ("train", "compare"):
        os.environ["COMP_LINE"] = f"{words[0]} {words[2]}"
        point = int(os.environ.get("COMP_POINT", len(line)))
        os.environ["COMP_POINT"] = str(point - len(words[1]) - 1)
    return _run("compare" if words[1:2] == ["compare"] else "train", arguments, started=time.time())


def _report(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="layerpar report",
        description="Print a table of all runs at or below the directories: a row per way of training.",
        epilog="layerpar report outputs --format html > page.html makes a page to send, with every figure.",
    )
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="of a run, a sweep, or above"
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="of what is printed (table)")
    parser.add_argument(
        "--baseline", default="serial", metavar="MODE", help="what speed-up is measured against (serial)"
    )
    parser.add_argument(
        "--predicted",
        metavar="LINK",
        help="beside measured seconds those that layerpar predict says for this link, such as loopback",
    )
    given = parser.parse_args(arguments)
    from layerpar.results.report import report

    predict = None
    if given.predicted is not None:
        from layerpar.predict.beside import with_predictions
        from layerpar.predict.links import choose

        (link,) = choose([given.predicted], bandwidths=[], latency=None)
        predict = partial(with_predictions, link=link)
    report(given.directories, format=given.format, baseline=given.baseline, predict=predict)
    return 0


def _plot(arguments: list[str]) -> int:
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
        choices=FIGURE_FORMATS,
        default=["png", "svg"],
        help="files of each figure (png svg)",
    )
    given = parser.parse_args(arguments)
    from layerpar.results.plots.draw import plot

    drawn = plot(given.directories, given.output or given.directories[0] / "figures", formats=given.format)
    for path in drawn.written:
        print(path)
    for figure, reason in drawn.not_drawn.items():
        print(f"not drawn: {figure}: {reason}", file=sys.stderr)
    for reason in drawn.skipped:
        print(f"skipped {reason}", file=sys.stderr)
    return 0


def _predict(arguments: list[str]) -> int:
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
        "--format", choices=PREDICTION_FORMATS, default="table", help="of what is printed (table)"
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for figures, table and layer times")
    given = parser.parse_args(arguments)
    from layerpar.predict.command import predict

    predict(given.overrides, source=given.source, form=given.format, output=given.output)
    return 0


def _doctor(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="layerpar doctor",
        description="Is this machine ready? With overrides of a run, such as launcher=hosts "
        "'launcher.hosts=[n1,n2]', a small one is tried: on which nodes, over how fast a link.",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of a run to try")
    given = parser.parse_args(arguments)
    from layerpar.doctor import examine

    return examine(given.overrides)


COMMANDS = {"report": _report, "plot": _plot, "predict": _predict, "doctor": _doctor}


if __name__ == "__main__":
    main()
