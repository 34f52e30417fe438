"""Exporting: one DuckDB file that holds what the lake holds, with where it comes from, for whoever has no lake."""

from __future__ import annotations

from mbt_assets.exporting.choice import Choice, ExportError, chosen_tables
from mbt_assets.exporting.targets import check_target
from mbt_assets.exporting.writing import Exported, export

__all__ = ["Choice", "ExportError", "Exported", "check_target", "chosen_tables", "export"]
