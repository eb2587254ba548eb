"""Hydra, called for one command: what it composes, what it counts, and its errors in one line each."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from layerpar.errors import UserError
from layerpar.optimized import direction
from layerpar.paths import config_directory

EXTRAS = {
    "hydra/sweeper/optuna": "search",
    "hydra/launcher/joblib": "cluster",
    "hydra/launcher/submitit_local": "cluster",
    "hydra/launcher/submitit_slurm": "cluster",
}
"""The extra that brings a choice of Hydra's."""


def compose_and_call(config_name: str, arguments: list[str], task: Callable[[DictConfig], Any]) -> None:
    """Let Hydra compose `config_name` from the command line and call `task` once per job.

    Where Hydra's launcher calls it in other processes, `task` must be a function of a module.

    Raises:
        UserError: what Hydra says of a bad command line, in one line.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [f"layerpar {config_name}", *sorted(arguments, key=_is_override)]
    register_resolvers()
    decorated = hydra.main(version_base="1.3", config_path=str(config_directory()), config_name=config_name)
    with in_one_line(arguments, command=f"layerpar {config_name}"):
        decorated(task)()


def _is_override(argument: str) -> bool:
    """Overrides come last: Hydra's parser takes those on one side of an option such as -m only."""
    return argument.startswith("~") or ("=" in argument and not argument.startswith("-"))


@contextmanager
def in_one_line(arguments: Iterable[str], *, command: str) -> Iterator[None]:
    """Let what Hydra says of these overrides be a `UserError`; `command` sweeps over them with -m."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error, command)) from error
    except MarkedYAMLError as error:
        place = error.problem_mark
        where = "a YAML" if place is None else f"line {place.line + 1} of {place.name}"
        raise UserError(f"{where} is no YAML: {error.problem}; repair it") from error
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        raise UserError(_null_choice(arguments)) from error


@contextmanager
def composing(overrides: Iterable[str], *, command: str) -> Iterator[None]:
    """Within, `hydra.compose` finds `conf/`, outside of any job of Hydra's; see `in_one_line`."""
    GlobalHydra.instance().clear()
    register_resolvers()
    with (
        hydra.initialize_config_dir(version_base="1.3", config_dir=str(config_directory())),
        in_one_line(overrides, command=command),
    ):
        yield


def _null_choice(arguments: Iterable[str]) -> str:
    """What is wrong where a group was set to null, of which Hydra does not tell the name."""
    given = next((one for one in arguments if re.search(r"\bnull\b", one, re.IGNORECASE)), "null")
    key = given.lstrip("+").partition("=")[0]
    folder = config_directory() / key.partition("@")[0]
    options = sorted(path.stem for path in folder.glob("*.yaml"))
    if not options:
        return f"{given}: null chooses nothing of a group; leave it out"
    return f"{given} chooses nothing; try {key}={options[0]} (one of {', '.join(options)})"


def register_resolvers() -> None:
    """What a configuration may ask for: `${cores:}`, `${direction:KEY}`, `${times:A,B}` …"""
    OmegaConf.register_new_resolver("cores", _cores, replace=True)
    OmegaConf.register_new_resolver("configuration_folder", lambda: str(config_directory()), replace=True)
    OmegaConf.register_new_resolver("direction", direction, replace=True)
    OmegaConf.register_new_resolver("worker_counts", _worker_counts, replace=True)
    OmegaConf.register_new_resolver("times", lambda one, other: one * other, replace=True)


def _cores() -> int:
    from layerpar.measure.environment import available_cores

    return available_cores()


def _worker_counts() -> str:
    """1, 2, 4 … as many workers of a thread as there are cores, all of them last; for a sweep."""
    cores = _cores()
    counts = {1, 2, cores} | {2**power for power in range(cores.bit_length())}
    return ",".join(map(str, sorted(counts)))


def is_sweep() -> bool:
    """Whether the job at hand is one of several."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def choice(group: str, config: Any = None) -> str:
    """What was chosen of Hydra's own `group`, such as `launcher`, for the job at hand."""
    return str((config or HydraConfig.get()).runtime.choices[f"hydra/{group}"])


def output_directory() -> Path:
    """Of the job at hand."""
    return Path(HydraConfig.get().runtime.output_dir)


def composition(composed: DictConfig) -> dict[str, str]:
    """What Hydra would write into `.hydra/` for the job at hand, by file name."""
    own = HydraConfig.instance().cfg
    return {
        "config.yaml": OmegaConf.to_yaml(composed),
        "hydra.yaml": OmegaConf.to_yaml(own),
        "overrides.yaml": OmegaConf.to_yaml(HydraConfig.get().overrides.task),
    }


def number_of_jobs(config: DictConfig) -> int | None:
    """How many jobs a sweep has, by Hydra's own configuration; None where the sweeper decides as it goes."""
    sweeper = config.hydra.sweeper
    if choice("sweeper", config.hydra) != "basic":
        return sweeper.get("n_trials")
    given = [f"{key}={value}" for key, value in (sweeper.params or {}).items()] + config.hydra.overrides.task
    overrides = OverridesParser.create().parse_overrides(given)
    return prod(len(list(one.sweep_iterator())) for one in overrides if one.is_sweep_override())


def one_line(error: Exception, command: str) -> str:
    """What Hydra says of a bad command line."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        levels = 2 if error.missing_cfg_file.startswith("hydra/") else 1
        *groups, option = error.missing_cfg_file.split("/", levels)
        group = "/".join(groups)
        if error.missing_cfg_file in EXTRAS:
            extra = EXTRAS[error.missing_cfg_file]
            return f"{group}={option} needs a package; try pip install 'layerpar[{extra}]'"
        if error.options:
            others = ", ".join(error.options)
            return f"{group}={option} is not known; try {group}={error.options[0]} (one of {others})"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "mbiguous value" in lines[0]:
        return f"{lines[0]}; a list of values is a sweep: try {command} -m …"
    if "not override 'tensorboard'" in lines[0]:
        return "tensorboard=true is logger=tensorboard now; try that"
    if "not override" in lines[0]:
        return f"{lines[0]} There is no such key; layerpar train --help lists them"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {lines[0]}; try {_quoted(error.override)}"
    return " ".join(lines)


def _quoted(override: str) -> str:
    """The override, its value quoted for Hydra and all of it for the shell, if that makes sense of it."""
    key, _, value = override.partition("=")
    quoted = f'{key}="{value}"'
    if value.startswith("[") and value.endswith("]"):
        quoted = f"{key}=[{','.join(_in_quotes(item) for item in value[1:-1].split(','))}]"
    try:
        OverridesParser.create().parse_override(quoted)
    except HydraException:
        return f"'{key}=VALUE'"
    return f"'{quoted}'"


def _in_quotes(item: str) -> str:
    text = item.strip().strip('"')
    return f'"{text}"'
