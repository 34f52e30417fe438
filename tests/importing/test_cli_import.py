"""`mbt import` as a user meets it: from a study file of a few lines and a folder of rollouts to a scored cell."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from foreign import STUDY, reference_rows, write_dataset, write_jsonl

from mbt_assets import benchmarks
from mbt_assets.cli.import_rollouts import cell_of
from mbt_assets.importing import ImportingError
from partitions.study_file import load_study, study_path

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
    told = " ".join(imported.stderr.replace("│", " ").split())
    assert imported.returncode == 0, told
    assert "making validation_questions[trails] first" in told
    assert "validation_rollouts[trails|guest__base]: 24 rollouts of 12 questions" in told
    assert f"{sum(not row['valid'] for row in rows)} rows are not valid" in told
    assert "24 rows have no completion_tokens: token figures, AES and MQI need them" in told
    (hint,) = re.findall("score them: (.*)", imported.stderr)
    assert hint == f"mbt demo --study {tmp_path / 'study.yaml'} --variant guest__base --dataset trails"

    scored = mbt(*shlex.split(hint)[1:])
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
        f"extends: {tmp_path / 'study.yaml'}",
        "    source: {kind: imported}",
        "    modes: [base, limopro]",
    ):
        assert part in stranger
    judge = refused(str(file), "-d", "trails", "-m", "rule-teacher", "--mode", "limopro")
    assert "No study can have it: models.rule-teacher.modes.1: mode 'limopro' is for students" in judge
    assert "extends:" not in judge
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("path", ["a study.yaml", "extended: #1.yaml", "embedded"])
def test_the_study_that_would_have_the_variant_is_one(tmp_path, monkeypatch, path):
    """Saved beside the study that it extends, whatever that is called."""
    monkeypatch.chdir(tmp_path)
    if path != "embedded":
        Path(path).write_text(STUDY)
    with pytest.raises(ImportingError) as caught:
        cell_of(load_study(path), "trails", "stranger", "limopro", study_path(path))
    Path("mine.yaml").write_text(str(caught.value).partition("can have it:\n")[2])
    own = load_study("mine.yaml")
    assert "stranger__limopro" in own.variants
    assert set(load_study(path).variants) < set(own.variants)


def test_what_the_import_advises_and_hints_at_can_be_copied(mbt, tmp_path):
    """Here for responses of a model that does not reason, under a study's file and a seed of one's own."""
    study = tmp_path / "a study.yaml"
    study.write_text(STUDY)
    rows = [
        {"question_id": question["question_id"], "my text": f"So: <answer>{question['answer']}</answer>"}
        for question in QUESTIONS
    ]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    options = ("--study", str(study), "--seed", "7")
    told = mbt("import", "rollouts", str(file), *CELL, *options, "--column", "response=my text").stderr
    assert "12 rows have answer tags only in what counts as their reasoning: they score as without an answer" in told
    (advised,) = re.findall("import them again with (.*)", told)
    assert advised == "--column response= --column 'content=my text' --replace"
    again = mbt("import", "rollouts", str(file), *CELL, *options, *shlex.split(advised)).stderr
    assert "in what counts as their reasoning" not in again
    (hint,) = re.findall("score them: (.*)", again)
    assert shlex.split(hint) == ["mbt", "demo", *options, "--variant", "guest__base", "--dataset", "trails"]
