"""The forms in which tables and figures come. Imports nothing, so that help can list them at once."""

from __future__ import annotations

TABLES = ("table", "markdown", "latex", "csv", "json", "html")
PREDICTED_TABLES = ("table", "markdown", "latex", "csv", "json")
FIGURES = ("png", "svg", "pdf")
