"""Which faults of the Hub may pass, where no server can be made to show them."""

import errno

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from mbt_assets.hub_faults import asked_wait, passes


def answer(status, **headers):
    spelt = {name.replace("_", "-"): value for name, value in headers.items()}
    request = httpx2.Request("GET", "https://huggingface.co/api/models/org/it")
    return HfHubHTTPError("refused", response=httpx2.Response(status, headers=spelt, request=request))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_overloaded_hub_may_recover(status):
    assert passes(answer(status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 416])
def test_a_refusal_stays_one(status):
    assert not passes(answer(status))


@pytest.mark.parametrize(
    ("error", "may"),
    [
        (httpx2.ReadTimeout("slow"), True),
        (httpx2.ConnectError("down"), True),
        (httpx2.LocalProtocolError("our own mistake"), False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (RuntimeError("Cannot send a request, as the client has been closed."), True),
        (OSError("Consistency check failed: file should be of size 9 but has size 4"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (OfflineModeIsEnabled("HF_HUB_OFFLINE"), False),
    ],
)
def test_other_errors(error, may):
    assert passes(error) is may


def test_what_the_client_has_wrapped_is_judged_by_its_cause():
    for cause, may in ((answer(503), True), (answer(403), False), (httpx2.ReadTimeout("slow"), True)):
        try:
            raise LocalEntryNotFoundError("cannot find it in the cache") from cause
        except LocalEntryNotFoundError as wrapped:
            assert passes(wrapped) is may


def test_both_ways_to_ask_for_a_wait_are_heard_within_bounds():
    assert asked_wait(answer(429, Retry_After="7")) == 7
    assert asked_wait(answer(429, RateLimit='"api";r=0;t=55')) == 55
    assert asked_wait(answer(429, RateLimit='"api";r=3;t=55')) == 0
    assert asked_wait(answer(429, Retry_After="86400")) == 600
    assert asked_wait(httpx2.ReadTimeout("slow")) == 0
