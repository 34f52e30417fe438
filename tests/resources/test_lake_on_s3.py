"""What the lake does when its object store refuses, breaks off or is not there."""

import multiprocessing
import os
import signal
import threading
import time

import polars as pl
import pytest
from aiohttp import web
from s3 import FaultProxy, cut, in_environment, serving_bucket, slow_down

from partitions.grid import Node
from resources import object_store
from resources.home import HomeError
from resources.lake import Lake, LakeError, Provenance
from resources.tables import TABLES

NODE = Node("base_models", "tiny__base")
PROVENANCE = Provenance("f", {}, {})


def models(count=1, uri="/old"):
    rows = [
        {"variant": f"m{i}__base", "model": f"m{i}", "uri": uri, "revision": None, "digest": "d"} for i in range(count)
    ]
    return pl.DataFrame(rows, schema={name: column.dtype for name, column in TABLES["base_models"].columns().items()})


def large(mib):
    """Rows that take at least so many MiB as Parquet: random digits, of which two are compressed to a byte at best."""
    digests = [os.urandom(1 << 20).hex() for _ in range(mib)]
    return models(mib).with_columns(digest=pl.Series(digests))


@pytest.fixture(scope="module")
def bucket():
    with serving_bucket() as bucket:
        yield bucket


@pytest.fixture
def proxy(bucket):
    """What stands between the lake and the store; the environment names it."""
    proxy = FaultProxy(bucket.endpoint).start()
    with in_environment(bucket.settings(proxy.endpoint)):
        yield proxy
    proxy.stop()


@pytest.fixture
def lake(bucket, proxy, tmp_path):
    lake = Lake(f"{bucket.url}/{tmp_path.name}")
    lake.write(NODE, models(), PROVENANCE)
    proxy.seen.clear()
    return lake


@pytest.mark.parametrize("fault", [slow_down, cut])
def test_a_store_that_stumbles_is_asked_again(lake, proxy, fault):
    proxy.faults.append(fault(2))
    lake.write(NODE, models(uri="/new"), PROVENANCE)
    assert [method for method, _ in proxy.seen] == ["PUT"] * 3
    proxy.faults.append(fault(2, "GET"))
    assert lake.read(NODE).equals(models(uri="/new"))
    assert lake.stored(NODE).rows == 1


def test_bytes_that_break_off_are_fetched_again(lake, proxy):
    broken = [2]

    async def break_off(request):
        if request.method != "GET" or not broken[0]:
            return None
        broken[0] -= 1
        half = web.StreamResponse(headers={"Content-Length": "100000"})
        await half.prepare(request)
        await half.write(b"PAR1")
        request.transport.close()
        return half

    proxy.faults.append(break_off)
    assert lake.read(NODE).equals(models())
    assert broken == [0]


@pytest.mark.parametrize(("fault", "said"), [(slow_down, "SlowDown|reduce your request rate"), (cut, "[Cc]onnection")])
def test_a_store_that_goes_on_refusing_is_one_clear_error_and_the_old_rows_stay(lake, proxy, monkeypatch, fault, said):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    impatient = Lake(str(lake.root))
    impatient.root.fs.retries = 2
    proxy.faults = [fault(1000), fault(1000, "GET"), fault(1000, "HEAD")]
    with pytest.raises(
        LakeError, match=rf"base_models\[tiny__base\]: cannot write s3://.*({said}).*; the old rows stay"
    ):
        impatient.write(NODE, models(uri="/new"), PROVENANCE)
    for read in (impatient.read, impatient.stored, lambda node: impatient.values(node, "uri")):
        with pytest.raises(LakeError, match=r"cannot be read: .*or wait until the store answers again"):
            read(NODE)
    with pytest.raises(LakeError, match="cannot be read"):
        impatient.keys("base_models")
    proxy.faults.clear()
    assert lake.read(NODE).equals(models())


def test_a_bucket_that_is_not_there_is_named_and_not_made(bucket, proxy):
    with pytest.raises(LakeError, match=r"cannot write s3://nobodys-bucket/.*bucket does not exist.*check the bucket"):
        Lake("s3://nobodys-bucket/lake").write(NODE, models(), PROVENANCE)
    assert [found["Name"] for found in bucket.client.list_buckets()["Buckets"]].count("nobodys-bucket") == 0


def test_a_host_that_is_not_there_is_one_clear_error(monkeypatch, bucket):
    with in_environment(bucket.settings("http://no-such-host.invalid:9000") | {"AWS_MAX_ATTEMPTS": "1"}):
        lake = Lake("s3://bucket/lake")
        with pytest.raises(
            LakeError, match=r"cannot write s3://bucket/.*no-such-host\.invalid.*check .* AWS_ENDPOINT_URL"
        ):
            lake.write(NODE, models(), PROVENANCE)
        with pytest.raises(LakeError, match=r"no-such-host\.invalid.*AWS_ENDPOINT_URL"):
            lake.stored(NODE)


@pytest.fixture
def strict(bucket):
    """The server looks at keys, as a real one does."""
    import httpx

    before = httpx.post(f"{bucket.endpoint}/moto-api/reset-auth", content="0").json()
    yield
    count = before["PREVIOUS_INITIAL_NO_AUTH_ACTION_COUNT"]
    httpx.post(f"{bucket.endpoint}/moto-api/reset-auth", content=count)


def test_a_wrong_key_is_one_clear_error_that_does_not_show_it(lake, strict, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-of-nobody")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONGKEY")
    refused = Lake(str(lake.root), skip_instance_cache=True)
    for act in (lambda: refused.write(NODE, models(), PROVENANCE), lambda: refused.read(NODE)):
        with pytest.raises(
            LakeError, match=r"(InvalidAccessKeyId|Access Key Id|Forbidden|PermissionError).*credentials"
        ) as caught:
            act()
        assert "wrong-secret-of-nobody" not in str(caught.value)


def test_no_key_at_all_is_one_clear_error(lake, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(LakeError, match=r"NoCredentialsError.*check .* AWS_ credentials"):
        Lake(str(lake.root), skip_instance_cache=True).write(NODE, models(), PROVENANCE)


def test_a_session_token_of_the_environment_is_sent(bucket, monkeypatch, tmp_path):
    tokens = []
    proxy = FaultProxy(bucket.endpoint).start()
    proxy.faults.append(lambda request: tokens.append(request.headers.get("x-amz-security-token")))
    with in_environment(bucket.settings(proxy.endpoint) | {"AWS_SESSION_TOKEN": "a-token"}):
        Lake(f"{bucket.url}/{tmp_path.name}").write(NODE, models(), PROVENANCE)
    proxy.stop()
    assert set(tokens) == {"a-token"}


def test_a_store_of_ones_own_may_have_a_host_name(bucket, proxy, tmp_path):
    """MinIO and Ceph are found by a name that has no further name for each bucket."""
    with in_environment(bucket.settings(f"http://localhost:{proxy.port}")):
        lake = Lake(f"{bucket.url}/{tmp_path.name}")
        lake.write(NODE, models(), PROVENANCE)
        assert lake.keys("base_models") == ["tiny__base"]
    assert all(path.startswith(f"/{bucket.name}") for _, path in proxy.seen)


@pytest.fixture
def in_small_parts(monkeypatch):
    monkeypatch.setattr(object_store, "PART_BYTES", 5 << 20)


def test_a_large_partition_goes_up_in_parts_and_comes_back_in_one_piece(lake, proxy, in_small_parts):
    frame = large(12)
    lake.write(NODE, frame, PROVENANCE)
    assert sum("partNumber=" in path for _, path in proxy.seen) >= 3
    proxy.seen.clear()
    assert lake.read(NODE).equals(frame)
    assert [method for method, _ in proxy.seen] == ["GET"]  # of two, each could be of another write


def test_an_upload_in_parts_that_fails_is_given_up_and_the_old_rows_stay(
    bucket, lake, proxy, in_small_parts, monkeypatch
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    impatient = Lake(str(lake.root))
    impatient.root.fs.retries = 1
    proxy.faults.append(lambda request: web.Response(status=500) if request.query.get("partNumber") == "2" else None)
    with pytest.raises(LakeError, match="the old rows stay"):
        impatient.write(NODE, large(12), PROVENANCE)
    assert bucket.unfinished() == 0
    assert lake.read(NODE).equals(models())


def write_large(root, environment, part_bytes):
    os.environ.update(environment)
    object_store.PART_BYTES = part_bytes
    Lake(root).write(NODE, large(12), PROVENANCE)


def test_a_writer_killed_between_two_parts_leaves_the_old_rows(bucket, lake, proxy):
    second = threading.Event()

    def hang(request):
        if request.query.get("partNumber") == "2":
            second.set()
            return web.Response(status=503, headers={"Retry-After": "60"})
        return None

    proxy.faults.append(hang)
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=write_large, args=(str(lake.root), dict(os.environ), 5 << 20))
    writer.start()
    assert second.wait(60)
    time.sleep(0.2)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    proxy.faults.clear()
    assert lake.read(NODE).equals(models())
    assert bucket.unfinished() == 1  # invisible; a lifecycle rule of the bucket clears it away
    lake.write(NODE, models(uri="/new"), PROVENANCE)
    assert lake.read(NODE).equals(models(uri="/new"))


def test_a_file_that_is_replaced_while_its_footer_is_read_is_opened_again(bucket, lake, proxy):
    replaced = []

    def replace(request):
        if request.method == "GET" and "Range" in request.headers and not replaced:
            replaced.append(bucket.client.put_object(Bucket=bucket.name, Key=request.path.split("/", 2)[2], Body=newer))

    other = Lake(f"{lake.root}-other")
    other.write(NODE, models(7), PROVENANCE)
    newer = bucket.client.get_object(Bucket=bucket.name, Key=other.path(NODE).path.split("/", 1)[1])["Body"].read()
    proxy.faults.append(replace)
    assert lake.stored(NODE).rows == 7
    assert replaced


def test_a_number_of_tries_that_is_none_is_told(monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")
    with pytest.raises(HomeError, match="AWS_MAX_ATTEMPTS is 'many': give the number of tries"):
        Lake("s3://bucket/lake")
