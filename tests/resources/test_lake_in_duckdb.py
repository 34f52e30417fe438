"""Through what DuckDB reads a lake in an object store, and what it is told for that."""

import duckdb
import pytest
from s3 import FaultProxy, in_environment, serving_bucket

from partitions.grid import Node
from resources.lake import Lake, LakeError, Provenance
from resources.lake_in_duckdb import httpfs_is_installed, one_listing, open_lake
from resources.tables import TABLES


class Told:
    """A connection that answers what DuckDB with the extension would, and keeps what it is told."""

    def __init__(self, installed=True):
        self.installed, self.statements, self.filesystems = installed, [], []

    def execute(self, sql):
        self.statements.append(sql)
        return self

    def fetchall(self):
        return [(self.installed,)]

    def register_filesystem(self, filesystem):
        self.filesystems.append(filesystem)

    @property
    def secret(self):
        return next((sql for sql in self.statements if "SECRET" in sql), None)


@pytest.fixture(scope="module")
def bucket():
    with serving_bucket() as bucket, in_environment(bucket.settings() | {"AWS_SECRET_ACCESS_KEY": "it's secret"}):
        yield bucket


def test_a_folder_needs_nothing(tmp_path):
    connection = Told()
    open_lake(connection, Lake(tmp_path))
    assert (connection.statements, connection.filesystems) == ([], [])


def test_with_the_extension_it_is_used_with_the_settings_of_the_environment(bucket, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    connection = Told()
    open_lake(connection, Lake(f"{bucket.url}/lake"))
    assert "LOAD httpfs" in connection.statements and not connection.filesystems
    for part in (
        "KEY_ID 'test'",
        "SECRET 'it''s secret'",
        "SESSION_TOKEN 'token'",
        "REGION 'us-east-1'",
        f"ENDPOINT '{bucket.endpoint.removeprefix('http://')}'",
        "URL_STYLE 'path'",
        "USE_SSL false",
    ):
        assert part in connection.secret
    assert "PERSISTENT" not in connection.secret  # it would be written to a file of the user's home


def test_amazons_own_store_is_found_by_the_region_alone(bucket, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    connection = Told()
    open_lake(connection, Lake(f"{bucket.url}/lake"))
    assert "REGION 'eu-central-1'" in connection.secret
    assert "ENDPOINT" not in connection.secret


@pytest.mark.parametrize(
    ("installed", "options"), [(False, {}), (True, {"key": "k", "secret": "s"})], ids=["not installed", "own options"]
)
def test_otherwise_it_is_read_through_fsspec(bucket, installed, options):
    lake = Lake(f"{bucket.url}/lake", **options)
    connection = Told(installed)
    open_lake(connection, lake)
    assert connection.filesystems == [lake.files]
    assert connection.secret is None


def test_fsspec_lists_a_table_once_and_gets_each_file_once(bucket):
    proxy = FaultProxy(bucket.endpoint).start()
    with in_environment(bucket.settings(proxy.endpoint)):
        lake = Lake(f"{bucket.url}/counted")
        for number in range(3):
            node = Node("validation_questions", f"k{number}")
            lake.write(node, TABLES["validation_questions"].create_empty(), Provenance("f", {}, {}))
        with duckdb.connect() as connection:
            connection.register_filesystem(lake.files)
            sql = f"SELECT count(*) FROM read_parquet('{lake.glob('validation_questions')}')"
            proxy.seen.clear()
            with one_listing(lake):
                assert connection.execute(sql).fetchall() == [(0,)]
    proxy.stop()
    assert [method for method, _ in proxy.seen] == ["GET"] * 4


def test_without_credentials_the_error_says_what_to_set(bucket, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(LakeError, match="no credentials: set AWS_ACCESS_KEY_ID"):
        open_lake(Told(), Lake(f"{bucket.url}/lake"))


def test_settings_that_duckdb_refuses_are_not_shown(bucket, monkeypatch):
    class Refusing(Told):
        def execute(self, sql):
            if "CREATE" in sql:
                raise duckdb.ParserException(f"syntax error: {sql}")
            return super().execute(sql)

    with pytest.raises(LakeError, match="does not take the AWS_ settings") as caught:
        open_lake(Refusing(), Lake(f"{bucket.url}/lake"))
    assert "it's secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_duckdb_itself_is_asked_and_nothing_is_downloaded():
    with duckdb.connect() as connection:
        sql = "SELECT installed FROM duckdb_extensions() WHERE extension_name = 'httpfs'"
        (there,) = connection.execute(sql).fetchall()[0]
        assert httpfs_is_installed(connection) is there
        assert connection.execute(sql).fetchall() == [(there,)]
