"""The prompt templates, one YAML file each, and how they are rendered and digested.

Wording belongs in the YAML files; a new prompt is a new file. Nothing here knows what a reply means.
"""

from __future__ import annotations

from pathlib import Path

from mbt_assets.prompts.library import PromptError, PromptLibrary

LIBRARY = PromptLibrary(Path(__file__).parent)
"""The project's own templates; every function below reads from it."""

NAMES = LIBRARY.names
"""Names of all templates, sorted: the stems of the YAML files beside this module."""

render = LIBRARY.render
digest = LIBRARY.digest
version = LIBRARY.version
fields = LIBRARY.fields

__all__ = ["LIBRARY", "NAMES", "PromptError", "PromptLibrary", "digest", "fields", "render", "version"]
