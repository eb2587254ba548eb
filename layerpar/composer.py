"""Compositions that differ in values only share what takes Hydra long: finding, reading and merging files."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import compress

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


class Composer:
    """Composes configurations of one command; of those that choose the same, the first reads files for all.

    Args:
        config_name: Of the configuration.
    """

    def __init__(self, config_name: str) -> None:
        self._config_name = config_name
        self._known: dict[tuple[str, ...], DictConfig] = {}
        self._groups: dict[str, bool] = {}

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """What `hydra.compose` returns or raises, within whose context it is to be called.

        Hydra sets values once it has composed, one after the other. So does this, on a copy of what others
        have composed; where one cannot be set, Hydra has its say.
        """
        given = OverridesParser.create().parse_overrides(list(overrides))
        others = [place for place, one in enumerate(given) if one.type != OverrideType.CHANGE]
        first = max(others, default=-1) + 1  # what adds or deletes may meet a value that was set before it
        is_value = [place >= first and self._is_value(one, overrides) for place, one in enumerate(given)]
        choices = tuple(str(one.input_line) for one, value in zip(given, is_value, strict=True) if not value)
        if choices not in self._known:
            self._known[choices] = hydra.compose(self._config_name, overrides=list(choices))
        composed = deepcopy(self._known[choices])
        try:
            for one in compress(given, is_value):
                OmegaConf.update(composed, one.key_or_group, one.value(), merge=True)
        except OmegaConfBaseException:
            return hydra.compose(self._config_name, overrides=list(overrides))
        return composed

    def _is_value(self, override: Override, overrides: Sequence[str]) -> bool:
        """Whether it sets a value of the configuration; others choose of a group, or are Hydra's own."""
        key = override.key_or_group
        if override.package is not None or override.is_hydra_override() or override.is_sweep_override():
            return False
        if "." in key:  # names of groups have slashes
            return True
        if key not in self._groups:
            find = GlobalHydra.instance().config_loader().get_group_options
            self._groups[key] = bool(find(key, config_name=self._config_name, overrides=list(overrides)))
        return not self._groups[key]
