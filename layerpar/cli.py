"""The command line. Imports neither torch nor hydra, so that help answers at once."""

from __future__ import annotations

import codecs
import gc
import io
import os
import sys
import time

from layerpar import __version__
from layerpar.commands import COMMANDS
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

IN_ASCII = {"∞": "inf", "±": "+/-", "→": "->", "÷": "/", "·": "-", "…": "...", "─": "-", "\xa0": " "}


def main() -> None:
    """Entry point of the `layerpar` command."""
    gc.set_threshold(100_000)  # importing makes no garbage: looking for it is a tenth of the start
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


if __name__ == "__main__":
    main()
