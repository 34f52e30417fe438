"""`mbt score`: files in, files out, and one clear line for a mistake."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from mbt_assets.cli import score as score_command
from mbt_assets.scoring.answers import score

app = typer.Typer()
app.command()(score_command.score)

ROWS = [
    {"id": "a", "prediction": "The Eiffel Tower", "references": ["Eiffel Tower", "la tour Eiffel"]},
    {"id": 2, "prediction": "yes it is", "references": ["yes"]},
    {"id": "ü", "prediction": "", "references": ["…", "x"], "more": 1},
    {"id": "none", "prediction": "x", "references": []},
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
    source = written(tmp_path / "in.jsonl", ROWS * 5)
    whole = run(source).stdout
    monkeypatch.setattr(score_command, "CHUNK_ROWS", 3)
    assert run(source).stdout == whole


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
