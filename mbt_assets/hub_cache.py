"""The Hugging Face Hub's cache on this disk: which files of a repository are needed, there and missing.

It is laid out as the Hub's documentation says: a folder for each repository, with `snapshots/<commit>` of links into
`blobs`, and `refs` that say which commit a branch or tag stands for.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, get_cached_repo_tree
from huggingface_hub.errors import CachedRepoTreeNotFoundError
from huggingface_hub.utils import filter_repo_objects

from mbt_assets.hub_faults import IncompleteError
from mbt_assets.hub_needs import FetchError, Repository, patterns

ANSWER_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class File:
    """A file as the Hub lists it; `blob` is the name of its bytes in the cache."""

    name: str
    size: int | None
    blob: str | None


@dataclass(frozen=True)
class Listing:
    """The files that are needed of a repository at a commit.

    Attributes:
        commit: what the revision stood for when the Hub was asked.
        sizes: bytes of each file that is needed; None where the Hub does not say.
        missing: bytes of each that has to be fetched.
        allow, ignore: the patterns that choose these files.
        whole: every file is in the cache's snapshot of the commit, and the cache knows what the revision stands for.
    """

    commit: str
    sizes: dict[str, int | None]
    missing: dict[str, int]
    allow: list[str] | None
    ignore: list[str] | None
    whole: bool


def cache_folder() -> Path:
    """Where the Hub's cache lies: `HF_HUB_CACHE`, or `hub` below `HF_HOME`."""
    return Path(constants.HF_HUB_CACHE)


def free_bytes() -> int:
    """Free disk where the cache lies or will lie."""
    folder = cache_folder().absolute()
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def left_overs(repositories: Sequence[Repository]) -> list[Path]:
    """Parts of files that killed downloads left in the cache; `huggingface_hub` never uses them again."""
    return [path for one in repositories for path in sorted((_home_of(one) / "blobs").glob("*.incomplete"))]


def ask(repository: Repository) -> Listing:
    """The files of a repository and which are missing: one request, none for a commit that is there whole.

    Raises:
        FetchError: it holds nothing that could be used.
        HfHubHTTPError: the Hub refuses it, or fails.
        httpx2.TransportError: the Hub cannot be reached.
    """
    known = _remembered(repository)
    if known and known.whole:
        return known
    api = HfApi()
    info_of = api.model_info if repository.kind == "model" else api.dataset_info
    info = info_of(repository.repo, revision=repository.revision, timeout=ANSWER_TIMEOUT_S, files_metadata=True)
    siblings = info.siblings or []
    files = [
        File(one.rfilename, one.lfs.size if one.lfs else one.size, one.lfs.sha256 if one.lfs else one.blob_id)
        for one in siblings
    ]
    if info.sha is None:
        raise FetchError(f"the Hub names no commit for {repository.repo}")
    listing = _listing(repository, info.sha, files)
    if listing.missing and info.gated:
        # Everybody may see the listing of a gated repository: only this tells now whether its files will come.
        api.auth_check(repository.repo, repo_type=repository.kind)
    return listing


def _remembered(repository: Repository) -> Listing | None:
    """The listing of a commit that the cache has kept from an earlier download."""
    if not repository.pinned or repository.revision is None:
        return None
    try:
        tree = get_cached_repo_tree(repository.repo, repo_type=repository.kind, revision=repository.revision)
    except CachedRepoTreeNotFoundError:
        return None
    return _listing(repository, repository.revision, [File(one.path, one.size, None) for one in tree])


def _listing(repository: Repository, commit: str, files: Sequence[File]) -> Listing:
    allow, ignore = patterns(repository, [file.name for file in files])
    chosen = list(filter_repo_objects(files, allow_patterns=allow, ignore_patterns=ignore, key=lambda file: file.name))
    snapshot, blobs = snapshot_folder(repository, commit), _home_of(repository) / "blobs"
    absent = [file for file in chosen if not _is_there(snapshot / file.name, file.size)]
    return Listing(
        commit,
        sizes={file.name: file.size for file in chosen},
        # The bytes of a file that another commit has too are in the cache already.
        missing={file.name: file.size or 0 for file in absent if not (file.blob and (blobs / file.blob).is_file())},
        allow=allow,
        ignore=ignore,
        whole=not absent and _stands_for(repository, commit),
    )


def look_through(listing: Listing, path: Path) -> None:
    """Make sure that all files have come: `snapshot_download` may take a folder for whole where the Hub fails midway.

    Raises:
        IncompleteError: files are missing; they may come later.
        FetchError: a file in the cache is damaged.
    """
    if path.name != listing.commit:
        raise IncompleteError(f"commit {listing.commit} did not come, but {path.name}, which is another")
    absent = [name for name in listing.sizes if not (path / name).is_file()]
    if absent:
        raise IncompleteError(f"{len(absent)} files did not come, {absent[0]} among them")
    for name, size in listing.sizes.items():
        if not _is_there(path / name, size):
            has = (path / name).stat().st_size
            real = (path / name).resolve()
            raise FetchError(f"{name} has {has} bytes in the cache and {size} on the Hub: remove {real} and run again")


def _is_there(path: Path, size: int | None) -> bool:
    return path.is_file() and (size is None or path.stat().st_size == size)


def _stands_for(repository: Repository, commit: str) -> bool:
    """Whether the cache knows that the revision stands for the commit: offline, programs look it up there."""
    ref = _home_of(repository) / "refs" / (repository.revision or constants.DEFAULT_REVISION)
    return repository.pinned or (ref.is_file() and ref.read_text().strip() == commit)


def snapshot_folder(repository: Repository, commit: str) -> Path:
    """Where the cache has a repository's files as they are at a commit."""
    return _home_of(repository) / "snapshots" / commit


def _home_of(repository: Repository) -> Path:
    """A repository's folder in the cache, as the Hub's documentation of it says."""
    return cache_folder() / "--".join([f"{repository.kind}s", *repository.repo.split("/")])
