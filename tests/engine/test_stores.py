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
import s3fs

from resources.engine import Endpoint, EngineOptions, FolderBusyError, JournalError, generate, locks, responses
from resources.engine.journal import Journal
from resources.engine.keytable import KeyTable
from resources.engine.stores import open_store

ROOT = Path(__file__).parents[2]
OPTIONS = EngineOptions(concurrency=32, backoff_base=0.02, backoff_cap=0.1)


@pytest.fixture(scope="module")
def s3():
    """Settings in the environment under which `s3://bucket` is a bucket of the stand-in."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield client
    server.stop()


@pytest.fixture
def place(s3, request) -> str:
    return f"s3://bucket/{request.node.name}"


def texts(place: str) -> dict[str, str]:
    frame = responses(place).collect()
    assert frame["request_id"].is_unique().all()
    return dict(zip(frame["request_id"], frame["response"], strict=True))


def keys(s3, place: str) -> list[str]:
    prefix = place.removeprefix("s3://bucket/") + "/"
    listed = s3.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
    return sorted(entry["Key"].removeprefix(prefix) for entry in listed)


def test_a_run_and_its_rerun(kit, serve, s3, place):
    server = serve()
    endpoint = Endpoint(server.base_url, "tiny", "digest")
    assert generate(kit.ask(300), endpoint, place, OPTIONS).ok == 300
    assert len(texts(place)) == 300
    assert ".owner.json" not in keys(s3, place)
    again = generate(kit.ask(310)[5:], endpoint, place, OPTIONS)
    assert (again.sent, again.reused) == (10, 295)
    assert set(texts(place)) == {f"r{number}" for number in range(5, 310)}


def test_killed_it_goes_on_from_what_was_committed(kit, serve, s3, place, tmp_path):
    server = serve(latency=0.02)
    path = tmp_path / "requests.jsonl"
    rows = ({"request_id": r.request_id, "messages": r.messages, "sampling": r.sampling} for r in kit.ask(600))
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    script = "import typer; from mbt_assets.cli.generate import generate; typer.run(generate)"
    command = [sys.executable, "-c", script, str(path), "--base-url", server.base_url, "--model", "tiny"]
    command += ["--model-digest", "digest", "--out", place, "--concurrency", "4"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while not any(key.startswith("responses/") for key in keys(s3, place)):
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


def test_a_second_writer_is_refused_while_the_first_renews_its_lease(s3, place, monkeypatch):
    monkeypatch.setattr(locks, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(locks, "STALE_SECONDS", 1.0)
    with Journal(place):
        time.sleep(1.5)
        with pytest.raises(FolderBusyError, match=f"pid {os.getpid()} "), Journal(place):
            pass
    with Journal(place):
        pass


def test_of_two_that_take_over_a_dead_lease_one_has_it(s3, place, monkeypatch):
    dead = orjson.dumps({"pid": 1, "host": "gone", "token": "x", "renewed": time.time() - 3600})
    s3.put_object(Bucket="bucket", Key=place.removeprefix("s3://bucket/") + "/.owner.json", Body=dead)
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


def test_a_writer_whose_lease_was_taken_writes_no_more(kit, s3, place, monkeypatch):
    monkeypatch.setattr(locks, "RENEW_SECONDS", 0.05)
    with Journal(place) as journal:
        thief = orjson.dumps({"pid": 7, "host": "elsewhere", "token": "y", "renewed": time.time()})
        s3.put_object(Bucket="bucket", Key=place.removeprefix("s3://bucket/") + "/.owner.json", Body=thief)
        time.sleep(0.5)
        with pytest.raises(FolderBusyError, match="pid 7 on elsewhere"):
            journal.finish(KeyTable())
    assert ".owner.json" in keys(s3, place)  # it is not ours to remove


def test_a_lease_that_cannot_be_renewed_is_given_up_in_time(s3, place, monkeypatch):
    monkeypatch.setattr(locks, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(locks, "STALE_SECONDS", 0.6)
    with Journal(place) as journal:
        lock = journal._store.lock
        with monkeypatch.context() as patch:

            def away(*args: object, **more: object) -> None:
                raise OSError("the store does not answer")

            patch.setattr(lock._objects, "get", away)
            patch.setattr(lock._objects, "put", away)
            time.sleep(0.8)
            with pytest.raises(FolderBusyError, match="could not be renewed for"):
                lock.held()
        lock.held()


def test_a_bucket_that_is_not_there_is_one_clear_error(kit, serve, s3):
    with pytest.raises(JournalError, match="s3://no-such-bucket/run"):
        kit.run(serve(), kit.ask(1), "s3://no-such-bucket/run")


def test_a_store_that_does_not_answer_is_one_clear_error(kit, serve, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(JournalError, match=r"s3://bucket/run: .*Could not connect"):
        kit.run(serve(), kit.ask(1), "s3://bucket/run")
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_url_of_an_unknown_kind_is_one_clear_error():
    with pytest.raises(JournalError, match="gopher://x/y"):
        open_store("gopher://x/y")
