"""Checkpoint folders: named by what they are made of, complete or not there at all, digested by content."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

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


def made_once(
    folder: Path,
    make: Callable[[Path], dict[str, Any]],
    notice: Callable[[str], None] = lambda line: None,
    *,
    force: bool = False,
) -> tuple[Path, dict[str, Any] | None]:
    """A checkpoint folder, made if it is not there yet.

    `make` works in a folder of another name, which takes the final name when it is complete; a killed run finds its
    own beginnings there again. Only one process works there at a time: others wait, and find the checkpoint made.

    Args:
        folder: the final place, named by a digest of what goes in.
        make: fills the folder it is given and returns the payload's result.
        notice: told when this waits for another process.
        force: make it anew even if it is there; the old one stays until the new one is complete.

    Returns:
        The folder, and the result of `make` or None if the folder was there already.
    """
    if folder.is_dir() and not force:
        return folder, None
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Freed by the kernel when this process dies. The file stays: removing it would split those who wait.
    lock = FileLock(folder.with_name(folder.name + ".lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        notice(f"another process makes {folder}: waiting for it")
        lock.acquire(poll_interval=0.2)
    try:
        return _made(folder, make, force)
    finally:
        lock.release()


def _made(folder: Path, make: Callable[[Path], dict[str, Any]], force: bool) -> tuple[Path, dict[str, Any] | None]:
    if folder.is_dir() and not force:
        return folder, None
    working = folder.with_name(folder.name + ".partial")
    if force:
        # Made anew means from the start, not from where a killed run left off.
        shutil.rmtree(working, ignore_errors=True)
    result = make(working)
    digest_folder(working)
    _swap_in(working, folder)
    return folder, result


def _swap_in(working: Path, folder: Path) -> None:
    """Put a complete folder in the place of what is there; a folder cannot be renamed onto one that holds files."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    working.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
