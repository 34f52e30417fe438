"""No secret of the environment is left anywhere: a run with marked ones, and then a search of all that it wrote."""

import contextlib
import io
import itertools
from pathlib import Path

import dagster as dg
import duckdb
import psycopg2
import pyarrow.parquet as pq
import pytest
from judge_server import JudgeServer, refusal, task_of
from judged_cell import judged_by
from postgres import PASSWORD, QUOTED, serving_postgres
from s3 import in_environment, serving_bucket
from small import run
from small_training import study_of

from jobs.plan import final_nodes, slice_of, units
from mbt_assets.definitions import build_platform
from partitions.grid import Node
from partitions.study import Split
from resources.home import Home

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "marked-aws-secret-0123456789",
    "AWS_SESSION_TOKEN": "marked-aws-token-0123456789",
    "HF_TOKEN": "hf_markedtoken0123456789",
    "OPENAI_API_KEY": "sk-marked-0123456789",
    "WANDB_API_KEY": "marked-wandb-0123456789",
}
MARKS = [*SECRETS.values(), PASSWORD, QUOTED]
SOMEBODY = Node("base_models", "tiny__base")


def quoting_judge(lines):
    """A judge that needs a key, and quotes it in an error now and then."""
    hits = itertools.count()

    def spoil(body, reply):
        lines.update(command_lines())
        if task_of(body) == "answer hit" and next(hits) % 3 == 0:
            return refusal(f"the key {SECRETS['OPENAI_API_KEY']} may not ask that")
        return reply

    return JudgeServer(spoil).start()


def command_lines():
    """Command lines of all processes: anybody on the machine can read them."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield file.read_bytes().replace(b"\0", b" ")


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What a run of every kind of step has left: bytes by the name of the place."""
    home = tmp_path_factory.mktemp("home")
    lines = set()
    judge = quoting_judge(lines)
    with contextlib.ExitStack() as stack:
        bucket = stack.enter_context(serving_bucket())
        database = stack.enter_context(serving_postgres()).database("dagster")
        settings = {"MBT_LAKE": f"{bucket.url}/lake", "MBT_ENGINE": f"{bucket.url}/engine", "MBT_POSTGRES": database}
        stack.enter_context(in_environment(bucket.settings() | SECRETS | settings))
        study = judged_by(study_of(), {"hosted": judge})
        # As little of everything as there can be.
        trails = study.datasets["trails"].model_copy(update={"validation": Split(name="validation", limit=6)})
        study = study.model_copy(update={"datasets": {"trails": trails}})
        server = study.models["hosted"].server.model_copy(update={"api_key_env": "OPENAI_API_KEY"})
        hosted = study.models["hosted"].model_copy(update={"server": server})
        platform = build_platform(
            study.model_copy(update={"models": study.models | {"hosted": hosted}}), Home(home, "small")
        )
        grid = platform.axes.grid
        planned = units(grid, slice_of(grid, variants={"rule-teacher__base"}) | {SOMEBODY} | final_nodes())
        reports = run(platform, planned)
        assert {report.outcome for report in reports.values()} == {"made"}, reports
        assert len(judge.asked) > 20
        found = {"command lines": b"\n".join(lines)}
        found |= {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
        found |= {f"database {name}": rows for name, rows in tables_of(database)}
        found |= {f"warehouse {name}": rows for name, rows in views_of(platform.home.warehouse)}
        found |= {f"run {name}": text for name, text in runs()}
        for key in bucket.names():
            found[key] = bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
    judge.stop()
    found |= {f"rows of {name}": unpacked(data) for name, data in found.items() if name.endswith(".parquet")}
    return found


def unpacked(data):
    """A Parquet file without its compression: footer and rows."""
    file = pq.ParquetFile(io.BytesIO(data))
    return repr((file.metadata.metadata, file.read().to_pylist())).encode()


def tables_of(database):
    with contextlib.closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{name}"')
            yield name, repr(cursor.fetchall()).encode()


def views_of(warehouse):
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        yield "views", repr(connection.execute("SELECT view_name, sql FROM duckdb_views()").fetchall()).encode()
        for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            yield name, repr(connection.execute(f"SELECT * FROM {name}").fetchall()).encode()


def runs():
    """Settings, tags and events of every run, with their metadata."""
    with dg.DagsterInstance.get() as instance:
        for made in instance.get_runs():
            yield made.run_id, repr((made.run_config, made.tags, instance.all_logs(made.run_id))).encode()


@pytest.mark.parametrize("mark", MARKS)
def test_a_secret_is_nowhere_in_what_a_run_leaves(left, mark):
    assert [place for place, data in left.items() if mark.encode() in data] == []


@pytest.mark.parametrize(
    "place",
    [
        "command lines",
        "database event_logs",
        "warehouse views",
        "lake/",
        "engine/",
        "rows of",
        ".log",
        "spec",
        "run ",
    ],
)
def test_the_search_looked_there(left, place):
    assert any(place in name and data for name, data in left.items()), sorted(left)[:50]


def test_a_key_that_a_server_quotes_is_blotted_out(left):
    hits = [data for name, data in left.items() if name.startswith("rows of") and "answer_hits" in name]
    assert any(b"the key *** may not ask that" in data for data in hits)
