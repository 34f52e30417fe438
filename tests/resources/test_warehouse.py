from datetime import datetime

import polars as pl
import pytest

from partitions.grid import Node
from partitions.study_file import load_study
from resources import warehouse
from resources.lake import Lake, Provenance
from resources.tables import SQL_TABLES, TABLES
from resources.warehouse import QueryError


@pytest.fixture
def built(tmp_path):
    lake = Lake(tmp_path / "lake")
    for table in SQL_TABLES:
        lake.ensure_schema(table, pl.DataFrame(schema={"dataset": pl.String, "variant": pl.String}))
    path = tmp_path / "mbt.duckdb"
    warehouse.build(
        path, lake, load_study("embedded"), {"aes": ("It's a mart.", {"dataset": "which one", "nope": "x"})}
    )
    return path


def asked(path, sql):
    with warehouse.reading(path) as connection:
        return warehouse.query(connection, sql)


def test_variants_and_settings_are_there(built):
    frame = asked(built, "SELECT variant, base_variant FROM variants WHERE mode = 'mbt-r'")
    assert frame.rows() == [("tiny__mbt-r", "tiny__base")]
    assert asked(built, "SELECT alpha, beta, gamma, primary_judge FROM settings").rows() == [
        (1.0, 3.0, 5.0, "rule-judge")
    ]


def test_what_is_trained_on_what_is_there(built):
    rows = asked(built, "SELECT * EXCLUDE (datasets) FROM trainings WHERE variant LIKE '%mbt-r%' ORDER BY 1").rows()
    assert rows == [
        ("tiny__mbt-r", "sft", "rewritten_traces", "tiny__mbt-r", "tiny__base", None, False),
        ("tiny__mbt-r-grpo", "grpo", "train_questions", None, "tiny__mbt-r", 64, False),
    ]


def test_every_partition_of_the_study_is_there_with_its_axes(built):
    of = "SELECT partition, dataset, variant FROM partitions WHERE table_name = "
    assert asked(built, of + "'base_models' ORDER BY 1").rows()[0] == ("rule-teacher__base", None, "rule-teacher__base")
    assert asked(built, of + "'gold_solutions' ORDER BY 1").rows()[0] == ("trails", "trails", None)
    assert ("trails|tiny__base", "trails", "tiny__base") in asked(built, of + "'cell_metrics'").rows()
    assert asked(built, of + "'aes'").rows() == [("", None, None)]


def test_the_provenance_of_every_partition_is_read_from_its_file(built, tmp_path):
    lake = Lake(tmp_path / "lake")
    made = Provenance(
        "f", {"prompt": "p"}, {"checkpoints[tiny__base]": "v"}, "run", "2026-01-01T12:00:00+00:00", "hub:1"
    )
    for key in ("trails|tiny__base", "dropped|tiny__base"):
        lake.write(Node("answer_scores", key), TABLES["answer_scores"].create_empty(), made)
    stored = lake.stored(Node("answer_scores", "trails|tiny__base"))
    (row,) = asked(built, "FROM provenance").rows()
    at = datetime(2026, 1, 1, 12)
    what = (stored.data_version, 0, "f", '{"prompt":"p"}', '{"checkpoints[tiny__base]":"v"}', "run", at, "hub:1")
    assert row == ("answer_scores", "trails|tiny__base", "trails", "tiny__base", *what)


def test_descriptions_stand_in_the_catalogue(built):
    frame = asked(built, "SELECT comment FROM duckdb_views() WHERE view_name = 'aes'")
    assert frame.rows() == [("It's a mart.",)]
    frame = asked(built, "SELECT comment FROM duckdb_columns() WHERE table_name = 'aes' AND column_name = 'dataset'")
    assert frame.rows() == [("which one",)]


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW TABLES",
        "DESCRIBE aes",
        "SUMMARIZE variants",
        "EXPLAIN SELECT 1",
        "-- why\nexplain analyze (format json) (SELECT 1)",
        "WITH a AS (SELECT 1) FROM a",
        "SELECT 'copy' AS query; -- and a comment",
        "EXPLAIN SELECT /* a /* nested */ comment */ 'a -- text', $$ /* $$ AS copy;",
    ],
)
def test_all_kinds_of_reading_are_allowed(built, sql):
    assert asked(built, sql).height > 0


WRITES = "WITH a AS (COPY (SELECT 1) TO ''/tmp/never.csv'') FROM a"
WRITES_TWICE = WRITES.replace("'", "''")


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DROP VIEW aes", "read-only: DROP is not allowed"),
        ("COPY variants TO '/tmp/never.csv'", "read-only: COPY"),
        ("ATTACH 'x.db'", "read-only: ATTACH"),
        ("EXPLAIN ANALYZE COPY variants TO '/tmp/never.csv'", "read-only: COPY"),
        ("explain /* ( */ (analyze, format json)\ncopy variants to '/tmp/never.csv'", "read-only: COPY"),
        ("EXPLAIN /* /* */ SELECT 1 -- */ ANALYZE COPY (SELECT 1 AS a) TO '/tmp/never.csv'", "read-only: COPY"),
        ("EXPLAIN ANALYSE COPY variants TO '/tmp/never.csv'", "read-only: COPY"),
        ("WITH a AS (COPY (SELECT 1) TO '/tmp/never.csv') FROM a", "read-only: COPY"),
        ("EXPLAIN ANALYZE WITH a AS (/* */ copy (SELECT 1) TO '/tmp/never.csv') SELECT 1", "read-only: COPY"),
        (f"FROM json_execute_serialized_sql(json_serialize_sql('{WRITES}'))", "read-only: COPY"),
        (f"FROM query('FROM json_exe' || 'cute_serialized_sql(json_serialize_sql(''{WRITES_TWICE}''))')", "COPY"),
        ("-- EXPLAIN SELECT 1\nEXPLAIN ANALYZE CREATE TEMP TABLE x AS SELECT 1", "read-only: CREATE"),
        ("SELECT 1; SELECT 2", "one SQL statement; this is 2"),
        ("", "one SQL statement; this is 0"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nowhere", "nowhere"),
    ],
)
def test_anything_else_is_refused_with_one_clear_message(built, sql, why):
    with pytest.raises(QueryError, match=why):
        asked(built, sql)


def test_a_text_that_only_names_writing_is_no_writing_and_may_have_parameters(built):
    with warehouse.reading(built) as connection:
        rows = warehouse.query(connection, "SELECT '/home/query/copy' AS path WHERE ? = 1", [1])
    assert rows.rows() == [("/home/query/copy",)]


def test_a_missing_warehouse_says_how_to_get_one(tmp_path):
    with pytest.raises(QueryError, match="run `mbt demo`"), warehouse.reading(tmp_path / "none.duckdb"):
        pass


def test_it_can_be_deleted_and_rebuilt(built, tmp_path):
    built.unlink()
    counts = warehouse.build(built, Lake(tmp_path / "lake"), load_study("embedded"), {})
    assert counts["aes"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "mbt.duckdb"]


def test_a_build_that_fails_leaves_the_old_file(built, tmp_path, monkeypatch):
    monkeypatch.setattr(warehouse, "_count", lambda *_: 1 / 0)
    before = built.stat().st_ino
    with pytest.raises(ZeroDivisionError):
        warehouse.build(built, Lake(tmp_path / "lake"), load_study("embedded"), {})
    assert built.stat().st_ino == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "mbt.duckdb"]


def test_partitions_that_the_study_no_longer_has_are_not_shown(built, tmp_path):
    """The lake keeps them: the study may take them up again."""
    lake = Lake(tmp_path / "lake")
    for dataset in ("trails", "dropped"):
        for slug in ("tiny__base", "dropped__base"):
            row = {"dataset": dataset, "variant": slug, "question_id": "q1", "rollout_id": 1}
            frame = TABLES["answer_scores"].sample(1, overrides=row)
            lake.write(Node("answer_scores", f"{dataset}|{slug}"), frame, Provenance("f", {}, {}))
    assert asked(built, "SELECT dataset, variant FROM answer_scores").rows() == [("trails", "tiny__base")]
    assert len(lake.keys("answer_scores")) == 4


def test_a_warehouse_that_was_moved_with_its_lake_is_known_to_read_the_old_place(built, tmp_path):
    assert warehouse.reads(built, Lake(tmp_path / "lake"))
    assert not warehouse.reads(built, Lake(tmp_path / "moved" / "lake"))
    assert not warehouse.reads(tmp_path / "none.duckdb", Lake(tmp_path / "lake"))
