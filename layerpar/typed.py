"""One node of a composed configuration as the dataclass that says what it may hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from importlib import import_module
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from layerpar.errors import UserError, require

EXAMPLES = {"int": "1", "float": "0.1", "bool": "true"}
"""A value of each type, for the repair in an error."""


def option(group: str, node: DictConfig) -> Any:
    """The choice made for a group, as the class that its YAML names.

    Raises:
        UserError: there is no such class, or the values are not what it wants.
    """
    target = node.get("_target_")
    require(isinstance(target, str), f"{group} names no class; give conf/{group}/NAME.yaml a _target_")
    module_name, _, class_name = target.rpartition(".")
    try:
        option_class = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{group}: cannot import _target_ {target} ({error}); repair the YAML") from error
    values = {key: value for key, value in node.items() if key != "_target_"}
    return typed(option_class, values, prefix=f"{group}.")


def typed(schema: type, values: dict[Any, Any], *, prefix: str) -> Any:
    """A `schema` with these values; `prefix` leads to their keys in errors.

    Raises:
        UserError: a key too many or too few, or a value of the wrong type or out of range.
    """
    known = {field.name: field for field in fields(schema)}
    for key in values:
        require(key in known, f"{prefix}{key} is not a key of {schema.__name__}; leave out +{prefix}{key}=…")
    for name, field in known.items():
        optional = field.default is not MISSING or field.default_factory is not MISSING
        require(name in values or optional, f"{prefix}{name} has no value; give {prefix}{name}=…")
    examples = {name: EXAMPLES.get(_type_name(field.type), "VALUE") for name, field in known.items()}
    with _named(prefix, examples):
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))


def _type_name(annotation: Any) -> str:
    """`int` for both the class and the annotation `int | None`."""
    return str(getattr(annotation, "__name__", annotation)).partition(" ")[0]


@contextmanager
def _named(prefix: str, examples: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except OmegaConfBaseException as error:
        reason = str(error.msg or error).splitlines()[0]
        key = f"{prefix}{error.full_key}"
        raise UserError(f"{key}: {reason}; try {key}={examples.get(str(error.full_key), 'VALUE')}") from error
