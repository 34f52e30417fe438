"""What went wrong with the Hub: whether it may pass, how long to wait, and what to tell the user.

`huggingface_hub` wraps what happened in errors of its own; here the chain is followed down to what the Hub said.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
from huggingface_hub import get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import parse_ratelimit_headers

from mbt_assets.hub_needs import Repository
from resources.engine.flow import RETRY_AFTER_LIMIT
from resources.engine.replies import retry_after, words

TIMEOUT, TOO_MANY, SERVER_ERROR = 408, 429, 500
CONNECTION = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ProxyError)
UNNAMED = (ConnectionError, TimeoutError, RuntimeError)
"""What the faster transfer (hf_xet) raises where its line fails, and the client's threads where one of them closes the
session that they share after a failed connection. `IncompleteError` is one too."""
TOLD = (HfHubHTTPError, httpx2.TransportError, OfflineModeIsEnabled)


class IncompleteError(RuntimeError):
    """A download that ended as if it were whole, with files missing: seen where the Hub fails in the middle of it."""


def passes(error: BaseException) -> bool:
    """Whether the same may go well later: the connection, a timeout, 429 and 5xx; never a refusal."""
    root = root_of(error)
    if isinstance(root, HfHubHTTPError):
        status = root.response.status_code
        return status in (TIMEOUT, TOO_MANY) or status >= SERVER_ERROR
    if isinstance(root, OfflineModeIsEnabled):
        return False
    return isinstance(root, (*CONNECTION, *UNNAMED)) or _cut_short(root)


def asked_wait(error: BaseException) -> float:
    """Seconds that the Hub asks to wait, in either of its two ways; 0 where it does not say."""
    root = root_of(error)
    if not isinstance(root, HfHubHTTPError):
        return 0.0
    headers = root.response.headers
    limit = parse_ratelimit_headers(headers)
    asked = float(limit.reset_in_seconds) if limit and limit.remaining == 0 else retry_after(headers)
    return min(asked or 0.0, RETRY_AFTER_LIMIT)


def reason(error: BaseException, repository: Repository) -> str:
    """One line: what is wrong with a repository and what to do. Never holds the token."""
    root = root_of(error)
    if isinstance(root, HfHubHTTPError):
        said = _answer(root, repository)
    elif isinstance(root, OfflineModeIsEnabled):
        said = f"HF_HUB_OFFLINE is set, and the cache does not hold it whole{_pin_it(repository)}"
    elif isinstance(root, httpx2.TransportError):
        said = f"the Hub cannot be reached ({_named(root)}): check the network and HF_ENDPOINT{_pin_it(repository)}"
    elif isinstance(root, IncompleteError | ValueError):
        said = words(str(root))
    else:
        said = _named(root)
    return without_token(said)


def in_short(error: BaseException) -> str:
    """A few words on a fault that may pass. Never holds the token."""
    root = root_of(error)
    if isinstance(root, HfHubHTTPError):
        return f"the Hub answered {root.response.status_code}"
    return without_token(_named(root))


def _answer(error: HfHubHTTPError, repository: Repository) -> str:
    """What an answer of the Hub means; the most special kinds come first, since they derive from one another."""
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return f"gated: accept its terms at {_page(repository)} and set HF_TOKEN to a token of that account"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"the Hub has no such {repository.kind}, or it is private: check the name in the study, or set HF_TOKEN to "
            "a token that may read it"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"it has no revision '{repository.revision}': see {_page(repository)}/commits for those there are"
    if status in (401, 403):
        return f"the Hub refuses access ({status}): check HF_TOKEN, and that its token may read {repository.repo}"
    return words(f"the Hub answered {status}: {error.server_message or error.response.reason_phrase}")


def root_of(error: BaseException) -> BaseException:
    """The first in the chain of causes that came from the Hub or the connection; the error itself if none did."""
    return next((one for one in _chain(error) if isinstance(one, TOLD)), error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _cut_short(error: BaseException) -> bool:
    """A file that came with too few bytes is told as a bare OSError; a full disk's has a number."""
    return type(error) is OSError and error.errno is None


def _page(repository: Repository) -> str:
    return f"https://huggingface.co/{'datasets/' if repository.kind == 'dataset' else ''}{repository.repo}"


def _pin_it(repository: Repository) -> str:
    pin = "; offline, only what is cached whole and whose revision in the study is a full commit counts as there"
    return "" if repository.pinned else pin


def _named(error: BaseException) -> str:
    return words(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def without_token(text: str) -> str:
    """A text without the token that this machine has for the Hub."""
    token = get_token()
    return text.replace(token, "(HF_TOKEN)") if token else text
