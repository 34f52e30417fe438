"""One file to hand on: what is in it, what is not, and what becomes of it when something goes wrong."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import duckdb
import orjson
import polars as pl
import pytest
import s3
import yaml
from limited import LIMITED

import sql
from mbt_assets.definitions import build_platform
from mbt_assets.exporting import Choice, ExportError, chosen_tables, export
from mbt_assets.exporting.choice import TEXTS
from mbt_assets.marts import build_warehouse
from mbt_assets.recipes import recipe
from partitions.grid import Node
from partitions.study_file import parse_study
from resources import warehouse
from resources.home import Home
from resources.lake import Lake, rows_digest
from resources.study_frames import STUDY_TABLES
from resources.tables import LAKE_TABLES

CELL = "trails|rule-teacher__base"
KEY = "sk-marked-0123456789"

# What somebody without this project does: any folder, nothing but duckdb.
READER = """
import json, sys
import duckdb
sys.path.clear()
connection = duckdb.connect(sys.argv[1], read_only=True)
print(json.dumps([connection.execute(statement).fetchall() for statement in sys.argv[2:]], default=str))
"""


def read_alone(file, *statements):
    result = subprocess.run(
        [sys.executable, "-I", "-c", READER, str(file), *statements], capture_output=True, cwd="/", timeout=60
    )
    assert result.returncode == 0, result.stderr.decode()
    return orjson.loads(result.stdout)


def write(platform, target, choice=None, **options):
    lake = platform.artifacts.lake
    return export(target, platform.study, lake, platform.home, choice or Choice(), **options)


def ask(file, statement):
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.sql(statement).pl()


def copy_of(platform, root):
    """The same study in a home of its own, which a test may spoil."""
    shutil.copytree(platform.home.root, root)
    return build_platform(platform.study, Home(root, platform.home.study))


def touch(platform, node, **columns):
    """Write a partition again with other values in some columns."""
    lake = platform.artifacts.lake
    lake.write(node, lake.read(node).with_columns(**columns), lake.stored(node).provenance)


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory):
    """The whole small study in one file, its lake gone."""
    platform = copy_of(made[0], tmp_path_factory.mktemp("copy") / "home")
    build_warehouse(platform.artifacts.lake, platform.artifacts, platform.study)
    with warehouse.reading(platform.home.warehouse) as connection:
        names = [*LAKE_TABLES, *STUDY_TABLES, *sql.VIEWS]
        before = {name: warehouse.query(connection, f"from {name} order by all") for name in names}
    lake = platform.artifacts.lake
    stored = {(table, key): lake.stored(Node(table, key)) for table in LAKE_TABLES for key in lake.keys(table)}
    target = tmp_path_factory.mktemp("given") / "results.duckdb"
    done = write(platform, target)
    shutil.rmtree(platform.home.root)
    return target, done, before, stored


def test_it_opens_with_duckdb_alone_from_anywhere_after_the_lake_is_gone(exported):
    target, _, before, _ = exported
    seen = read_alone(
        target,
        "select count(*) from validation_rollouts",
        "select count(*), count(exact_match), count(verdict_request_digest) from lineage",
        "select count(*) from partition_lineage where is_current",
        "select study, python_version is not null from export_info",
    )
    rollouts = before["validation_rollouts"].height
    assert seen[0] == [[rollouts]]
    assert seen[1] == [[rollouts] * 3]
    assert seen[2][0][0] > 20
    assert seen[3] == [["small", True]]


def test_every_table_has_its_rows_its_descriptions_and_its_key(exported):
    target, done, before, _ = exported
    for name, frame in before.items():
        assert ask(target, f"from {name} order by all").equals(frame), name
    assert done.rows == {table: before[table].height for table in LAKE_TABLES}
    assert done.size == target.stat().st_size
    tables = ask(target, "select table_name, comment from duckdb_tables()")
    assert set(LAKE_TABLES) < set(tables["table_name"])
    assert tables["comment"].null_count() == 0
    undescribed = ask(
        target, "select table_name, column_name from duckdb_columns() where comment is null and not internal"
    )
    assert undescribed.rows() == []
    keys = ask(target, "from duckdb_constraints() where constraint_type = 'PRIMARY KEY'")
    keys = {row["table_name"]: row["constraint_column_names"] for row in keys.iter_rows(named=True)}
    assert set(keys) == set(tables["table_name"])
    assert keys["judge_verdicts"] == ["dataset", "variant", "question_id", "rollout_id", "judge"]
    assert keys["gold_solutions"] == ["dataset", "question_id"]
    assert keys["checkpoints"] == ["variant"]


def test_every_partition_has_its_provenance(exported):
    target, _, _, stored = exported
    rows = {(row["table_name"], row["partition"]): row for row in ask(target, "from provenance").iter_rows(named=True)}
    assert set(rows) == set(stored)
    for (table, key), row in rows.items():
        made = stored[table, key]
        assert (row["data_version"], row["rows"]) == (made.data_version, made.rows)
        assert row["fingerprint"] == made.provenance.fingerprint
        assert orjson.loads(row["recipe"]) == made.provenance.recipe
        assert orjson.loads(row["inputs"]) == made.provenance.inputs
        assert row["run_id"] == made.provenance.run_id
        assert f"{row['materialized_at'].isoformat()}+00:00" == made.provenance.created_at
        assert row["is_exported"]
        assert "|".join(filter(None, (row["dataset"], row["variant"]))) == key


def test_it_says_what_it_is(exported, made):
    target, done, _, _ = exported
    info = ask(target, "from export_info").row(0, named=True)
    assert parse_study(info["study_yaml"]) == made[0].study
    assert (info["duckdb_version"], info["polars_version"]) == (duckdb.__version__, pl.__version__)
    assert info["git_commit"] is None or len(info["git_commit"]) == 40
    assert (info["has_texts"], info["tables_left_out"], info["datasets"]) == (True, [], None)
    assert info["note"] == done.note
    assert info["note"].startswith("2 of 6 cells are complete (4 missing")
    cells = ask(target, "select variant, status, is_in_marts from cells where dataset = 'trails' order by 1").rows()
    assert cells == [
        ("rule-teacher__base", "complete", True),
        ("tiny__base", "missing", False),
        ("tiny__mbt-s", "missing", False),
    ]


def test_cells_that_are_not_whole_are_named(made, tmp_path):
    platform = copy_of(made[0], tmp_path / "home")
    touch(platform, Node("mqi_scores", CELL), checkpoint_digest=pl.lit("another"))
    touch(platform, Node("validation_questions", "wide"), question=pl.col("question") + "?")
    write(platform, tmp_path / "x.duckdb")
    rows = ask(
        tmp_path / "x.duckdb", "select dataset, status, reason, is_in_marts from cells where variant like 'rule%'"
    )
    assert sorted(rows.rows()) == [
        ("trails", "being re-scored", "its scores and figures are of several checkpoints", False),
        ("wide", "stale", "validation_questions[wide] changed", True),
    ]


def test_what_is_written_meanwhile_is_in_it_whole_or_not_at_all(made, tmp_path):
    platform = copy_of(made[0], tmp_path / "home")
    early, late = Node("validation_questions", "trails"), Node("answer_scores", CELL)
    versions = {str(node): platform.artifacts.lake.stored(node).data_version for node in (early, late)}

    def meanwhile(name, done, total):
        if name == "validation_rollouts[" + CELL + "]":
            touch(platform, early, question=pl.col("question") + "?")
            touch(platform, late, predicted_answer=pl.lit("new"))

    write(platform, tmp_path / "x.duckdb", progress=meanwhile)
    provenance = ask(tmp_path / "x.duckdb", "from provenance")
    stored = {
        f"{row['table_name']}[{row['partition']}]": row["data_version"] for row in provenance.iter_rows(named=True)
    }
    assert stored[str(early)] == versions[str(early)]
    assert stored[str(late)] != versions[str(late)]
    dataset, variant = CELL.split("|")
    questions = ask(tmp_path / "x.duckdb", f"from validation_questions where dataset = '{dataset}'")
    scores = ask(tmp_path / "x.duckdb", f"from answer_scores where dataset = '{dataset}' and variant = '{variant}'")
    assert rows_digest(questions) == stored[str(early)]
    assert rows_digest(scores) == stored[str(late)]
    assert set(scores["predicted_answer"]) == {"new"}


def every_text(file):
    with duckdb.connect(str(file), read_only=True) as connection:
        tables = [name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()]
        for table in tables:
            yield str(connection.execute(f"from {table}").fetchall())


def test_no_key_is_in_it(made, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", KEY)
    content = made[0].study.model_dump(mode="json")
    content["models"]["hosted"] = {
        "role": "judge",
        "source": {"kind": "hub", "repo": "a/b"},
        "server": {
            "kind": "openai",
            "base_url": f"https://me:{KEY}@host/v1",
            "model": "m",
            "api_key_env": "SOME_API_KEY",
        },
    }
    content["models"]["served"] = {
        "role": "judge",
        "source": {"kind": "hub", "repo": "a/b"},
        "server": {"kind": "vllm", "options": {"api-key": KEY, "max_model_len": 8}},
    }
    content["judge_sampling"]["extra"] = {"authorization": f"Bearer {KEY}", "top_a": 1}
    study = parse_study(yaml.safe_dump(content))
    platform = copy_of(made[0], tmp_path / "home")
    lake, node = platform.artifacts.lake, Node("judge_verdicts", CELL)
    stored = lake.stored(node)
    lake.write(node, lake.read(node), replace(stored.provenance, recipe=recipe(study, node)))
    export(tmp_path / "x.duckdb", study, lake, platform.home, Choice())
    assert not any(KEY in text for text in every_text(tmp_path / "x.duckdb"))
    assert KEY.encode() not in (tmp_path / "x.duckdb").read_bytes()
    shown = yaml.safe_load(ask(tmp_path / "x.duckdb", "select study_yaml from export_info").item())
    assert shown["models"]["hosted"]["server"]["api_key_env"] == "SOME_API_KEY"
    assert shown["models"]["hosted"]["server"]["base_url"] == "https://***@host/v1"
    assert shown["models"]["served"]["server"]["options"] == {"api-key": "***", "max_model_len": 8}
    told = "select recipe from provenance where table_name = 'judge_verdicts' and dataset || '|' || variant = "
    told = orjson.loads(ask(tmp_path / "x.duckdb", f"{told} '{CELL}'").item())
    assert [asked["extra"] for asked in told["sampling"].values()] == [{"authorization": "***", "top_a": 1}]
    assert KEY in str(lake.stored(node).provenance.recipe)


def test_without_texts_every_figure_and_link_stays(made, exported, tmp_path):
    write(made[0], tmp_path / "x.duckdb", Choice(texts=False))
    columns = set(
        ask(tmp_path / "x.duckdb", "select column_name from duckdb_columns() where not internal")["column_name"]
    )
    assert not columns & TEXTS
    assert ask(tmp_path / "x.duckdb", "from lineage order by all").equals(exported[2]["lineage"])
    assert not ask(tmp_path / "x.duckdb", "select has_texts from export_info").item()
    # A file consists of whole blocks, and the small study has hardly any text.
    assert (tmp_path / "x.duckdb").stat().st_size <= exported[1].size


def test_some_tables_come_with_the_provenance_of_all(made, tmp_path):
    write(made[0], tmp_path / "x.duckdb", Choice(chosen_tables(["marts", "validation_questions"])))
    shown = set(ask(tmp_path / "x.duckdb", "select table_name from information_schema.tables")["table_name"])
    assert {"aes", "cell_metrics", "validation_questions", "partition_lineage", "cells"} <= shown
    assert not {"validation_rollouts", "answer_scores", "lineage", "training_lineage"} & shown
    rows = ask(tmp_path / "x.duckdb", "select table_name, is_exported from provenance").unique()
    assert dict(rows.iter_rows())["aes"] and not dict(rows.iter_rows())["answer_scores"]
    assert ask(tmp_path / "x.duckdb", "select bool_and(is_current) from partition_lineage").item()
    assert "2 of 6 cells are complete" in ask(tmp_path / "x.duckdb", "select note from export_info").item()


def test_a_slice_has_the_rows_of_its_cells_in_every_table(made, tmp_path):
    cells = [Node("cell_metrics", "wide|rule-teacher__base"), Node("validation_questions", "wide")]
    write(made[0], tmp_path / "x.duckdb", Choice(nodes=frozenset(cells)))
    for table in (
        "validation_rollouts",
        "answer_scores",
        "cell_metrics",
        "main_results",
        "cost",
        "validation_questions",
    ):
        assert set(ask(tmp_path / "x.duckdb", f"select dataset from {table}")["dataset"]) == {"wide"}, table
    info = ask(tmp_path / "x.duckdb", "select datasets, variants from export_info").row(0)
    assert info == (["wide"], ["rule-teacher__base"])
    assert ask(tmp_path / "x.duckdb", "select dataset, status from cells").rows() == [("wide", "complete")]


def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(made, tmp_path):
    target = tmp_path / "x.duckdb"
    duckdb.connect(str(target)).close()
    before = target.read_bytes()
    with pytest.raises(ExportError, match=r"x.duckdb is there already: .* --force"):
        write(made[0], target)
    assert target.read_bytes() == before
    write(made[0], target, Choice(chosen_tables(["aes"])), force=True)
    assert ask(target, "select count(*) > 0 from aes").item()
    assert [path.name for path in tmp_path.iterdir()] == ["x.duckdb"]


def test_places_that_cannot_be_are_refused(made, tmp_path):
    with pytest.raises(ExportError, match="is a folder: name a file"):
        write(made[0], tmp_path)
    with pytest.raises(ExportError, match="there is no folder"):
        write(made[0], tmp_path / "none" / "x.duckdb")
    with pytest.raises(ExportError, match="is the study's warehouse"):
        write(made[0], made[0].home.warehouse, force=True)
    with pytest.raises(ExportError, match="there is no table 'nope' to export; there are marts, scores, "):
        chosen_tables(["nope"])


def test_an_empty_lake_gives_no_file(small_study, tmp_path):
    platform = build_platform(small_study, Home(tmp_path / "home", "small"))
    with pytest.raises(ExportError, match=r"nothing to export: .* run `mbt demo` first"):
        write(platform, tmp_path / "x.duckdb")
    assert not (tmp_path / "x.duckdb").exists()


def test_a_damaged_partition_is_named_and_nothing_is_left(made, tmp_path):
    platform = copy_of(made[0], tmp_path / "home")
    node = Node("rrp_scores", CELL)
    path = platform.artifacts.lake.path(node)
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(200) + content[300:])
    (tmp_path / "given").mkdir()
    with pytest.raises(Exception, match=r"rrp_scores\[trails\|rule-teacher__base\]"):
        write(platform, tmp_path / "given" / "x.duckdb")
    assert list((tmp_path / "given").iterdir()) == []


@pytest.fixture
def mbt(made, tmp_path):
    """The command line over the small study, in a process whose files may grow to so many bytes."""
    study = tmp_path / "small.yaml"
    study.write_text(yaml.safe_dump(made[0].study.model_dump(mode="json"), sort_keys=False))
    environment = {**os.environ, "MBT_HOME": str(made[0].home.root), "MBT_STUDY": str(study)}

    def run(*arguments, limit=1 << 40):
        command = [sys.executable, "-c", LIMITED, str(limit), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120)

    return run


def test_a_full_disk_is_one_clear_error_and_leaves_what_was_there(mbt, tmp_path):
    (tmp_path / "given").mkdir()
    target = tmp_path / "given" / "x.duckdb"
    duckdb.connect(str(target)).close()
    before = target.read_bytes()
    result = mbt("export", str(target), "--force", limit=600_000)
    assert result.returncode == 2
    assert f"cannot write {target}" in result.stderr and "Traceback" not in result.stderr
    assert "nothing of it was left there: free space" in result.stderr
    assert [path.name for path in target.parent.iterdir()] == ["x.duckdb"]
    assert target.read_bytes() == before


def test_the_command_writes_the_file_and_says_how_much_it_is(mbt, tmp_path):
    result = mbt("export", "x.duckdb", "--tables", "marts,validation_rollouts", "--dataset", "wide", "--no-text")
    assert result.returncode == 0, result.stderr
    assert "x.duckdb: " in result.stderr and " rows, " in result.stderr
    assert "1 of 3 cells are complete" in result.stderr
    assert read_alone(tmp_path / "x.duckdb", "select count(*) from validation_rollouts") == [[[8]]]
    again = mbt("export", "x.duckdb")
    assert again.returncode == 2 and "is there already" in again.stderr
    assert mbt("export", "y.duckdb", "--dataset", "nope").returncode == 2


def test_a_lake_in_an_object_store_is_exported_likewise(made, exported, tmp_path):
    with s3.serving_bucket() as bucket:
        # Not from the environment: DuckDB then reads it through fsspec.
        lake = Lake(f"{bucket.url}/lake", key=s3.KEY, secret=s3.SECRET, endpoint_url=bucket.endpoint)
        lake.root.fs.put(made[0].artifacts.lake.root.path, f"{bucket.name}/lake", recursive=True)
        done = export(tmp_path / "x.duckdb", made[0].study, lake, made[0].home, Choice())
    assert done.rows == exported[1].rows
    assert read_alone(tmp_path / "x.duckdb", "select count(*), count(f1) from lineage")[0] == [
        [exported[2]["lineage"].height] * 2
    ]
