"""Pushing a folder that `mbt publish` wrote to the Hugging Face Hub: checked before anything is sent, one commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    validate_repo_id,
)

from mbt_assets.hub_faults import TOLD, UNNAMED, root_of, without_token
from mbt_assets.publishing.choice import PublishingError
from mbt_assets.publishing.folders import CARD, MANIFEST, described, manifest_of, read_manifest
from resources.engine.replies import words

KIND = "dataset"
OWN = ".gitattributes"
"""What the Hub itself puts into a new repository."""
CHANGED = (409, 412)
"""What the Hub answers where somebody else has committed in between."""


@dataclass(frozen=True)
class Pushed:
    """A folder that is on the Hub.

    Attributes:
        repo: owner/name.
        url: of the commit.
        commit: its id.
        is_new: the repository was made for it.
        files: that the folder has.
        removed: of an earlier folder, which this one has not.
    """

    repo: str
    url: str
    commit: str
    is_new: bool
    files: int
    removed: int

    @property
    def sentence(self) -> str:
        """What was done, for people."""
        gone = f", {self.removed} old ones removed" if self.removed else ""
        return f"{self.files} files{gone}, in {'the new repository ' if self.is_new else ''}{self.repo}: {self.url}"

    def told(self) -> dict[str, Any]:
        """What was done, for programs."""
        counts = {"files": self.files, "removed": self.removed}
        return {"repo": self.repo, "url": self.url, "commit": self.commit, "is_new": self.is_new, **counts}


@dataclass(frozen=True)
class _Remote:
    """What a repository holds now."""

    commit: str | None
    files: frozenset[str]
    listed: frozenset[str]


def push(folder: Path, repo: str, *, public: bool = False, bars: bool = False) -> Pushed:
    """Push a folder as one commit, to a repository that is made for it or that holds an earlier one.

    Args:
        folder: what `mbt publish` wrote; its card may have been edited since.
        repo: owner/name on the Hub.
        public: whether everybody may read it.
        bars: show how far the upload is.

    Raises:
        PublishingError: it is not such a folder, there is no token, the repository holds something else, or the Hub
            refuses or cannot be reached. The repository is then as it was, or new and empty; or has all of it, where
            the Hub's answer to the commit was lost.
    """
    manifest = _checked(folder)
    _check_repo(repo)
    api = HfApi(token=_token())
    with _told(repo), _bars(bars):
        api.whoami()
        remote = _remote(api, repo, public)
        if remote is None:
            api.create_repo(repo, repo_type=KIND, visibility="public" if public else "private")
        names = [*manifest["files"], MANIFEST]
        gone = sorted((remote.listed & remote.files) - set(names)) if remote else []
        done = api.create_commit(
            repo,
            [
                *(CommitOperationAdd(name, str(folder / name)) for name in names),
                *(CommitOperationDelete(name) for name in gone),
            ],
            commit_message=f"mbt publish: {manifest.get('kind')} of the study {words(str(manifest.get('study')))}",
            repo_type=KIND,
            parent_commit=remote.commit if remote else None,
        )
    return Pushed(repo, str(done.commit_url), str(done.oid), remote is None, len(names), len(gone))


def _checked(folder: Path) -> dict[str, Any]:
    """The manifest of a folder all of whose files are there."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise PublishingError(f"{folder} is no folder that mbt publish wrote: it has no {MANIFEST} of its own")
    for name, listed in manifest["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise PublishingError(f"{folder}: its {MANIFEST} names {name!r}, which lies outside: publish it again")
        if state := _fault(path, listed, edited=name == CARD):
            raise PublishingError(f"{path} {state}: publish the folder again (--force); nothing was sent")
    return manifest


def _fault(path: Path, listed: dict[str, Any], edited: bool) -> str:
    """What is wrong with a file of the folder; empty where nothing is. A card may be edited, rows may not."""
    try:
        if not path.is_file():
            return "is not there"
        return "" if edited or described(path) == listed else "is another than it was"
    except OSError as error:
        return f"cannot be read ({words(error.strerror or str(error))})"


def _check_repo(repo: str) -> None:
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise PublishingError(f"--repo {repo!r} is no name of a repository: {words(str(error))}") from error
    if "/" not in repo:
        raise PublishingError(f"--repo {repo!r} has no owner: give owner/name")


def _token() -> str:
    token = get_token()
    if not token:
        raise PublishingError(
            "there is no token for the Hub: set HF_TOKEN to one that may write "
            "(https://huggingface.co/settings/tokens) or run `hf auth login`; nothing was sent. The folder is whole "
            "without it"
        )
    if not (token.isascii() and token.isprintable()):
        raise PublishingError("HF_TOKEN, or the token of `hf auth login`, holds characters that no token has")
    return token


def _remote(api: HfApi, repo: str, public: bool) -> _Remote | None:
    """What is there; None where there is no such repository.

    Raises:
        PublishingError: it is not for `mbt publish` to write to.
    """
    try:
        info = api.dataset_info(repo)
    except RepositoryNotFoundError:
        return None
    if not info.private and not public:
        raise PublishingError(
            f"{repo} is there and everybody may read it: give --public, or name another; nothing sent"
        )
    if info.private and public:
        raise PublishingError(
            f"{repo} is there and private: leave --public out, or change it at https://huggingface.co/datasets/{repo}/"
            "settings first; nothing was sent"
        )
    files = frozenset(sibling.rfilename for sibling in info.siblings or [])
    if files <= {OWN}:
        return _Remote(info.sha, files, frozenset())
    earlier = None
    if MANIFEST in files:
        earlier = manifest_of(Path(api.hf_hub_download(repo, MANIFEST, repo_type=KIND, revision=info.sha)).read_bytes())
    if earlier is None:
        raise PublishingError(
            f"{repo} is there and holds files that mbt publish did not put there: name another; nothing was sent"
        )
    return _Remote(info.sha, files, frozenset(earlier["files"]))


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """The Hub's faults as one line that says what to do."""
    try:
        yield
    except PublishingError:
        raise
    except Exception as error:
        # The client, its threads and the faster transfer share no class of errors; their chain tells what happened.
        root = root_of(error)
        if not isinstance(root, (*TOLD, OSError, RuntimeError, ValueError)):
            raise
        raise PublishingError(
            f"{repo} was not pushed: {without_token(_reason(root, repo))}. It shows all of the folder or none; "
            "what was uploaded is not sent again"
        ) from error


def _reason(error: BaseException, repo: str) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it"
    if not isinstance(error, HfHubHTTPError):
        said = words(f"{type(error).__name__}: {error}")
        if isinstance(error, (*TOLD, *UNNAMED)):
            return f"the Hub cannot be reached ({said}): check the network and HF_ENDPOINT"
        # Of this machine: a file that cannot be read, or that the client does not take.
        return said
    status = error.response.status_code
    if status == 401:
        return "the Hub does not accept the token (401): set HF_TOKEN to a valid one"
    if status == 403:
        return f"the token may not write to {repo} (403): it needs the right to write there, and its account too"
    if status in CHANGED:
        return f"somebody else has written to it meanwhile ({status}): push again"
    if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError)):
        return "it is gone, or the token may not see it"
    said = words(error.server_message or error.response.reason_phrase)
    return f"the Hub answered {status}: {said}"


@contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """Have the client's bars shown, or not."""
    before = are_progress_bars_disabled()
    (enable_progress_bars if shown else disable_progress_bars)()
    try:
        yield
    finally:
        (disable_progress_bars if before else enable_progress_bars)()
