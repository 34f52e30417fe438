"""`mbt import` as a user meets it: from a study file of a few lines and a folder of rollouts to a scored cell."""

import json
import os
import subprocess
import sys

import pytest
from foreign import STUDY, reference_rows, write_dataset, write_jsonl

from mbt_assets import benchmarks

QUESTIONS = list(benchmarks.load("trails", "validation", limit=12))
CELL = ("--dataset", "trails", "--model", "guest", "--mode", "base")


@pytest.fixture
def mbt(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(STUDY)

    def mbt(*arguments):
        env = {**os.environ, "MBT_HOME": str(tmp_path / "home"), "MBT_STUDY": str(study)}
        command = [sys.executable, "-m", "mbt_assets.cli.main", *arguments]
        done = subprocess.run(command, capture_output=True, env=env, timeout=280, text=True)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return mbt


def test_rollouts_that_somebody_has_are_imported_scored_shown_and_forgotten(mbt, tmp_path):
    rows = reference_rows(QUESTIONS)
    folder = write_dataset(tmp_path / "results", rows)
    imported = mbt("import", "rollouts", str(folder), *CELL)
    told = " ".join(imported.stderr.split())
    assert imported.returncode == 0, told
    assert "making validation_questions[trails] first" in told
    assert "validation_rollouts[trails|guest__base]: 24 rollouts of 12 questions" in told
    assert f"{sum(not row['valid'] for row in rows)} rows are not valid" in told
    assert "24 rows have no completion_tokens: token figures, AES and MQI need them" in told
    assert "mbt demo --variant guest__base --dataset trails" in told

    scored = mbt("demo", "--variant", "guest__base", "--dataset", "trails")
    assert scored.returncode == 0, scored.stderr
    assert "guest__base" in scored.stdout
    found = mbt("sql", "select sum(exact_match)::int as n from answer_scores", "--format", "json")
    right = sum(row["predicted_answer"].strip(" !").lower().endswith(row["answer"]) for row in rows)
    assert json.loads(found.stdout) == [{"n": right}]

    listed = {(row["asset"], row["partition"]): row for row in json.loads(mbt("status", "--json").stdout)}
    shown = listed["validation_rollouts", "trails|guest__base"]
    assert (shown["state"], shown["rows"]) == ("fresh", 24)
    assert shown["source"].startswith("imported:results:sha256:")
    assert ("checkpoints", "guest__base") not in listed
    assert "rollouts imported:results" in " ".join(mbt("status").stdout.replace("│", " ").split())

    forgotten = mbt("import", "forget", *CELL)
    assert "24 rows forgotten" in forgotten.stderr
    again = mbt("import", "forget", *CELL)
    assert again.returncode == 2
    assert "there is nothing to forget" in again.stderr


def test_mistakes_are_told_in_one_message(mbt, tmp_path):
    file = write_jsonl(tmp_path / "rows.jsonl", [{"text": "a"}])

    def refused(*arguments):
        done = mbt("import", "rollouts", *arguments)
        assert done.returncode == 2
        return done.stderr

    assert "there is no file" in refused(str(tmp_path / "none.jsonl"), *CELL)
    assert "Its columns are: text. Needed are: question_id" in refused(str(file), *CELL)
    stranger = refused(str(file), "-d", "trails", "-m", "stranger", "--mode", "limopro")
    for part in (
        "study small has no variant 'stranger__limopro'; it has: tiny__base",
        "extends: small",
        "    source: {kind: imported}",
        "    modes: [base, limopro]",
    ):
        assert part in stranger
    assert not (tmp_path / "home").exists()
