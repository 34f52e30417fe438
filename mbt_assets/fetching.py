"""Bringing repositories of the Hugging Face Hub into its cache on this disk.

Downloads are `huggingface_hub`'s own; what is added is knowing before, trying again, and looking at what came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any, Literal, TypeVar

from huggingface_hub import snapshot_download
from huggingface_hub.utils import tqdm as hub_bar
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_when_event_set
from tenacity.nap import sleep_using_event
from tenacity.wait import wait_exponential_jitter

from mbt_assets.benchmarks import BenchmarkError
from mbt_assets.benchmarks.hub import mirror_folder
from mbt_assets.hub_cache import Listing, ask, look_through, snapshot_folder
from mbt_assets.hub_faults import asked_wait, in_short, passes, reason
from mbt_assets.hub_needs import FetchError, Repository

ASKED_AT_ONCE = 8
BACKOFF = wait_exponential_jitter(initial=1, max=60, jitter=2)
BYTES_BAR = "huggingface_hub.snapshot_download"
"""The name of that one of its bars which counts bytes on disk."""

State = Literal["local mirror", "cached", "to fetch", "fetched", "failed"]
T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One repository, and how far it has come.

    Attributes:
        path: the snapshot's folder, where it is there; a mirror's folder.
        reason: why it failed.
    """

    repository: Repository
    state: State
    listing: Listing | None = None
    path: Path | None = None
    reason: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files that are needed."""
        return sum(size or 0 for size in self.listing.sizes.values()) if self.listing else 0

    @property
    def to_fetch(self) -> int:
        """Bytes that are not in the cache."""
        return sum(self.listing.missing.values()) if self.listing else 0


class StoppedError(Exception):
    """The user has stopped the command; ends downloads that run in threads."""


@dataclass(frozen=True)
class Fetcher:
    """Asks the Hub and fetches from it, trying again what may pass.

    Attributes:
        attempts: tries of one repository's listing, and of its download.
        stop: set by another thread to end all waiting and downloading.
        tell: takes lines for the user.
    """

    attempts: int
    tell: Callable[[str], None]
    stop: Event = field(default_factory=Event)

    def look(self, repositories: Sequence[Repository]) -> list[Item]:
        """What is needed of each and what of it is missing; asks the Hub for all of them at once."""
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            return list(pool.map(self._looked_at, repositories))

    def fetch(self, item: Item, count: Callable[[int], None]) -> Item:
        """The item, fetched or failed; its files are looked at again afterwards.

        Args:
            item: what `look` said of a repository.
            count: told of bytes as they come, from several threads.
        """
        planned, bar = item.listing, self._bar(count)
        if item.state != "to fetch" or planned is None:
            return item
        try:
            listing, path = self._tried(item.repository, lambda: self._download(item.repository, planned, bar))
        except Exception as error:
            return self._failed(item.repository, error, planned)
        return replace(item, state="fetched", listing=listing, path=path)

    def _looked_at(self, repository: Repository) -> Item:
        try:
            if repository.kind == "dataset" and (folder := mirror_folder(repository.repo)):
                return Item(repository, "local mirror", path=folder)
            listing = self._tried(repository, lambda: ask(repository))
        except Exception as error:
            return self._failed(repository, error)
        path = snapshot_folder(repository, listing.commit) if listing.whole else None
        return Item(repository, "cached" if listing.whole else "to fetch", listing, path)

    def _failed(self, repository: Repository, error: Exception, listing: Listing | None = None) -> Item:
        """One repository that fails must not keep the others from being fetched, whatever the reason."""
        if isinstance(error, StoppedError):
            raise error
        said = str(error) if isinstance(error, BenchmarkError | FetchError) else reason(error, repository)
        return Item(repository, "failed", listing, reason=said)

    def _tried(self, repository: Repository, work: Callable[[], T]) -> T:
        retrying = Retrying(
            retry=retry_if_exception(passes),
            wait=lambda state: max(BACKOFF(state), asked_wait(_error_of(state))),
            stop=stop_after_attempt(self.attempts) | stop_when_event_set(self.stop),
            sleep=sleep_using_event(self.stop),
            before_sleep=lambda state: self._say_wait(repository, state),
            reraise=True,
        )
        return retrying(work)

    def _say_wait(self, repository: Repository, state: RetryCallState) -> None:
        waits = state.next_action.sleep if state.next_action else 0.0
        tries = f"try {state.attempt_number} of {self.attempts}"
        self.tell(f"{repository.repo}: {in_short(_error_of(state))}; {tries}, the next in {waits:.0f} s")

    def _download(self, repository: Repository, listing: Listing, bar: type[hub_bar]) -> tuple[Listing, Path]:
        path = Path(
            snapshot_download(
                repository.repo,
                repo_type=repository.kind,
                revision=repository.revision,
                allow_patterns=listing.allow,
                ignore_patterns=listing.ignore,
                tqdm_class=bar,
            )
        )
        if path.name != listing.commit:
            # The revision has moved since the Hub was asked; or it is down, and an older snapshot was taken for this.
            listing = ask(repository)
        look_through(listing, path)
        return listing, path

    def _bar(self, count: Callable[[int], None]) -> type[hub_bar]:
        """A class of bars that show nothing, but count, and stop the download, whose threads nothing else reaches."""
        stop = self.stop

        class Bar(hub_bar):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                self._counts = options.get("name") == BYTES_BAR
                super().__init__(*arguments, **{**options, "disable": True})

            def update(self, n: float | None = 1) -> bool | None:
                if stop.is_set():
                    raise StoppedError
                if self._counts:
                    count(int(n or 0))
                return super().update(n)

        return Bar


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    assert error is not None, "tenacity waits after errors alone"
    return error
