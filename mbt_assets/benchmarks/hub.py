"""Raw rows of a dataset repository: from the Hugging Face Hub, or from a local mirror of it, and which ones they are.

`MBT_HUB_MIRROR` names a folder laid out like the Hub (`<owner>/<name>/README.md` and Parquet files). Nothing here
knows a benchmark, and nothing imports `datasets` before rows are asked for.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mbt_assets.benchmarks.records import BenchmarkError

MIRROR_VARIABLE = "MBT_HUB_MIRROR"
COMMIT = re.compile(r"[0-9a-f]{40}")


def mirror_folder(hub_id: str) -> Path | None:
    """The repository's folder in the mirror; None if no mirror is named.

    Raises:
        BenchmarkError: a mirror is named, but the folder is not there or holds no Parquet file.
    """
    folder = _mirrored(hub_id)
    if folder is None:
        return None
    if not folder.is_dir():
        raise _mirror_error(hub_id, f"there is no folder {folder}")
    if not any(folder.rglob("*.parquet")):
        raise _mirror_error(hub_id, f"there is no Parquet file under {folder}")
    return folder


def _mirrored(hub_id: str) -> Path | None:
    """Where a mirror would have the repository, whether or not it does; None if no mirror is named."""
    root = os.environ.get(MIRROR_VARIABLE, "").strip()
    return Path(root).expanduser() / hub_id if root else None


def open_rows(hub_id: str, config: str | None, split: str, revision: str | None) -> Iterator[dict[str, Any]]:
    """The rows of one split, in the repository's order.

    A mirror is read straight from its Parquet files, so that a changed file can never be hidden by a cache;
    the Hub's files are kept by `datasets` under the commit that they belong to.

    Args:
        hub_id: `owner/name` of the dataset repository.
        config: configuration, or None for the default one.
        split: name of the split.
        revision: branch, tag or commit on the Hub, or what `resolved_revision` said; a mirror has but one.

    Raises:
        BenchmarkError: repository, configuration, split or file is missing or unreadable.
    """
    folder = mirror_folder(hub_id)
    if folder is None:
        return iter(_load_from_hub(hub_id, config, split, revision))
    return _read_mirror(folder, hub_id, config, split)


def resolved_revision(hub_id: str, revision: str | None = None) -> str:
    """What exactly the rows come from: `hub:<commit>`, or `mirror:sha256:<digest>` of the mirror's files.

    Args:
        hub_id: `owner/name` of the dataset repository.
        revision: branch, tag or commit on the Hub; a full commit is taken as it is, without asking the Hub.

    Raises:
        BenchmarkError: the mirror's folder is missing, or the Hub cannot be reached or does not know the revision.
    """
    folder = mirror_folder(hub_id)
    if folder is not None:
        return f"mirror:sha256:{_folder_digest(folder)}"
    plain = _plain(revision)
    return f"hub:{plain if plain and COMMIT.fullmatch(plain) else _ask_commit(hub_id, plain)}"


def source_state(hub_id: str) -> str:
    """What rows would come from now, without reading a file or asking the network.

    Returns:
        `mirror:` with a digest of names, sizes and times of the mirror's files (`mirror:missing` where there are
        none), or `hub`, whose rows the study's own revision pins.
    """
    folder = _mirrored(hub_id)
    if folder is None:
        return "hub"
    stats = [(name, (folder / name).stat()) for name in _mirror_files(folder)]
    lines = [f"{name.as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\n" for name, stat in stats]
    return f"mirror:{hashlib.sha256(''.join(lines).encode()).hexdigest() if lines else 'missing'}"


def _read_mirror(folder: Path, hub_id: str, config: str | None, split: str) -> Iterator[dict[str, Any]]:
    import datasets

    try:
        rows = datasets.load_dataset(str(folder), config, split=split, streaming=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise _mirror_error(hub_id, f"{_wanted(config, split)} cannot be opened in {folder}: {_line(error)}") from error
    return _read_on(iter(rows), hub_id, folder)


def _read_on(rows: Iterator[dict[str, Any]], hub_id: str, folder: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from rows
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, BenchmarkError):
            raise
        raise _mirror_error(hub_id, f"a file under {folder} cannot be read: {_line(error)}") from error


def _load_from_hub(hub_id: str, config: str | None, split: str, revision: str | None) -> Any:
    """Asks for the commit first: that fails at once where there is no network, and pins what is loaded."""
    commit = resolved_revision(hub_id, revision).removeprefix("hub:")
    try:
        return _loaded(hub_id, config, split, revision=commit)
    except (OSError, ValueError, RuntimeError) as error:
        # `datasets` lists a repository's files at the Hub; files that were fetched beforehand can do without.
        fetched = _fetched(hub_id, commit)
        if fetched:
            with suppress(OSError, ValueError, RuntimeError):
                return _loaded(fetched, config, split)
        raise _hub_error(hub_id, f"{_wanted(config, split)} cannot be loaded from the Hub: {_line(error)}") from error


def _loaded(source: str, config: str | None, split: str, revision: str | None = None) -> Any:
    import datasets

    with _quiet():
        return datasets.load_dataset(source, config, split=split, revision=revision)


def _fetched(hub_id: str, commit: str) -> str | None:
    """The folder of a commit in the Hub's cache; None where it is not there as a whole."""
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(hub_id, repo_type="dataset", revision=commit, local_files_only=True)
    except (OSError, ValueError):
        return None


def _plain(revision: str | None) -> str | None:
    return revision.removeprefix("hub:") if revision else None


def _ask_commit(hub_id: str, revision: str | None) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        commit = HfApi().dataset_info(hub_id, revision=revision, timeout=30).sha
    except HfHubHTTPError as error:
        at = f" at revision '{revision}'" if revision else ""
        raise _hub_error(hub_id, f"the Hub refuses it{at}: {_line(error)}") from error
    except Exception as error:  # the HTTP client's own errors share no base class with anything public
        raise _hub_error(hub_id, f"the Hub cannot be asked for its commit: {_line(error)}") from error
    if commit is None:
        raise _hub_error(hub_id, "the Hub names no commit for it")
    return commit


def _mirror_files(folder: Path) -> list[Path]:
    """README and data files, hidden files not: the README says which file is which split."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [name for name in names if not any(part.startswith(".") for part in name.parts)]


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in _mirror_files(folder):
        with (folder / name).open("rb") as file:
            digest.update(f"{name.as_posix()}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars: they tear apart the run log that they are printed into."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _wanted(config: str | None, split: str) -> str:
    return f"split '{split}'" + (f" of configuration '{config}'" if config else "")


def _line(error: Exception) -> str:
    message = " ".join(str(error).split())
    return message.rstrip(".") or type(error).__name__


def _mirror_error(hub_id: str, problem: str) -> BenchmarkError:
    return BenchmarkError(
        f"dataset {hub_id}: {problem}. {MIRROR_VARIABLE} is set, so nothing is fetched from the Hub: put the "
        f"repository's README.md and Parquet files there, or unset {MIRROR_VARIABLE} to use the Hub."
    )


def _hub_error(hub_id: str, problem: str) -> BenchmarkError:
    return BenchmarkError(
        f"dataset {hub_id}: {problem}. Check the name, the revision and the network (and HF_TOKEN if it is gated); "
        f"to work offline, set {MIRROR_VARIABLE} to a folder that holds {hub_id}/README.md and its Parquet files."
    )
