"""Runs of several phases, as their settings tell of them."""

from __future__ import annotations

from typing import Any

from layerpar.results.settings import Settings

GROUPS = ("mode.", "objective.", "aggregation.")


def phase_names(flat: Settings) -> list[str]:
    """The phases in order, none for a run of one kind."""
    return list(dict.fromkeys(key.split(".")[1] for key in flat if key.startswith("phases.")))


def phases_label(flat: Settings) -> str:
    """What tables and figures call such a run: `serial 1 → layerwise delayed 8 → data 1`, with epochs."""
    parts = []
    for name in phase_names(flat):
        mode = _of(flat, name, "mode.name")
        objective = f" {_of(flat, name, 'objective.name')}" if mode == "layerwise" else ""
        parts.append(f"{mode}{objective} {_of(flat, name, 'epochs')}")
    return " → ".join(parts)


def without_unused(flat: Settings) -> dict[str, Any]:
    """The settings without those of the run's groups that every phase replaces by its own.

    The order of the phases is kept as a setting `phases`.
    """
    names = phase_names(flat)
    if not names:
        return dict(flat)
    unused = tuple(group for group in GROUPS if all(f"phases.{name}.{group}name" in flat for name in names))
    kept = {key: value for key, value in flat.items() if not (unused and key.startswith(unused))}
    return kept | {"phases": phases_label(flat)}


def _of(flat: Settings, phase: str, key: str) -> Any:
    return flat.get(f"phases.{phase}.{key}", flat.get(key))
