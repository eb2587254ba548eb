"""One node of a composed configuration as the dataclass that says what it may hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import import_module
from typing import Any, cast, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from layerpar.errors import UserError, require

EXAMPLES: dict[Any, str] = {int: "1", float: "0.1", bool: "true"}
"""A value of each type, for the repair in an error."""


def option(group: str, node: Any, base: type) -> Any:
    """The choice made for a group, as the class that its YAML names.

    Args:
        group: The group's name.
        node: The choice, as composed.
        base: Of which the class must be a subclass; nothing else is ever called.

    Raises:
        UserError: there is no such class, or the values are not what it wants.
    """
    require(isinstance(node, Mapping), f"{group}={node} is no choice; try {group}=NAME from conf/{group}/")
    target = node.get("_target_")
    require(isinstance(target, str), f"{group} names no class; give conf/{group}/NAME.yaml a _target_")
    module_name, _, class_name = target.rpartition(".")
    try:
        option_class = getattr(import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        repair = "try PYTHONPATH=FOLDER layerpar … with the folder that it is in, or repair the YAML"
        raise UserError(f"{group}: cannot import _target_ {target} ({error}); {repair}") from error
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{group}: cannot import _target_ {target} ({error}); repair the YAML") from error
    require(
        isinstance(option_class, type) and issubclass(option_class, base),
        f"{group}: _target_ {target} is no subclass of {base.__module__}.{base.__name__}; repair the YAML",
    )
    values = {key: value for key, value in node.items() if key != "_target_"}
    return typed(option_class, values, prefix=f"{group}.")


def typed(schema: type, values: dict[Any, Any], *, prefix: str) -> Any:
    """A `schema` with these values; `prefix` leads to their keys in errors.

    Raises:
        UserError: a key too many or too few, or a value of the wrong type or out of range.
    """
    _check_keys(schema, values, prefix)
    with _named(schema, prefix):
        made = OmegaConf.to_object(OmegaConf.unsafe_merge(OmegaConf.structured(schema), values))
    _check_size(values, prefix)
    return made


def resolved(config: DictConfig) -> dict[str, Any]:
    """Its content without interpolations.

    Raises:
        UserError: one that leads nowhere, or a value that is still to be given.
    """
    try:
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        reason, key = str(error.msg or error).splitlines()[0], error.full_key
        raise UserError(f"{key}: {reason}; try {key}=VALUE") from error
    return cast(dict[str, Any], content)


def _check_keys(schema: type, values: Any, prefix: str) -> None:
    """Every field of `schema` has a value and nothing else has, in the dataclasses that it holds too."""
    known = {field.name: field for field in fields(schema)}
    for key in values:
        require(key in known, f"{prefix}{key} is not a key of {schema.__name__}; leave out +{prefix}{key}=…")
    inner = _types(schema)
    for name, field in known.items():
        optional = field.default is not MISSING or field.default_factory is not MISSING
        require(name in values or optional, f"{prefix}{name} has no value; give +{prefix}{name}=…")
        if is_dataclass(inner[name]) and isinstance(values.get(name), Mapping):
            _check_keys(cast(type, inner[name]), values[name], f"{prefix}{name}.")


@cache
def _types(schema: type) -> dict[str, Any]:
    return get_type_hints(schema)


def _check_size(values: Any, prefix: str) -> None:
    """No number needs more than the 64 bits that torch has for it."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            _check_size(value, f"{prefix}{key}.")
        for number in value if isinstance(value, Sequence) else [value]:
            too_large = isinstance(number, int) and abs(number) >= 2**64
            require(not too_large, f"{prefix}{key}={value} is beyond 64 bits; try {prefix}{key}=1")


@contextmanager
def _named(schema: type, prefix: str) -> Iterator[None]:
    try:
        yield
    except OmegaConfBaseException as error:
        reason = str(error.msg or error).splitlines()[0].rstrip(".")
        path = str(error.full_key).partition("[")[0]  # of a list, the whole of it is given anew
        repair = f"try {prefix}{path}={_example(schema, path)}"
        raise UserError(f"{prefix}{error.full_key}: {reason}; {repair}") from error


def _example(schema: type, path: str) -> str:
    """A value of the type that is wanted there, as the command line takes it."""
    name, _, rest = path.partition(".")
    wanted = _types(schema).get(name)
    if is_dataclass(wanted):
        if rest:
            return _example(cast(type, wanted), rest)
        inner = (f"{field.name}:{_example(cast(type, wanted), field.name)}" for field in fields(wanted))
        return f"'{{{','.join(inner)}}}'"
    if get_origin(wanted) is list:
        return f"[{EXAMPLES.get(get_args(wanted)[0], 'VALUE')}]"
    if get_origin(wanted) is dict:
        return "{}"
    for one in get_args(wanted) or (wanted,):
        if one in EXAMPLES:
            return EXAMPLES[one]
    return "VALUE"
