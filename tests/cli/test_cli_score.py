"""`mbt score`: files in, files out, and one clear line for a mistake."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from mbt_assets.cli import score as score_command
from mbt_assets.cli import score_rows
from mbt_assets.scoring.answers import score
from mbt_assets.scoring.stats import Bootstrap

app = typer.Typer()
app.command()(score_command.score)

ROWS = [
    {"id": "a", "prediction": "The Eiffel Tower", "references": ["Eiffel Tower", "la tour Eiffel"]},
    {"id": 2, "prediction": "yes it is", "references": ["yes"]},
    {"id": "ü", "prediction": "", "references": ["…", "x"], "more": 1},
    {"id": "none", "prediction": "x", "references": []},
]


# Two questions of four and two rollouts, by hand: q1 says rome, paris, paris, rome, of which paris is right.
SAID = [("q1", 1, "Rome"), ("q2", 1, "Paris"), ("q1", 3, "Paris!"), ("q1", 2, "the Paris"), ("q1", 4, "rome")]
SAID += [("q2", 2, "Paris, France")]
ROLLOUTS = [
    {"id": i, "question_id": question, "rollout_id": rollout, "prediction": said, "references": ["Paris"]}
    for i, (question, rollout, said) in enumerate(SAID)
]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def written(path, rows):
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    return path


def test_each_row_gets_its_scores_in_order(tmp_path):
    out = tmp_path / "out.jsonl"
    result = run(written(tmp_path / "in.jsonl", ROWS), "--out", out)
    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in found] == ["a", 2, "ü", "none"]
    for row, given in zip(found, ROWS, strict=True):
        expected = score(given["prediction"], given["references"])
        assert list(row) == ["id", "exact_match", "substring_match", "f1", "f1_plain"]
        assert all(row[name] == getattr(expected, name) for name in list(row)[1:])
    assert result.stdout == "" and "4 rows of in.jsonl" in result.stderr and "exact_match" in result.stderr
    assert "1 rows have no reference left" in result.stderr


def test_without_out_the_rows_go_to_stdout_and_totals_to_stderr(tmp_path):
    result = run(written(tmp_path / "in.jsonl", ROWS), "--json")
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["a", 2, "ü", "none"]
    totals = json.loads(result.stderr)
    # exact: 1 of 4; substring: a and 2; f1: a scores 1; f1_plain: 1 + .5 ("yes" of 3 tokens: P 1/3, R 1)
    assert totals == {
        "rows": 4,
        "exact_match": 0.25,
        "substring_match": 0.5,
        "f1": 0.25,
        "f1_plain": 0.375,
        "unscorable_gold": 1,
    }


def test_chunks_do_not_show(tmp_path, monkeypatch):
    plain, rollouts = written(tmp_path / "in.jsonl", ROWS * 5), written(tmp_path / "rollouts.jsonl", ROLLOUTS)
    parquet = tmp_path / "in.parquet"
    pl.DataFrame(ROLLOUTS).write_parquet(parquet)
    whole = [(run(file, "--json").stdout, run(file, "--json").stderr) for file in (plain, rollouts, parquet)]
    monkeypatch.setattr(score_rows, "CHUNK_ROWS", 3)
    monkeypatch.setattr(score_rows, "BATCH_ROWS", 2)
    assert [(run(file, "--json").stdout, run(file, "--json").stderr) for file in (plain, rollouts, parquet)] == whole


def test_an_empty_file_has_no_means(tmp_path):
    source = tmp_path / "in.jsonl"
    source.touch()
    assert json.loads(run(source, "--json").stderr)["exact_match"] is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "line 2: not JSON"),
        ('"text"', "line 2: expected a JSON object"),
        ('{"id": 1, "prediction": "x"}', "line 2: missing references"),
        ('{"id": 1, "references": []}', "line 2: missing prediction (or response)"),
        ('{"id": 1, "prediction": "x", "response": "x", "references": []}', "line 2: has both prediction and response"),
        ('{"id": 1, "response": null, "references": []}', "line 2: response must be a string"),
        ('{"id": 1, "response": "x", "reasoning": 1, "references": []}', "line 2: reasoning must be a string, or null"),
        (
            '{"id": 1, "response": "x", "references": []}',
            "line 2: has no prediction, but response, unlike the first row",
        ),
        (
            '{"id": 1, "prediction": "x", "references": [], "question_id": "q"}',
            "line 2: has question_id, unlike the first row",
        ),
        (
            '{"id": 1, "prediction": "x", "references": [], "rollout_id": 1}',
            "line 2: has a rollout_id but no question_id",
        ),
        (
            '{"id": 1, "prediction": "x", "references": [], "question_id": "q", "rollout_id": 1.5}',
            "line 2: rollout_id must be an integer",
        ),
        (
            '{"id": 1, "prediction": "x", "references": [], "question_id": ["q"]}',
            "line 2: question_id must be a string or an integer",
        ),
        ('{"id": null, "prediction": "x", "references": []}', "line 2: id must be"),
        ('{"id": 1, "prediction": null, "references": []}', "line 2: prediction must be a string"),
        ('{"id": 1, "prediction": "x", "references": "x"}', "line 2: references must be a list"),
        ('{"id": 1, "prediction": "x", "references": [1]}', "line 2: references must be a list"),
        (r'{"id": 1, "prediction": "\ud800", "references": []}', "line 2: not JSON"),
    ],
)
def test_a_bad_line_is_named_and_leaves_the_old_file(tmp_path, line, message):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    out.write_text("old")
    result = run(source, "--out", out)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {source}, {message}") and len(result.stderr.splitlines()) == 1
    assert out.read_text() == "old" and sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_files_that_cannot_be_used(tmp_path):
    missing = run(tmp_path / "no.jsonl")
    assert missing.exit_code == 2 and "No such file" in missing.stderr
    source = written(tmp_path / "in.jsonl", ROWS)
    assert "there is no folder" in run(source, "--out", tmp_path / "no" / "out.jsonl").stderr
    assert "is a folder" in run(source, "--out", tmp_path).stderr
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe{}\n")
    assert run(binary).exit_code == 2


# --- Several rollouts of a question ---


def test_rollouts_give_means_over_questions_and_at_k(tmp_path):
    totals = json.loads(run(written(tmp_path / "in.jsonl", ROLLOUTS), "--json").stderr)
    assert (totals["rows"], totals["questions"]) == (6, 2)
    assert totals["exact_match"] == 0.5  # (2/4 + 1/2) / 2
    assert totals["substring_match"] == 0.75  # (2/4 + 2/2) / 2
    # q1 in the order of rollout_id: rome, paris, paris, rome; q2: paris and a wrong one, so a tie for the first
    assert [totals[f"avg_{k}"] for k in (1, 2, 4)] == [0.5, 0.5, 0.5]
    assert [totals[f"maj_{k}"] for k in (1, 2, 4)] == [0.5, 0.5, 0.0]
    assert [totals[f"pass_{k}"] for k in (1, 2, 4)] == pytest.approx([0.5, (5 / 6 + 1) / 2, 1.0])
    assert "avg_8" not in totals and "avg_3" not in totals
    interval = Bootstrap().mean([0.5, 1.0])
    assert (totals["substring_match_lo"], totals["substring_match_hi"]) == interval


def test_the_table_says_how_many_questions_have_so_many_rollouts(tmp_path):
    source, out = written(tmp_path / "in.jsonl", ROLLOUTS), tmp_path / "out.jsonl"
    lines = {line.split()[1]: line for line in run(source, "--out", out).stderr.splitlines() if "│" in line}
    assert "0.5000" in lines["avg_2"] and lines["avg_2"].split()[-2] == "2"
    assert lines["avg_4"].split()[-2] == "1"
    first = json.loads(out.read_text().splitlines()[0])
    assert list(first)[:3] == ["id", "question_id", "rollout_id"] and first["question_id"] == "q1"


def test_without_rollout_id_the_order_of_the_rows_is_that_of_the_rollouts(tmp_path):
    rows = [{**row} for row in sorted(ROLLOUTS, key=lambda row: row["rollout_id"])]
    numbered = json.loads(run(written(tmp_path / "a.jsonl", rows), "--json").stderr)
    for row in rows:
        del row["rollout_id"]
    assert json.loads(run(written(tmp_path / "b.jsonl", rows), "--json").stderr) == numbered


def test_no_resamples_no_intervals(tmp_path):
    source = written(tmp_path / "in.jsonl", ROLLOUTS)
    totals = json.loads(run(source, "--json", "--resamples", 0).stderr)
    assert totals["exact_match"] == 0.5 and totals["exact_match_lo"] is None
    assert "–" in run(source, "--resamples", 0).stderr


def test_a_question_named_by_a_number_is_not_the_one_named_by_its_text(tmp_path):
    rows = [{**ROLLOUTS[0], "question_id": question} for question in (1, "1")]
    assert json.loads(run(written(tmp_path / "in.jsonl", rows), "--json").stderr)["questions"] == 2


def test_a_rollout_that_comes_twice_is_named_with_both_lines(tmp_path):
    out = tmp_path / "out.jsonl"
    result = run(written(tmp_path / "in.jsonl", [*ROLLOUTS, ROLLOUTS[2]]), "--out", out)
    assert result.exit_code == 2 and not out.exists()
    assert 'in.jsonl, line 7: rollout 3 of question "q1" stands in 3 already' in result.stderr


# --- Whole responses ---


def test_the_answer_of_a_response_is_found_as_that_of_a_rollout(tmp_path):
    responses = [
        ("<think>so</think><answer>no</answer> or rather <answer> Paris </answer>", None, "Paris", True),
        ("<think>never closed <answer>Paris</answer>", None, "", False),
        ("<answer>Paris</answer>", None, "", False),  # no </think>: all of it is reasoning
        ("<answer>Paris</answer>", "", "Paris", True),  # the server says that there was no reasoning
        ("<answer>Paris</answer>", "from the server", "Paris", True),
        ("</think>Paris", None, "", False),
    ]
    rows = [
        {"id": i, "response": text, "reasoning": reasoning, "references": ["Paris"]}
        for i, (text, reasoning, *_) in enumerate(responses)
    ]
    out = tmp_path / "out.jsonl"
    result = run(written(tmp_path / "in.jsonl", rows), "--out", out)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["predicted_answer"], row["answer_found"]) for row in found] == [(a, b) for _, _, a, b in responses]
    assert [row["exact_match"] for row in found] == [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    assert "3 responses hold no answer between tags" in result.stderr


# --- Parquet ---


def test_parquet_in_and_out_say_what_jsonl_says(tmp_path):
    source, out, lines = tmp_path / "in.parquet", tmp_path / "out.parquet", tmp_path / "out.jsonl"
    pl.DataFrame(ROLLOUTS).with_columns(unread=pl.lit(1)).write_parquet(source)
    as_parquet, as_lines = run(source, "--out", out, "--json"), run(source, "--out", lines, "--json")
    assert as_parquet.exit_code == 0, as_parquet.output
    assert as_parquet.stderr == as_lines.stderr == run(written(tmp_path / "in.jsonl", ROLLOUTS), "--json").stderr
    assert pl.read_parquet(out).to_dicts() == [json.loads(line) for line in lines.read_text().splitlines()]


def test_no_rows_make_a_parquet_file_without_rows(tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    source.touch()
    assert run(source, "--out", out).exit_code == 0
    empty = pl.read_parquet(out)
    assert empty.is_empty() and empty.columns == ["id", "exact_match", "substring_match", "f1", "f1_plain"]


def test_mistakes_in_parquet_name_the_row(tmp_path):
    source = tmp_path / "in.parquet"
    frame = pl.DataFrame({"id": [1, 2], "prediction": ["x", None], "references": [["x"], ["y"]]})
    frame.write_parquet(source)
    assert f"{source}, row 2: prediction must be a string" in run(source).stderr
    frame.drop("references").write_parquet(source)
    assert f"{source}, row 1: missing references" in run(source).stderr
    frame.with_columns(id=pl.lit(1.5)).write_parquet(source)
    assert f"{source}, row 1: id must be a string or an integer" in run(source).stderr
    source.write_bytes(b"no Parquet")
    result = run(source)
    assert result.exit_code == 2 and f"{source}: not a Parquet file" in result.stderr
    frame.write_parquet(source)
    source.write_bytes(source.read_bytes().replace(b"PAR1", b"PAR2"))
    assert run(source).exit_code == 2


def test_ids_of_two_types_do_not_fit_into_parquet_and_leave_the_old_file(tmp_path):
    out = tmp_path / "out.parquet"
    out.write_text("old")
    result = run(written(tmp_path / "in.jsonl", ROWS), "--out", out)
    assert result.exit_code == 2 and out.read_text() == "old"
    assert "id is of type str in the first row and int in 2" in result.stderr
    huge = written(tmp_path / "huge.jsonl", [{"id": 2**64 - 1, "prediction": "x", "references": []}])
    assert "needs more than 64 bits" in run(huge, "--out", out).stderr
    assert run(huge).exit_code == 0


# --- A terminal ---


def test_a_terminal_sees_progress_and_the_rows_go_whole_to_the_file(tmp_path):
    source, out = written(tmp_path / "in.jsonl", ROWS * 200), tmp_path / "out.jsonl"
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "mbt_assets.cli.main", "score", str(source), "--out", str(out)]
    subprocess.run(command, stderr=terminal, stdout=subprocess.DEVNULL, check=True, timeout=120)
    os.close(terminal)
    seen = b""
    while part := _read(master):
        seen += part
    os.close(master)
    assert b"in.jsonl" in seen and b"800 rows" in seen
    assert len(out.read_text().splitlines()) == 800


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed and all has been read
        return b""
