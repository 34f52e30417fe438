"""What is made of a file's rows: which question, which parts, what is counted, what is refused."""

import json
from pathlib import Path

import datasets
import polars as pl
import pytest
from foreign import WRITERS, reference_rows, write_dataset, write_jsonl, write_parquet

from mbt_assets.importing import ImportingError, files
from partitions.grid import Node
from resources.lake import Provenance

CELL = "trails|guest__limopro"
ROLLOUTS = Node("validation_rollouts", CELL)


@pytest.fixture
def refused(platform, take_in):
    """Imports what has to be refused; gives the message, and sees that the lake is as it was."""

    def refused(path, **options):
        before = platform.artifacts.lake.stored(ROLLOUTS)
        with pytest.raises(ImportingError) as caught:
            take_in(path, **options)
        assert platform.artifacts.lake.stored(ROLLOUTS) == before
        return str(caught.value)

    return refused


def by_row(frame, column):
    return dict(zip(frame.select("sample_id", "rollout_id").rows(), frame[column], strict=True))


def test_the_same_rows_in_each_format_are_the_same_rollouts(tmp_path, questions, take_in):
    rows = reference_rows(questions)
    imported = [
        take_in(write(tmp_path / name, rows[:: -1 if name == "results" else 1]), replace=True)
        for name, write in WRITERS.items()
    ]
    assert len({each.stored.data_version for each in imported}) == 1
    assert {each.stored.rows for each in imported} == {24}
    sources = [each.stored.provenance.source.partition(":sha256:") for each in imported]
    assert [name for name, _, _ in sources] == [f"imported:{name}" for name in WRITERS]
    assert {len(digest) for _, _, digest in sources} == {64}


def test_a_response_is_split_as_ours_are(tmp_path, questions, take_in, stored_rows):
    rows = reference_rows(questions, rollouts=1)
    take_in(write_dataset(tmp_path / "results", rows))
    frame = stored_rows()
    reasoning, content = by_row(frame, "reasoning"), by_row(frame, "content")
    for row in rows:
        key = (row["sample_id"], 1)
        closed = "<think>" not in row["response"] or "</think>" in row["response"]
        assert reasoning[key] == (row["reasoning_trace"] if closed else row["response"].removeprefix("<think>").strip())
        assert ("<answer>" in content[key]) == ("<answer>" in row["response"] and closed)
    whole = by_row(frame, "response")
    apart = next(row for row in rows if row["reasoning_trace"] and "<think>" not in row["response"])
    assert whole[apart["sample_id"], 1] == f"<think>\n{apart['reasoning_trace']}\n</think>\n\n{apart['response']}"


def test_what_is_not_known_is_null_and_no_request_is_counted(tmp_path, questions, take_in, stored_rows):
    imported = take_in(write_jsonl(tmp_path / "rows.jsonl", reference_rows(questions)))
    frame = stored_rows()
    assert frame["completion_tokens"].null_count() == frame["latency_ms"].null_count() == imported.counts.without_tokens
    assert frame["attempts"].sum() == 0
    assert frame["request_digest"].n_unique() == frame.height
    assert frame["checkpoint_digest"].unique().to_list() == frame["prompt_digest"].unique().to_list()


def test_rows_that_are_not_valid_stay_and_count(tmp_path, questions, take_in, stored_rows):
    rows = reference_rows(questions)
    counts = take_in(write_jsonl(tmp_path / "rows.jsonl", rows)).counts
    frame = stored_rows()
    empty, invalid = (
        sum(not row["response"] for row in rows),
        sum(not row["valid"] for row in rows),
    )
    assert (counts.invalid, counts.failed, counts.cut_off) == (invalid, empty, invalid - empty)
    assert frame.filter(pl.col("error").is_not_null()).height == empty
    assert frame.filter(pl.col("finish_reason") == "length").height == invalid - empty


def test_tokens_and_endings_are_taken_where_they_are_given(tmp_path, questions, take_in, stored_rows):
    """Some programs write a column of whole numbers with gaps as floats, and a gap as NaN."""
    rows = [
        row | {"completion_tokens": float("nan") if i == 3 else 40.0 + i, "finish_reason": "stop", "sample_id": i + 1.0}
        for i, row in enumerate(reference_rows(questions, rollouts=1))
    ]
    imported = take_in(write_parquet(tmp_path / "rows.parquet", rows))
    assert stored_rows()["completion_tokens"].to_list() == [40, 41, 42, None, *range(44, 52)]
    assert imported.counts.without_tokens == 1
    assert imported.counts.cut_off == 0, "its own word wins over valid"


def test_the_token_limit_is_known_by_its_other_names_and_unknown_endings_are_counted(
    tmp_path, questions, take_in, stored_rows
):
    said = ["length", "max_tokens", "MAX_TOKENS", "FinishReason.MAX_TOKENS", "max-length", "MAX_NEW_TOKENS"]
    said += ["stop", "end_turn", "tired", "tired", "</s>", ""]
    rows = [
        {"question_id": question["question_id"], "response": "r", "finish_reason": reason}
        for question, reason in zip(questions, said, strict=True)
    ]
    counts = take_in(write_jsonl(tmp_path / "rows.jsonl", rows)).counts
    assert stored_rows()["finish_reason"].to_list() == ["length"] * 6 + said[6:11] + ["stop"]
    assert (counts.cut_off, counts.unknown_ending, dict(counts.endings)) == (6, 3, {"tired": 2, "</s>": 1})


def test_answers_that_stand_in_the_reasoning_alone_are_counted(tmp_path, questions, take_in):
    tags = "<answer>a</answer>"
    responses = [tags, f"<think> {tags}", f"<think> {tags} </think>", f"{tags} </think> {tags}", "r", f"<think> {tags}"]
    rows = [
        {"question_id": question["question_id"], "response": response}
        for question, response in zip(questions, responses, strict=False)
    ]
    rows.append({"question_id": questions[6]["question_id"], "response": tags, "reasoning_trace": ""})
    counts = take_in(write_jsonl(tmp_path / "rows.jsonl", rows)).counts
    assert (counts.answer_in_reasoning, counts.without_think_tags) == (4, 1)


def test_responses_without_reasoning_are_scored_once_they_are_said_to_be_content(
    tmp_path, questions, take_in, mean_exact_match
):
    rows = [{"question_id": q["question_id"], "response": f"So: <answer>{q['answer']}</answer>"} for q in questions]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    emptied = write_jsonl(tmp_path / "emptied.jsonl", [row | {"reasoning_trace": ""} for row in rows])
    for path, columns, em in (
        (file, {}, 0.0),
        (file, {"response": "", "content": "response"}, 1.0),
        (emptied, {}, 1.0),
    ):
        take_in(path, columns=columns, replace=True)
        assert mean_exact_match() == em


def test_a_folder_keeps_its_name_wherever_one_stands(tmp_path, questions, take_in, monkeypatch):
    folder = write_dataset(tmp_path / "results", reference_rows(questions))
    (folder / "inner").mkdir()
    (tmp_path / "mine").symlink_to(folder)
    for place, path, name in (
        (folder, ".", "results"),
        (folder / "inner", "..", "results"),
        (tmp_path, "mine", "mine"),
    ):
        monkeypatch.chdir(place)
        provenance = take_in(Path(path), replace=True).stored.provenance
        assert provenance.source.startswith(f"imported:{name}:sha256:")
        assert provenance.recipe["file"] == name


def test_parts_stand_for_a_response_that_is_not_there(tmp_path, questions, take_in, stored_rows):
    first, second, third = questions[:3]
    rows = [
        {"sample_id": 1, "question": first["question"], "reasoning_trace": "hm", "content": "so <answer>a</answer>"},
        {"sample_id": 2, "question": second["question"], "reasoning_trace": "hm", "predicted_answer": "b"},
        {"sample_id": 3, "question": third["question"], "predicted_answer": "c"},
    ]
    take_in(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert stored_rows()["response"].to_list() == [
        "<think>\nhm\n</think>\n\nso <answer>a</answer>",
        "<think>\nhm\n</think>\n\n<answer>b</answer>",
        "<answer>c</answer>",
    ]


def test_rows_without_a_number_are_numbered_in_their_order(tmp_path, questions, take_in, stored_rows):
    rows = reference_rows(questions, rollouts=2)
    ignored = take_in(
        write_jsonl(tmp_path / "a.jsonl", [{**row, "rollout_id": 7} for row in rows]), columns={"rollout_id": ""}
    )
    bare = [{name: value for name, value in row.items() if name != "rollout_id"} for row in rows]
    again = take_in(write_jsonl(tmp_path / "b.jsonl", bare), replace=True)
    numbered = take_in(write_jsonl(tmp_path / "c.jsonl", rows), replace=True)
    assert ignored.stored.data_version == again.stored.data_version == numbered.stored.data_version
    assert stored_rows()["rollout_id"].to_list() == [1, 2] * 12


def test_columns_of_other_names_are_said(tmp_path, questions, take_in, refused):
    rows = [
        {"q": q["question_id"], "out": f"<think>\nr\n</think>\n\n<answer>{q['answer']}</answer>"} for q in questions
    ]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    message = refused(file)
    assert "a column is missing. Its columns are: q, out." in message
    assert "Needed are: question_id, or sample_id and question" in message
    assert "it has no column text (for response)" in refused(file, columns={"question_id": "q", "response": "text"})
    assert "--column reply: that is no column that is read" in refused(file, columns={"reply": "out"})
    assert take_in(file, columns={"question_id": "q", "response": "out"}).stored.rows == 12


# --- Which question a row is of. ---


def test_a_question_is_told_by_its_id_whatever_the_row_s_place(tmp_path, questions, take_in, stored_rows):
    rows = [{"question_id": q["question_id"], "response": q["question_id"]} for q in reversed(questions)]
    take_in(write_jsonl(tmp_path / "rows.jsonl", rows))
    frame = stored_rows()
    assert frame["response"].to_list() == frame["question_id"].to_list() == [q["question_id"] for q in questions]


def test_white_space_makes_no_other_question(tmp_path, questions, take_in):
    rows = [row | {"question": f" {row['question']} ".replace(" ", "\n ")} for row in reference_rows(questions)]
    assert take_in(write_jsonl(tmp_path / "rows.jsonl", rows)).stored.rows == 24


def test_rows_of_no_question_are_told_and_left_out_only_when_that_is_said(tmp_path, questions, take_in, refused):
    rows = reference_rows(questions, rollouts=1)
    rows[1] |= {"question": rows[0]["question"]}
    rows[2] |= {"sample_id": 99}
    del rows[3]["question"]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    message = refused(file)
    assert "3 of its 12 rows are of no question of validation_questions[trails] (12 questions)" in message
    assert f"line 2: the sample_id 2 is here of the question {questions[1]['question']!r}" in message
    assert "line 3: no question has the sample_id 99" in message
    assert "line 4: a sample_id (4) alone tells no question" in message
    assert "--allow-unmatched" in message
    imported = take_in(file, allow_unmatched=True)
    assert (imported.stored.rows, imported.counts.unmatched, len(imported.counts.questions)) == (9, 3, 9)
    assert imported.stored.provenance.recipe["unmatched"] == 3
    strangers = write_jsonl(tmp_path / "strangers.jsonl", [{"question_id": "x", "response": "r"}])
    assert "no question has the question_id 'x'" in refused(strangers, allow_unmatched=True, replace=True)


def test_the_text_alone_tells_a_question_only_where_facts_are_the_same_for_all(tmp_path, platform, questions, refused):
    rows = [{"question": q["question"], "response": "r"} for q in questions]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    assert "this benchmark asks the same words about different documents" in refused(file)


def test_of_two_questions_with_the_same_words_neither_is_meant(tmp_path, questions):
    """Of a benchmark whose questions are told by their text."""
    from mbt_assets.foreign_rows import Columns
    from mbt_assets.importing.matching import NoQuestion, Questions

    frame = pl.DataFrame(questions)
    columns = Columns({"question": "question"}, ValueError)
    text = questions[4]["question"]
    assert Questions(frame, by_text=True).of({"question": text}, columns, "row 1").sample_id == 5
    twice = frame.with_columns(question=pl.lit(text))
    with pytest.raises(NoQuestion, match="12 questions have its text"):
        Questions(twice, by_text=True).of({"question": text}, columns, "row 1")
    with pytest.raises(NoQuestion, match="no question has its text 'else'"):
        Questions(frame, by_text=True).of({"question": "else"}, columns, "row 1")


def test_other_gold_answers_and_predictions_are_counted(tmp_path, platform, questions, take_in):
    lake, node = platform.artifacts.lake, Node("validation_questions", "trails")
    known = lake.read(node).with_columns(aliases=pl.lit(["Nowhere"]))
    lake.write(node, known, Provenance("f", {}, {}))
    rows = reference_rows(known.to_dicts(), rollouts=1)
    rows[0] |= {"answer": "nowhere", "answer_aliases": [rows[0]["answer"].upper()]}
    rows[1] |= {"answer": "Atlantis"}
    rows[2] |= {"answer_aliases": []}
    rows[3] |= {"predicted_answer": "something else"}
    counts = take_in(write_jsonl(tmp_path / "rows.jsonl", rows)).counts
    assert (counts.gold_differs, counts.prediction_differs) == (2, 1)


# --- Files that cannot be imported. ---


def test_what_is_no_file_of_rollouts_is_refused(tmp_path, questions, refused):
    assert "there is no file" in refused(tmp_path / "none.jsonl")
    (tmp_path / "rows.csv").write_text("a,b")
    assert "rows.csv cannot be read: give a JSONL file" in refused(tmp_path / "rows.csv")
    (tmp_path / "folder").mkdir()
    assert "is no folder that datasets' save_to_disk wrote" in refused(tmp_path / "folder")
    split = datasets.Dataset.from_list(reference_rows(questions))
    datasets.DatasetDict({"train": split, "validation": split}).save_to_disk(str(tmp_path / "splits"))
    assert "give the folder of one of them (train, validation)" in refused(tmp_path / "splits")
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and no more")
    assert "rows.parquet cannot be read (" in refused(tmp_path / "rows.parquet")
    cut = write_dataset(tmp_path / "cut", reference_rows(questions))
    (data,) = cut.glob("*.arrow")
    data.write_bytes(data.read_bytes()[:200])
    assert "cut cannot be read (" in refused(cut)


def test_an_empty_file_is_refused(tmp_path, questions, refused):
    (tmp_path / "rows.jsonl").write_text("\n\n")
    assert "it holds no row" in refused(tmp_path / "rows.jsonl")
    pl.DataFrame(reference_rows(questions)).clear().write_parquet(tmp_path / "rows.parquet")
    assert "it holds no row" in refused(tmp_path / "rows.parquet")


def test_lines_that_are_no_rows_are_refused_with_their_number(tmp_path, questions, refused, monkeypatch):
    good = json.dumps(reference_rows(questions)[0])
    file = tmp_path / "rows.jsonl"
    for bad, why in (
        (b'{"question_id": ', "line 3: not JSON"),
        (b"[1, 2]", "line 3: there should be one JSON object on every line"),
        ('{"response": "na\xefve"}'.encode("latin-1"), "line 3: not UTF-8"),
    ):
        file.write_bytes(f"\ufeff{good}\n\n".encode() + bad)
        assert why in refused(file)
    monkeypatch.setattr(files, "MAX_LINE", 1000)
    file.write_text(f"{good}\n{json.dumps({'response': 'x' * 2000})}\n")
    assert "line 2 has more than 1,000 bytes" in refused(file)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"response": 5}, "line 4: response should be text, and is 5"),
        ({"reasoning_trace": ["r"]}, "line 4: reasoning_trace should be text"),
        ({"rollout_id": 0}, "line 4: rollout_id is 0, and should be a whole number from 1"),
        ({"rollout_id": "1"}, "line 4: rollout_id is '1'"),
        ({"rollout_id": True}, "line 4: rollout_id is True"),
        ({"sample_id": 2.5}, "line 4: sample_id is 2.5"),
        ({"question": 1}, "line 4: question should be text"),
        ({"valid": "no"}, "line 4: valid should be true or false, and is 'no'"),
        ({"answer_aliases": "a"}, "line 4: answer_aliases should be a list of texts"),
        ({"answer": 3}, "line 4: answer should be text"),
        ({"predicted_answer": 3}, "line 4: predicted_answer should be text"),
        ({"completion_tokens": -1}, "line 4: completion_tokens is -1, and should be a whole number from 0"),
        ({"finish_reason": 3}, "line 4: finish_reason should be text"),
        ({"rollout_id": 10**30}, "line 4: rollout_id is 1"),
        ({"completion_tokens": 10**19}, "and should be a whole number from 0 to 9223372036854775807"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_row(tmp_path, questions, refused, change, why):
    rows = reference_rows(questions, rollouts=1)
    rows[3] |= change
    assert why in refused(write_jsonl(tmp_path / "rows.jsonl", rows))


def test_two_rows_of_one_rollout_are_refused(tmp_path, questions, refused):
    rows = reference_rows(questions)
    file = write_parquet(tmp_path / "rows.parquet", [*rows, rows[4]])
    assert f"row 5 and row 25 are both rollout 1 of the question {questions[2]['question_id']}" in refused(file)


def test_rows_that_are_there_are_replaced_only_when_that_is_said(tmp_path, questions, take_in, refused):
    file = write_jsonl(tmp_path / "rows.jsonl", reference_rows(questions))
    take_in(file)
    assert "is there already, imported (imported:rows.jsonl:sha256:" in refused(file)
    other = write_jsonl(tmp_path / "other.jsonl", reference_rows(questions, rollouts=1))
    assert "line 2" not in refused(other)
    assert take_in(other, replace=True).stored.rows == 12
