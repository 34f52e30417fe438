"""Checkpoint folders: named by what they are made of, complete or not there at all, digested by content."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

WEIGHTS = "*.safetensors"
DIGESTED = (WEIGHTS, "*.safetensors.index.json", "config.json", "tokenizer*", "chat_template*", "vocab*", "merges*")


class CheckpointError(RuntimeError):
    """A checkpoint folder that is missing or incomplete; the message says what is wrong with it."""


def digest_folder(folder: Path) -> str:
    """Sha256 over names and bytes of a checkpoint's weights, configuration and tokenizer files.

    Raises:
        CheckpointError: no folder, no weights, or no configuration.
    """
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint {folder} is no folder")
    if not any(folder.glob(WEIGHTS)):
        raise CheckpointError(f"checkpoint {folder} holds no {WEIGHTS}")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"checkpoint {folder} holds no config.json")
    sha = hashlib.sha256()
    for path in sorted({path for pattern in DIGESTED for path in folder.glob(pattern)}):
        sha.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            sha.update(hashlib.file_digest(file, "sha256").digest())
    return sha.hexdigest()


def made_once(folder: Path, make: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any] | None]:
    """A checkpoint folder, made if it is not there yet.

    `make` works in a folder of another name, which takes the final name when it is complete; a killed run finds its
    own beginnings there again.

    Args:
        folder: the final place, named by a digest of what goes in.
        make: fills the folder it is given and returns the payload's result.

    Returns:
        The folder, and the result of `make` or None if the folder was there already.
    """
    if folder.is_dir():
        return folder, None
    working = folder.with_name(folder.name + ".partial")
    result = make(working)
    digest_folder(working)
    if folder.exists():
        shutil.rmtree(working)
    else:
        working.replace(folder)
    return folder, result
