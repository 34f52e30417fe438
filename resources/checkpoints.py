"""Checkpoint folders: named by what they are made of, complete or not there at all, digested by content.

A folder holds whole weights, or a LoRA adapter whose configuration names the base that it belongs on. The digest of an
adapter covers both.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

WEIGHTS = "*.safetensors"
INDEX = "*.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.*", "tokenizer_config.json")
DIGESTED = (
    WEIGHTS,
    INDEX,
    "config.json",
    ADAPTER_CONFIG,
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab*",
    "merges*",
)
MISSING = "missing"
"""Stands for a folder that is not there: its appearance is a change too."""


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, incomplete or damaged; the message says what is wrong with it."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a LoRA adapter rather than whole weights."""
    return (folder / ADAPTER_CONFIG).is_file()


def base_of_adapter(folder: Path) -> tuple[str, str | None]:
    """The base that an adapter belongs on: a folder or Hub id, and the revision.

    Raises:
        CheckpointError: the adapter's configuration does not say.
    """
    path = folder / ADAPTER_CONFIG
    try:
        config = orjson.loads(path.read_bytes())
        base = config["base_model_name_or_path"]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not name its base model ({error}): take the whole adapter again") from error
    if not base:
        raise CheckpointError(f"{path} does not name its base model: set base_model_name_or_path in it")
    return str(base), config.get("revision")


def bases_of(folder: Path) -> list[Path]:
    """The local folders that an adapter lies on, nearest first; none for whole weights, or a base on the Hub.

    Raises:
        CheckpointError: a configuration does not name its base, a base is no folder, or the bases go in a circle.
    """
    found: list[Path] = []
    while is_adapter(folder):
        base = Path(base_of_adapter(folder)[0])
        if base.is_absolute() and not base.is_dir():
            raise CheckpointError(f"adapter {folder} belongs on {base}, which is no folder")
        if not base.is_dir():
            break
        if base in found or base.samefile(folder):
            raise CheckpointError(f"adapter {folder} belongs on {base}, which belongs on it: name its real base")
        found.append(base)
        folder = base
    return found


def check_folder(folder: Path) -> None:
    """See that a checkpoint folder is whole, without loading its weights; an adapter's base too.

    Raises:
        CheckpointError: no folder, weights or configuration or tokenizer missing, a shard missing or cut off.
    """
    for part in (folder, *bases_of(folder)):
        _check_part(part)


def _check_part(folder: Path) -> None:
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint {folder} is no folder: correct the path, or make the checkpoint again")
    shards = sorted(folder.glob(WEIGHTS))
    if not shards:
        raise CheckpointError(f"checkpoint {folder} holds no {WEIGHTS}: weights in other formats have to be converted")
    if not is_adapter(folder) and not (folder / "config.json").is_file():
        raise CheckpointError(f"checkpoint {folder} holds no config.json")
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZERS):
        raise CheckpointError(f"checkpoint {folder} holds no tokenizer: copy the tokenizer files of its base there")
    _check_index(folder)
    for shard in shards:
        _check_shard(shard)


def _check_shard(shard: Path) -> None:
    try:
        # Reads the header, and holds it against the size of the file.
        with safe_open(shard, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        size = f"{shard.stat().st_size} bytes" if shard.exists() else "gone"
        raise CheckpointError(
            f"checkpoint {shard.parent}: {shard.name} ({size}) is damaged ({error}): copy it again"
        ) from error


def _check_index(folder: Path) -> None:
    for index in folder.glob(INDEX):
        try:
            named = set(orjson.loads(index.read_bytes())["weight_map"].values())
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"checkpoint {folder}: {index.name} is damaged ({error}): copy it again") from error
        absent = sorted(name for name in named if not (folder / name).is_file())
        if absent:
            shown = ", ".join(absent[:3])
            raise CheckpointError(
                f"checkpoint {folder} lacks {len(absent)} of {len(named)} shards ({shown}): copy them"
            )


def digest_folder(folder: Path) -> str:
    """Sha256 over names and bytes of a checkpoint's weights, configuration and tokenizer files.

    An adapter's digest covers the base it belongs on too.

    Raises:
        CheckpointError: the checkpoint is not whole, as `check_folder` says, or cannot be read.
    """
    check_folder(folder)
    parts = [folder, *bases_of(folder)]
    sha = hashlib.sha256()
    try:
        for path in itertools.chain.from_iterable(map(_digested, parts)):
            sha.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                sha.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise CheckpointError(f"checkpoint {folder} cannot be read: {error}") from error
    if is_adapter(parts[-1]):
        sha.update("hub://{}@{}".format(*base_of_adapter(parts[-1])).encode())
    return sha.hexdigest()


def folder_state(folder: Path) -> str:
    """Digest of names, sizes and times of a checkpoint's files: tells at once that they changed, unlike their bytes.

    Of an adapter those of its base count too. Whatever is wrong with the folder has a state of its own.
    """
    if not folder.is_dir():
        return MISSING
    try:
        parts = [folder, *bases_of(folder)]
        stats = [(str(part), path.name, path.stat()) for part in parts for path in _digested(part)]
    except (CheckpointError, OSError) as error:
        return f"unreadable: {error}"
    lines: list[Any] = [[part, name, stat.st_size, stat.st_mtime_ns] for part, name, stat in stats]
    # The same files elsewhere are the same state.
    own = [[part != str(folder), *rest] for part, *rest in lines]
    return hashlib.sha256(orjson.dumps(own)).hexdigest()


def _digested(folder: Path) -> list[Path]:
    # One look at the folder: a server asks for its state with every request.
    names = sorted(path.name for path in folder.iterdir())
    return [folder / name for name in names if any(fnmatch(name, pattern) for pattern in DIGESTED)]


def current_digest(folder: Path, memory: Path) -> str:
    """The digest of a folder as it is now; its bytes are read only if a file's size or time has changed since.

    Args:
        folder: the checkpoint.
        memory: folder that keeps what was read before, one small file per checkpoint.

    Raises:
        CheckpointError: the checkpoint is not whole.
    """
    state = folder_state(folder)
    note = memory / f"{hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:32]}.json"
    try:
        known = orjson.loads(note.read_bytes())
        if known["state"] == state:
            return str(known["digest"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        pass  # never read before, or a cut-off note: read the bytes
    digest = digest_folder(folder)
    memory.mkdir(parents=True, exist_ok=True)
    aside = note.with_name(f"{note.name}.{os.getpid()}")
    aside.write_bytes(orjson.dumps({"folder": str(folder), "state": state, "digest": digest}))
    aside.replace(note)
    return digest


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
    check_folder(working)
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
