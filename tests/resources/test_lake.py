import io
import itertools
import multiprocessing
import os
import signal
import subprocess
import time

import duckdb
import polars as pl
import pytest
from s3 import in_environment, serving_bucket

from partitions.grid import Node
from partitions.study_file import load_study
from resources import lake_in_duckdb, warehouse
from resources.lake import Lake, LakeError, Provenance, rows_digest
from resources.lake_in_duckdb import steadily
from resources.tables import LAKE_TABLES, SQL_TABLES, TABLES

NODE = Node("base_models", "tiny__base")
PROVENANCE = Provenance("f", {"prompt": "p"}, {"train_questions[a]": "v"}, "run", "2026-01-01T00:00:00+00:00")
# One import for all processes: each is a fork of one that has loaded everything.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["resources.warehouse"])


def models(count=1, uri="/somewhere"):
    """Rows of `base_models`; the first is of a variant of the embedded study."""
    names = ["tiny", *(f"m{i}" for i in range(1, count))]
    rows = [{"variant": f"{name}__base", "model": name, "uri": uri, "revision": None, "digest": "d"} for name in names]
    return pl.DataFrame(rows, schema={name: column.dtype for name, column in TABLES["base_models"].columns().items()})


@pytest.fixture(scope="module")
def bucket():
    with serving_bucket() as bucket, in_environment(bucket.settings()):
        yield bucket


@pytest.fixture(params=["folder", "s3"])
def root(request, tmp_path):
    """A folder, or a prefix in a real S3 server's bucket."""
    if request.param == "folder":
        return str(tmp_path / "lake")
    return f"{request.getfixturevalue('bucket').url}/{tmp_path.name}"


@pytest.fixture
def lake(root):
    return Lake(root)


def test_a_partition_comes_back_as_it_was_written(lake):
    stored = lake.write(NODE, models(3), PROVENANCE)
    assert lake.read(NODE).equals(models(3))
    assert lake.stored(NODE) == stored
    assert stored.provenance == PROVENANCE
    assert stored.rows == 3
    assert lake.keys("base_models") == ["tiny__base"]


def test_rows_in_batches_are_of_one_write_although_another_follows(lake):
    old = lake.write(NODE, models(5, "/old"), PROVENANCE)
    stored, batches = lake.batches_of(NODE, ["variant", "uri"], 2)
    first = next(batches)
    lake.write(NODE, models(3, "/new"), PROVENANCE)
    read = [first, *batches]
    assert stored == old and [batch.num_rows for batch in read] == [2, 2, 1]
    assert pl.from_arrow(read).equals(models(5, "/old").select("variant", "uri"))
    with pytest.raises(LakeError, match="is not in the lake"):
        lake.batches_of(Node("base_models", "none"), ["variant"], 2)


def test_a_two_dimensional_key_is_found_again(lake):
    cell = Node("checkpoints", "trails|tiny__mbt-r")
    frame = pl.DataFrame(schema={name: column.dtype for name, column in TABLES["checkpoints"].columns().items()})
    lake.write(cell, frame, PROVENANCE)
    assert lake.keys("checkpoints") == ["trails|tiny__mbt-r"]


def test_the_data_version_is_that_of_the_rows_whatever_their_order(lake):
    frame = models(50)
    again = pl.concat([frame[25:], frame[:25]])
    assert lake.write(NODE, frame, PROVENANCE).data_version == lake.write(NODE, again, PROVENANCE).data_version
    assert rows_digest(models(50, uri="/elsewhere")) != rows_digest(frame)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda f: f.drop("uri"), "column uri is missing"),
        (lambda f: f.with_columns(extra=1), "column extra is not declared"),
        (lambda f: f.with_columns(uri=pl.lit(3, pl.Int64)), "column uri is Int64, declared String"),
        (lambda f: pl.concat([f, f]), r"primary_key \(2 rows\); first bad rows: \[{'variant': 'tiny__base'}"),
        (lambda f: f.with_columns(uri=pl.lit(None, pl.String)), r"uri\|nullability.*'tiny__base'"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_the_old_ones_stay(lake, spoil, why):
    lake.write(NODE, models(), PROVENANCE)
    with pytest.raises(LakeError, match=why) as caught:
        lake.write(NODE, spoil(models()), PROVENANCE)
    assert "base_models[tiny__base]" in str(caught.value)
    assert lake.read(NODE).equals(models())


def test_a_partition_that_was_never_made_is_named(lake):
    assert lake.stored(NODE) is None
    with pytest.raises(LakeError, match=r"base_models\[tiny__base\] is not in the lake.*materialize it first"):
        lake.read(NODE)


def test_a_damaged_file_is_named(lake):
    lake.write(NODE, models(), PROVENANCE)
    lake.path(NODE).write_bytes(b"PAR1 nonsense")
    with pytest.raises(LakeError, match="cannot be read as Parquet"):
        lake.read(NODE)
    with pytest.raises(LakeError, match="is damaged"):
        lake.stored(NODE)


def test_a_file_that_no_longer_fits_the_schema_is_refused_on_read(lake):
    lake.write(NODE, models(), PROVENANCE)
    lake.path(NODE).write_bytes(parquet(models().drop("uri")))
    with pytest.raises(LakeError, match="column uri is missing"):
        lake.read(NODE)


def parquet(frame):
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def write_for_ever(root, environment, started):
    """Replaces one partition again and again; each version has one uri and 2 000 rows."""
    os.environ.update(environment)
    lake = Lake(root)
    started.set()
    version = 0
    while True:
        version += 1
        lake.write(NODE, models(2_000, uri=f"/version/{version}"), PROVENANCE)


def test_a_writer_killed_at_any_moment_never_leaves_half_a_partition(lake, root):
    lake.write(NODE, models(2_000, uri="/version/0"), PROVENANCE)
    for trial in range(20 if lake.root.protocol == "" else 10):
        started = CONTEXT.Event()
        writer = CONTEXT.Process(target=write_for_ever, args=(root, dict(os.environ), started))
        writer.start()
        assert started.wait(60)
        time.sleep(0.005 * trial)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        frame = lake.read(NODE)
        assert frame.height == 2_000
        assert frame["uri"].n_unique() == 1
        assert lake.stored(NODE).data_version == rows_digest(frame)


def questions(dataset, version, count=500):
    """Rows of `validation_questions` that all carry the version."""
    schema = {name: column.dtype for name, column in TABLES["validation_questions"].columns().items()}
    text = {"question": f"version {version}", "answer": "a", "tier": "medium", "dataset": dataset}
    lists = {"aliases": [], "documents": [], "supporting_facts": []}
    rest = {"question_type": None, "level": None, "answerable": True}
    rows = [{"question_id": f"q{i}", "sample_id": i + 1, **text, **lists, **rest} for i in range(count)]
    return pl.DataFrame(rows, schema=schema)


def write_versions(root, environment, dataset, versions, pause=0.0, seen=None):
    """Write versions of a dataset one after the other; the last one once the event `seen` is set."""
    os.environ.update(environment)
    lake = Lake(root)
    for version in range(versions):
        if seen and version == versions - 1:
            seen.wait()
        # No two versions have as many rows: rows of one that are read by the footer of another would show.
        lake.write(Node("validation_questions", dataset), questions(dataset, version, 500 + version), PROVENANCE)
        time.sleep(pause)


def study_of(names):
    """The embedded study with datasets of these names."""
    study = load_study("embedded")
    study = study.model_copy(update={"datasets": dict.fromkeys(names, study.datasets["trails"])})
    return study.model_copy(update={"training_datasets": names[:1]})


VERSIONS = """
    SELECT dataset, count(*) AS rows, min(question) AS oldest, max(question) AS newest
    FROM validation_questions GROUP BY dataset ORDER BY dataset
"""


def whole(rows):
    """Whether the rows of every dataset are all of one version, and all that it has."""
    return all(oldest == newest == f"version {count - 500}" for _, count, oldest, newest in rows)


def test_eight_writers_and_a_reader_of_the_warehouse_never_disturb_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(lake_in_duckdb, "TRIES", 100)
    names = [f"k{i}" for i in range(8)]
    study = study_of(names)
    lake = Lake(tmp_path / "lake")
    for table in SQL_TABLES:
        lake.ensure_schema(table, pl.DataFrame(schema={"dataset": pl.String, "variant": pl.String}))
    path = tmp_path / "mbt.duckdb"
    warehouse.build(path, lake, study, {})
    some_seen = CONTEXT.Event()
    arguments = [(lake.root.path, {}, name, 6, 0.3, some_seen) for name in names]
    writers = [CONTEXT.Process(target=write_versions, args=words) for words in arguments]
    for writer in writers:
        writer.start()
    most = 0
    with warehouse.reading(path, lake) as connection:
        while any(writer.is_alive() for writer in writers):
            seen = warehouse.query(connection, VERSIONS, lake=lake).rows()
            assert whole(seen), seen
            warehouse.build(path, lake, study, {})
            most = max(most, len(seen))
            if most:
                some_seen.set()
        assert [writer.exitcode for writer in writers] == [0] * 8
        last = warehouse.query(connection, VERSIONS, lake=lake).rows()
    assert last == [(name, 505, "version 5", "version 5") for name in names]
    assert most > 0


def test_a_query_reads_rows_of_whole_writes_while_partitions_are_replaced(lake, root, monkeypatch):
    monkeypatch.setattr(lake_in_duckdb, "TRIES", 100)
    names = ["k0", "k1"]
    for name in names:
        write_versions(root, {}, name, 1)
    some_seen = CONTEXT.Event()
    arguments = [(root, dict(os.environ), name, 12, 0.4, some_seen) for name in names]
    writers = [CONTEXT.Process(target=write_versions, args=words) for words in arguments]
    for writer in writers:
        writer.start()
    different = set()
    with warehouse.lake_connection(lake, study_of(names), ("validation_questions",)) as connection:

        def look():
            seen = steadily(lake, lambda: connection.execute(VERSIONS).fetchall(), ("validation_questions",))
            assert len(seen) == 2 and whole(seen), seen
            different.add(tuple(seen))
            some_seen.set()

        while any(writer.is_alive() for writer in writers):
            look()
        look()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(different) > 1


def test_two_writers_of_one_partition_leave_the_rows_of_the_last(lake, root):
    writers = [CONTEXT.Process(target=write_versions, args=(root, dict(os.environ), "k0", 5)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    node = Node("validation_questions", "k0")
    assert lake.read(node).equals(questions("k0", 4, 504))
    assert lake.stored(node).data_version == rows_digest(questions("k0", 4, 504))


def test_a_query_that_is_disturbed_at_every_try_says_so(lake, monkeypatch):
    monkeypatch.setattr(lake_in_duckdb, "PAUSE_S", 0.0)

    node, counts = Node("validation_questions", "k0"), itertools.count(1)

    def disturbed():
        lake.write(node, questions("k0", 0, next(counts)), PROVENANCE)
        return []

    disturbed()
    with pytest.raises(LakeError, match=r"replaced during each of 6 tries.*validation_questions/partition=k0"):
        steadily(lake, disturbed)


def test_what_another_process_wrote_is_seen_at_once(lake, root):
    assert lake.keys("validation_questions") == []
    assert lake.stored(Node("validation_questions", "k0")) is None
    writer = CONTEXT.Process(target=write_versions, args=(root, dict(os.environ), "k0", 1))
    writer.start()
    writer.join()
    assert lake.keys("validation_questions") == ["k0"]
    assert lake.stored(Node("validation_questions", "k0")).rows == 500


@pytest.fixture
def tiny_disk(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_partition(tiny_disk):
    lake = Lake(tiny_disk)
    lake.write(NODE, models(10), PROVENANCE)
    (tiny_disk / "filler").write_bytes(os.urandom(200_000))
    big = models(20_000).with_columns(digest=pl.Series([os.urandom(32).hex() for _ in range(20_000)]))
    with pytest.raises(LakeError, match=r"base_models\[tiny__base\]: cannot write .*; the old rows stay: free space"):
        lake.write(NODE, big, PROVENANCE)
    assert lake.read(NODE).equals(models(10))
    assert [path.name for path in lake.path(NODE).parent.iterdir()] == ["rows.parquet"]


def test_every_table_is_an_empty_view_before_anything_was_made(lake):
    connection = warehouse.lake_connection(lake, load_study("embedded"))
    for table, schema in TABLES.items():
        described = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
        assert described == schema.column_names()
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    lake.write(NODE, models(), PROVENANCE)
    assert connection.execute("SELECT variant FROM base_models").fetchall() == [("tiny__base",)]


def test_another_kind_of_store_is_read_through_fsspec(tmp_path):
    lake = Lake(f"memory://{tmp_path}/lake")
    lake.write(NODE, models(), PROVENANCE)
    connection = warehouse.lake_connection(lake, load_study("embedded"))
    assert connection.execute("SELECT variant FROM base_models").fetchall() == [("tiny__base",)]


def test_the_names_of_all_lake_tables_are_distinct():
    assert len(set(LAKE_TABLES)) == len(LAKE_TABLES)
    assert isinstance(duckdb.__version__, str)
