"""The command line as a user meets it: real processes, exit codes, no stack trace for a mistake."""

import io
import json
import os
import shutil
import subprocess
import sys

import polars as pl
import pytest
import yaml


def mbt(*arguments, home=None, study=None, **environment):
    env = {**os.environ, **environment}
    env.pop("MBT_STUDY", None)
    if home:
        env["MBT_HOME"] = str(home)
    if study:
        env["MBT_STUDY"] = str(study)
    command = [sys.executable, "-m", "mbt_assets.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, env=env, timeout=280)


def refused(result, *words):
    """The command ended as a user's mistake does: exit status 2, a clear message, no stack trace."""
    message = " ".join(result.stderr.decode().replace("│", " ").split())
    assert result.returncode == 2, message
    assert "Traceback" not in message
    for word in words:
        assert word in message, message


@pytest.fixture(scope="module")
def small(made, small_study, tmp_path_factory):
    """Home and study file of the small study, whose teacher cells are made."""
    platform, _ = made
    file = tmp_path_factory.mktemp("study") / "small.yaml"
    file.write_text(yaml.safe_dump(small_study.model_dump(mode="json"), sort_keys=False))
    return {"home": platform.home.root, "study": file}


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["demo"],
        ["ui"],
        ["status"],
        ["servers"],
        ["checkpoints"],
        ["export"],
        ["fetch"],
        ["sql"],
        ["tables"],
        ["score"],
        ["generate"],
        ["import"],
        ["import", "rollouts"],
        ["import", "forget"],
        ["study"],
        ["study", "validate"],
    ],
)
def test_everything_has_help(command):
    result = mbt(*command, "--help")
    assert result.returncode == 0
    assert b"Usage" in result.stdout


def test_the_paper_s_cells_are_listed_where_nothing_was_ever_made(tmp_path):
    result = mbt("status", "--study", "paper", "--json", home=tmp_path)
    rows = json.loads(result.stdout)
    assert result.returncode == 0
    assert sum(row["asset"] == "cell_metrics" for row in rows) == 138
    assert {row["state"] for row in rows} == {"missing"}
    assert list(tmp_path.iterdir()) == []


def test_status_shows_what_is_made_and_why_something_is_stale(small):
    rows = json.loads(mbt("status", "--json", **small).stdout)
    states = {(row["asset"], row["partition"]): row["state"] for row in rows}
    assert states["cell_metrics", "trails|rule-teacher__base"] == "fresh"
    assert states["sft_checkpoints", "tiny__mbt-s"] == "missing"
    changed = yaml.safe_load(small["study"].read_text()) | {"judge_sampling": {"temperature": 0.5}}
    other = small["study"].with_name("other.yaml")
    other.write_text(yaml.safe_dump(changed))
    rows = json.loads(mbt("status", "--json", home=small["home"], study=other).stdout)
    stale = {row["asset"]: row["reason"] for row in rows if row["state"] == "stale"}
    assert stale["mqi_scores"] == "sampling changed"
    assert "validation_rollouts" not in stale
    assert "answer_scores" not in stale
    assert b"rule-teacher__base" in mbt("status", **small).stdout


@pytest.mark.parametrize(
    ("format", "read"),
    [
        ("json", lambda data: pl.DataFrame(json.loads(data))),
        ("csv", lambda data: pl.read_csv(io.BytesIO(data))),
        ("parquet", lambda data: pl.read_parquet(io.BytesIO(data))),
    ],
)
def test_sql_in_each_format(small, format, read):
    query = "select dataset, exact_match from main_results where exact_match is not null order by dataset"
    result = mbt("sql", query, "--format", format, **small)
    assert read(result.stdout).rows() == [("trails", 1.0), ("wide", 1.0)]


def test_sql_as_a_table_and_into_a_file(small, tmp_path):
    assert "judge_verdicts" in mbt("sql", "show tables", **small).stdout.decode()
    out = tmp_path / "rows.csv"
    mbt("sql", "select phases, l_obs from mqi_scores", "-f", "csv", "-o", str(out), **small)
    assert pl.read_csv(out).height == 20


def test_a_deleted_warehouse_is_built_again_from_the_lake(small):
    (small["home"] / "small" / "mbt.duckdb").unlink()
    result = mbt("sql", "select count(*) as n from answer_scores", "-f", "json", **small)
    assert json.loads(result.stdout) == [{"n": 20}]


def test_a_moved_home_is_read_where_it_is_and_its_warehouse_counts_as_stale(small, tmp_path):
    shutil.copytree(small["home"], tmp_path / "moved")
    moved = {"home": tmp_path / "moved", "study": small["study"]}
    rows = json.loads(mbt("status", "--json", **moved).stdout)
    stale = {row["asset"]: row["reason"] for row in rows if row["state"] == "stale"}
    assert stale == {"warehouse": "lake changed", "report": "warehouse is stale"}
    rows = tmp_path / "moved" / "small" / "lake" / "answer_scores" / "dataset=wide"
    shutil.rmtree(rows)
    result = mbt("sql", "select count(*) as n from answer_scores", "-f", "json", **moved)
    assert json.loads(result.stdout) == [{"n": 12}], "the old place has 20"


def test_sql_that_would_write_or_is_wrong_is_refused(small):
    refused(mbt("sql", "drop view aes", **small), "read-only", "DROP is not allowed")
    refused(mbt("sql", "select nothing_here from aes", **small), "nothing_here")


def test_study_validate_names_the_line(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: x\ndatasets: {a: {benchmark: trails}}\ntraining_datasets: [b]\nmodels: {}\nteacher: t\njudges: [j]\n"
    )
    refused(mbt("study", "validate", str(file)), "mine.yaml:4: models:", "at least 1 item")
    refused(mbt("study", "validate", str(tmp_path / "none.yaml")), "does not exist")
    good = mbt("study", "show", "--study", "paper")
    assert b"46 variants" in good.stdout
    assert b"138 cells" in good.stdout


def test_mistakes_of_demo_are_refused(tmp_path):
    refused(mbt("demo", "--study", "nowhere", home=tmp_path), "no study 'nowhere'", "embedded")
    refused(mbt("demo", "--variant", "tiny__nope", home=tmp_path), "no variant 'tiny__nope'", "tiny__base")


def test_a_part_that_fails_is_told_with_its_reason_and_status_one(small, tmp_path):
    text = small["study"].read_text().replace("distractor_chains: 2", "distractor_chains: 77")
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    result = mbt("demo", "--variant", "rule-teacher__base", "--dataset", "wide", home=tmp_path, study=file)
    shown = " ".join(result.stderr.decode().replace("│", " ").split())
    assert result.returncode == 1
    assert "failed validation_questions[wide]" in shown
    assert "whole number from 1 to 39, not 77" in shown
    rows = json.loads(mbt("status", "--json", home=tmp_path, study=file).stdout)
    (questions,) = [row for row in rows if (row["asset"], row["partition"]) == ("validation_questions", "wide")]
    assert questions["state"] == "failed"
    assert "distractor_chains should be a whole number from 1 to 39, not 77" in questions["reason"]
    assert "\n" not in questions["reason"]


def test_marts_that_fail_are_told_by_status_with_their_reason(small, tmp_path):
    """A folder stands where the lake keeps the columns of a mart, so that no mart can be made."""
    home = tmp_path / "home"
    shutil.copytree(small["home"], home)
    lake = home / "small" / "lake"
    (lake / "main_results" / "rows.parquet").unlink()
    (lake / "cost" / "_schema.parquet").unlink()
    (lake / "cost" / "_schema.parquet" / "in the way").mkdir(parents=True)
    result = mbt("demo", "--variant", "rule-teacher__base", home=home, study=small["study"])
    assert result.returncode == 1, result.stderr.decode()
    shown = {row["asset"]: row for row in json.loads(mbt("status", "--json", home=home, study=small["study"]).stdout)}
    assert shown["main_results"]["state"] == "failed"
    assert "Is a directory" in shown["main_results"]["reason"]
    assert shown["aes"]["state"] == "fresh"


def test_a_second_demo_reuses_all_and_says_so(small):
    result = mbt("demo", "--variant", "rule-teacher__base", **small)
    shown = result.stderr.decode()
    assert result.returncode == 0, shown
    assert " reused in " in shown
    assert " made" not in shown.split("parts, in")[1].replace("0 made", "")
    assert "rule-teacher__base" in result.stdout.decode()
