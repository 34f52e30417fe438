"""A published folder as a whole: what it says of itself, whether it may be replaced, and putting a new one in place."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
from pathlib import Path
from typing import Any

import orjson

from mbt_assets.exporting.targets import owner_of
from mbt_assets.publishing.choice import PublishingError
from resources.home import Home

MANIFEST = "provenance.json"
CARD = "README.md"
FORMAT = "mbt publish 1"
"""Marks a manifest as ours."""
SEAL = "\n<!-- As mbt publish wrote it: sha256 {} -->\n"
"""Ends a card, with the digest of all before: it tells whether somebody has edited the card since."""
_HERE = -100
_EXCHANGE = 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""


def described(path: Path) -> dict[str, Any]:
    """Size and sha256 of a file, as a manifest lists them."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def sealed(card: str) -> str:
    """A card that tells whether it is as it was written, in a comment at its end."""
    return card + SEAL.format(hashlib.sha256(card.encode()).hexdigest())


def _is_sealed(path: Path) -> bool:
    text = path.read_bytes()
    start = text.rfind(SEAL.partition("{}")[0].encode())
    return start >= 0 and text[start:] == SEAL.format(hashlib.sha256(text[:start]).hexdigest()).encode()


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write what the folder is and the list of its files; the last file of a folder that is being made."""
    # The card is there to be edited, also after a push: what is said of its content would not stay true.
    files = {name: {} if name == CARD else described(folder / name) for name in files_of(folder)}
    said = {"format": FORMAT, **content, "files": files}
    (folder / MANIFEST).write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2) + b"\n")


def manifest_of(content: bytes) -> dict[str, Any] | None:
    """A manifest's content; None where `mbt publish` did not write it."""
    with contextlib.suppress(orjson.JSONDecodeError):
        said = orjson.loads(content)
        if isinstance(said, dict) and said.get("format") == FORMAT and isinstance(said.get("files"), dict):
            return said
    return None


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder; None where `mbt publish` did not write the folder."""
    try:
        return manifest_of((folder / MANIFEST).read_bytes())
    except OSError:
        return None


def files_of(folder: Path) -> list[str]:
    """Every file below a folder, the manifest aside."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return sorted(name for name in names if name != MANIFEST)


def check_folder(target: Path, home: Home, force: bool) -> None:
    """See that a folder may be written.

    Args:
        target: the folder.
        home: of the study.
        force: a folder that `mbt publish` wrote, and that nobody has changed since, is replaced.

    Raises:
        PublishingError: it may not.
    """
    if not target.parent.is_dir():
        raise PublishingError(f"{target} cannot be written: there is no folder {target.parent}")
    if owner := owner_of(target, home):
        raise PublishingError(f"{target} lies in {owner}, where studies keep their own files: name another folder")
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise PublishingError(f"{target} is there already and is no folder: name another one")
    if not any(target.iterdir()):
        return
    if why := _why_kept(target):
        raise PublishingError(f"{target} is there already and is never replaced, since {why}: name another folder")
    if not force:
        raise PublishingError(f"{target} is there already: name another folder, or give --force to replace it")


def _why_kept(target: Path) -> str:
    """Why a folder must stay, whatever is asked; empty where it need not."""
    manifest = read_manifest(target)
    if manifest is None:
        return "mbt publish did not write it"
    listed = manifest["files"]
    for name in files_of(target):
        if name not in listed:
            return f"it holds {name}, which mbt publish did not write"
        if not _is_sealed(target / name) if name == CARD else _was_changed(target / name, listed[name]):
            return f"its {name} was changed since it was written"
    return ""


def _was_changed(path: Path, listed: dict[str, Any]) -> bool:
    """Whether a file is another than the one that was listed; of data, which nobody edits, the size has to do."""
    if path.stat().st_size != listed.get("bytes"):
        return True
    return path.suffix != ".parquet" and described(path) != listed


def put_in_place(made: Path, target: Path) -> None:
    """Have a folder under a name, in place of the one that is there: a reader finds the one or the other.

    Args:
        made: the new folder, beside the target; holds the old one afterwards where there was one.
        target: the name.

    Raises:
        OSError: it cannot be.
    """
    if not target.exists() or not any(target.iterdir()):
        made.rename(target)
    elif not _exchanged(made, target):
        # Not every file system can swap two names at once: here, for a moment, there is none.
        old = made.with_name(f"{made.name}.old")
        try:
            target.rename(old)
            made.rename(target)
        except BaseException:
            # An interrupt between the two: what is aside would be taken away.
            if old.exists() and not os.path.lexists(target):
                old.rename(target)
            raise


def _exchanged(one: Path, other: Path) -> bool:
    """Swap two names at once; False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)
