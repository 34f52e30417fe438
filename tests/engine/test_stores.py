"""The journal on an object store: real S3 requests to a server that speaks it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from processes import until
from s3 import FaultProxy, cut, in_environment, serving_bucket, slow_down

from resources.engine import Endpoint, EngineOptions, FolderBusyError, JournalError, generate, locks, responses
from resources.engine.journal import Journal
from resources.engine.keytable import KeyTable
from resources.engine.stores import open_store

ROOT = Path(__file__).parents[2]
OPTIONS = EngineOptions(concurrency=32, backoff_base=0.02, backoff_cap=0.1)


@pytest.fixture(scope="module")
def bucket():
    """A bucket of a real S3 server, which the environment names."""
    with serving_bucket() as bucket, in_environment(bucket.settings()):
        yield bucket


@pytest.fixture
def place(bucket, request) -> str:
    return f"{bucket.url}/{request.node.name}"


def texts(place: str) -> dict[str, str]:
    frame = responses(place).collect()
    assert frame["request_id"].is_unique().all()
    return dict(zip(frame["request_id"], frame["response"], strict=True))


def keys(bucket, place: str) -> list[str]:
    prefix = place.removeprefix(f"{bucket.url}/") + "/"
    return [key.removeprefix(prefix) for key in bucket.names(prefix)]


def owner(bucket, place: str) -> dict[str, object]:
    key = place.removeprefix(f"{bucket.url}/") + "/.owner.json"
    return orjson.loads(bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read())


def put_owner(bucket, place: str, **owner: object) -> None:
    key = place.removeprefix(f"{bucket.url}/") + "/.owner.json"
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=orjson.dumps(owner))


def test_a_run_and_its_rerun(kit, serve, bucket, place):
    server = serve()
    endpoint = Endpoint(server.base_url, "tiny", "digest")
    assert generate(kit.ask(300), endpoint, place, OPTIONS).ok == 300
    assert len(texts(place)) == 300
    assert ".owner.json" not in keys(bucket, place)
    again = generate(kit.ask(310)[5:], endpoint, place, OPTIONS)
    assert (again.sent, again.reused) == (10, 295)
    assert set(texts(place)) == {f"r{number}" for number in range(5, 310)}


def test_killed_it_goes_on_from_what_was_committed(kit, serve, bucket, place, tmp_path):
    server = serve(latency=0.02)
    path = tmp_path / "requests.jsonl"
    rows = ({"request_id": r.request_id, "messages": r.messages, "sampling": r.sampling} for r in kit.ask(600))
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    script = "import typer; from mbt_assets.cli.generate import generate; typer.run(generate)"
    command = [sys.executable, "-c", script, str(path), "--base-url", server.base_url, "--model", "tiny"]
    command += ["--model-digest", "digest", "--out", place, "--concurrency", "4"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while not any(key.startswith("responses/") for key in keys(bucket, place)):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    with pytest.raises(JournalError, match="no complete run"):
        responses(place)
    with pytest.raises(FolderBusyError, match=f"pid {process.pid} "):  # its lease has not run out yet
        kit.run(server, kit.ask(600), place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "STALE_SECONDS", 0.0)
        summary = kit.run(server, kit.ask(600), place)
    assert summary.ok == 600
    assert summary.reused > 0
    assert len(texts(place)) == 600


def test_a_second_writer_is_refused_while_the_first_renews_its_lease(bucket, place, monkeypatch):
    monkeypatch.setattr(locks, "RENEW_SECONDS", 0.1)
    with Journal(place) as first:
        long_ago = time.time() - 3600
        put_owner(bucket, place, pid=os.getpid(), host="here", token=first._store.lock._token, renewed=long_ago)
        assert until(lambda: owner(bucket, place)["renewed"] > long_ago + 60)
        with pytest.raises(FolderBusyError, match=f"pid {os.getpid()} "), Journal(place):
            pass
    with Journal(place):
        pass


def test_of_two_that_take_over_a_dead_lease_one_has_it(bucket, place, monkeypatch):
    put_owner(bucket, place, pid=1, host="gone", token="x", renewed=time.time() - 3600)
    taken: list[Journal] = []
    refused: list[FolderBusyError] = []

    def take() -> None:
        journal = Journal(place)
        try:
            journal.__enter__()
            taken.append(journal)
        except FolderBusyError as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 2)
    taken[0].__exit__(None, None, None)


def test_a_writer_whose_lease_was_taken_writes_no_more(kit, bucket, place, monkeypatch):
    monkeypatch.setattr(locks, "RENEW_SECONDS", 0.05)
    with Journal(place) as journal:

        def noticed():
            # Once may not do: a renewal that has just looked puts its own lease over it.
            put_owner(bucket, place, pid=7, host="elsewhere", token="y", renewed=time.time())
            return journal._store.lock._lost is not None

        assert until(noticed)
        with pytest.raises(FolderBusyError, match="pid 7 on elsewhere"):
            journal.finish(KeyTable())
    assert ".owner.json" in keys(bucket, place)  # it is not ours to remove


def test_a_lease_that_cannot_be_renewed_is_given_up_in_time(bucket, place, monkeypatch):
    monkeypatch.setattr(locks, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(locks, "STALE_SECONDS", 0.6)
    with Journal(place) as journal:
        lock = journal._store.lock
        with monkeypatch.context() as patch:

            def away(*args: object, **more: object) -> None:
                raise OSError("the store does not answer")

            patch.setattr(lock._objects, "get", away)
            patch.setattr(lock._objects, "put", away)
            assert until(lambda: time.time() - lock._renewed > 0.6)
            with pytest.raises(FolderBusyError, match="could not be renewed for"):
                lock.held()
        lock.held()


def test_a_bucket_that_is_not_there_is_one_clear_error(kit, serve, bucket):
    with pytest.raises(JournalError, match="s3://no-such-bucket/run"):
        kit.run(serve(), kit.ask(1), "s3://no-such-bucket/run")


def test_a_store_that_does_not_answer_is_one_clear_error(kit, serve, bucket):
    with (
        in_environment(bucket.settings("http://127.0.0.1:9") | {"AWS_MAX_ATTEMPTS": "2"}),
        pytest.raises(JournalError, match=r"s3://bucket/run: .*Could not connect"),
    ):
        kit.run(serve(), kit.ask(1), "s3://bucket/run")


@pytest.fixture
def proxy(bucket):
    """A proxy before the store, with faults to come; the environment names it."""
    proxy = FaultProxy(bucket.endpoint).start()
    with in_environment(bucket.settings(proxy.endpoint)):
        yield proxy
    proxy.stop()


@pytest.mark.parametrize("fault", [slow_down, cut])
def test_a_store_that_stumbles_loses_no_row(kit, serve, place, proxy, fault):
    proxy.faults += [fault(3), fault(2, "GET")]
    assert kit.run(serve(), kit.ask(200), place).ok == 200
    assert len(texts(place)) == 200
    assert kit.run(serve(), kit.ask(200), place).reused == 200


def test_a_store_that_goes_away_in_a_run_ends_it_with_one_error_and_keeps_what_was_committed(
    kit, serve, bucket, place, proxy, monkeypatch
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    gone = []

    def leave(request):
        # The third commit is refused, and all that follows.
        if sum(method == "PUT" and "/responses/" in path for method, path in proxy.seen) > 2:
            gone.append(request)
            return web.Response(status=500)
        return None

    proxy.faults.append(leave)
    with pytest.raises(JournalError, match=r"cannot be written .*What was committed before is kept"):
        kit.run(serve(latency=0.05), kit.ask(3000), place)
    assert gone
    proxy.faults.clear()
    monkeypatch.setattr(locks, "STALE_SECONDS", 0.0)
    summary = kit.run(serve(), kit.ask(3000), place)
    assert summary.reused > 0
    assert (summary.ok, summary.sent) == (3000, 3000 - summary.reused)
    assert len(texts(place)) == 3000


def test_a_url_of_an_unknown_kind_is_one_clear_error():
    with pytest.raises(JournalError, match="gopher://x/y"):
        open_store("gopher://x/y")
