import multiprocessing
import os
import signal
import subprocess
import time

import duckdb
import polars as pl
import pytest

from partitions.grid import Node
from partitions.study_file import load_study
from resources import warehouse
from resources.lake import Lake, LakeError, Provenance, rows_digest
from resources.tables import LAKE_TABLES, SQL_TABLES, TABLES

NODE = Node("base_models", "tiny__base")
PROVENANCE = Provenance("f", {"prompt": "p"}, {"train_questions[a]": "v"}, "run", "2026-01-01T00:00:00+00:00")
CONTEXT = multiprocessing.get_context("spawn")


def models(count=1, uri="/somewhere"):
    """Rows of `base_models`; the first is of a variant of the embedded study."""
    names = ["tiny", *(f"m{i}" for i in range(1, count))]
    rows = [{"variant": f"{name}__base", "model": name, "uri": uri, "revision": None, "digest": "d"} for name in names]
    return pl.DataFrame(rows, schema={name: column.dtype for name, column in TABLES["base_models"].columns().items()})


@pytest.fixture(params=["folder", "memory"])
def lake(request, tmp_path):
    return Lake(tmp_path / "lake" if request.param == "folder" else f"memory://{tmp_path}/lake")


def test_a_partition_comes_back_as_it_was_written(lake):
    stored = lake.write(NODE, models(3), PROVENANCE)
    assert lake.read(NODE).equals(models(3))
    assert lake.stored(NODE) == stored
    assert stored.provenance == PROVENANCE
    assert stored.rows == 3
    assert lake.keys("base_models") == ["tiny__base"]


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


def test_a_file_that_no_longer_fits_the_schema_is_refused_on_read(tmp_path):
    lake = Lake(tmp_path)
    lake.write(NODE, models(), PROVENANCE)
    models().drop("uri").write_parquet(str(lake.path(NODE)))
    with pytest.raises(LakeError, match="column uri is missing"):
        lake.read(NODE)


def write_for_ever(root, started):
    """Replaces one partition again and again; each version has one uri and 2 000 rows."""
    lake = Lake(root)
    started.set()
    version = 0
    while True:
        version += 1
        lake.write(NODE, models(2_000, uri=f"/version/{version}"), PROVENANCE)


def test_a_writer_killed_at_any_moment_never_leaves_half_a_partition(tmp_path):
    lake = Lake(tmp_path)
    lake.write(NODE, models(2_000, uri="/version/0"), PROVENANCE)
    # One import for all the victims: each is a fork of a process that has loaded everything.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["resources.lake"])
    for trial in range(50):
        started = server.Event()
        writer = server.Process(target=write_for_ever, args=(str(tmp_path), started))
        writer.start()
        assert started.wait(60)
        time.sleep(0.002 * trial)
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


def write_versions(root, dataset, versions):
    lake = Lake(root)
    for version in range(versions):
        lake.write(Node("validation_questions", dataset), questions(dataset, version), PROVENANCE)


def test_eight_writers_and_a_reader_of_the_warehouse_never_disturb_each_other(tmp_path):
    study = load_study("embedded")
    names = [f"k{i}" for i in range(8)]
    study = study.model_copy(update={"datasets": dict.fromkeys(names, study.datasets["trails"])})
    study = study.model_copy(update={"training_datasets": names[:1]})
    lake = Lake(tmp_path / "lake")
    for table in SQL_TABLES:
        lake.ensure_schema(table, pl.DataFrame(schema={"dataset": pl.String, "variant": pl.String}))
    path = tmp_path / "mbt.duckdb"
    warehouse.build(path, lake, study, {})
    writers = [CONTEXT.Process(target=write_versions, args=(str(tmp_path / "lake"), name, 20)) for name in names]
    for writer in writers:
        writer.start()
    most = 0
    with warehouse.reading(path) as connection:
        while any(writer.is_alive() for writer in writers):
            sql = "SELECT dataset, count(*), count(DISTINCT question) FROM validation_questions GROUP BY dataset"
            seen = connection.execute(sql).fetchall()
            assert {(rows, versions) for _, rows, versions in seen} <= {(500, 1)}
            warehouse.build(path, lake, study, {})
            most = max(most, len(seen))
    assert [writer.exitcode for writer in writers] == [0] * 8
    with warehouse.reading(path) as connection:
        sql = "SELECT count(*), count(DISTINCT dataset) FROM validation_questions WHERE question = 'version 19'"
        assert connection.execute(sql).fetchone() == (4_000, 8)
    assert most > 0


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


def test_every_table_is_an_empty_view_before_anything_was_made(tmp_path):
    lake = Lake(tmp_path)
    connection = warehouse.lake_connection(lake, load_study("embedded"))
    for table, schema in TABLES.items():
        described = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
        assert described == schema.column_names()
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    lake.write(NODE, models(), PROVENANCE)
    assert connection.execute("SELECT variant FROM base_models").fetchall() == [("tiny__base",)]


def test_an_object_store_is_read_through_fsspec(tmp_path):
    lake = Lake(f"memory://{tmp_path}/lake")
    lake.write(NODE, models(), PROVENANCE)
    connection = warehouse.lake_connection(lake, load_study("embedded"))
    assert connection.execute("SELECT variant FROM base_models").fetchall() == [("tiny__base",)]


def test_the_names_of_all_lake_tables_are_distinct():
    assert len(set(LAKE_TABLES)) == len(LAKE_TABLES)
    assert isinstance(duckdb.__version__, str)
