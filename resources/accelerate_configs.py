"""The accelerate config files that payloads are launched with: packaged ones by name, any other by its path."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "accelerate"


class ComputeError(RuntimeError):
    """A setting of where and how payloads run that cannot be worked with; the message says what to give instead."""


def packaged() -> list[str]:
    """Names of the config files that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def config_file(name_or_path: str) -> Path:
    """The accelerate config file of a packaged name, or at a path.

    Returns:
        An absolute path.

    Raises:
        ComputeError: it is neither.
    """
    if name_or_path in packaged():
        return FOLDER / f"{name_or_path}.yaml"
    path = Path(name_or_path).expanduser().resolve()
    if path.is_file():
        return path
    raise ComputeError(
        f"accelerate: {name_or_path!r} is neither a packaged config ({', '.join(packaged())}) nor a file ({path})"
    )
