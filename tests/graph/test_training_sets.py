"""Which rows are trained on: every step counted, and no training question in a validation split."""

import dagster as dg
import polars as pl
import pytest
from small import run

from jobs.plan import ancestors, units
from mbt_assets.cli.instance import open_instance
from mbt_assets.definitions import build_platform
from mbt_assets.leakage import describe, leaked
from mbt_assets.stage import Stage
from mbt_assets.staleness import assess
from mbt_assets.training_sets import completion_of, sifted
from partitions.grid import Node
from partitions.study import Split, Training
from partitions.study_file import load_study
from resources.home import Home
from resources.lake import Lake, Provenance
from resources.tables import Questions

MADE = Provenance("", {}, {})


def rows_of(*rows):
    """Source rows as they are joined with their questions; a short row stands for a good one."""
    good = {
        "question_id": "q1",
        "sample_id": 1,
        "rollout_id": 1,
        "trace_id": 1,
        "error": None,
        "finish_reason": "stop",
        "reasoning": "It is Rome.",
        "content": "<answer>Rome</answer>",
        "trace": "Plan. Rome. Checked.",
        "answer": "Rome",
        "aliases": [],
        "prompt": [{"role": "user", "content": "Which city?"}],
    }
    made = [good | row for row in rows]
    for row in made:
        if row["question_id"] != "q1" and "prompt" not in next(
            r for r in rows if r.get("question_id") == row["question_id"]
        ):
            row["prompt"] = [{"role": "user", "content": f"Which city, {row['question_id']}?"}]
    schema = {"error": pl.String, "aliases": pl.List(pl.String), "trace": pl.String}
    return pl.DataFrame(made, schema_overrides=schema)


def test_every_step_is_counted_for_rollouts():
    rows = rows_of(
        {},
        {"question_id": "q2", "error": "400 too long"},
        {"question_id": "q3", "finish_reason": "length"},
        {"question_id": "q4", "reasoning": "  "},
        {"question_id": "q5", "content": ""},
        {"question_id": "q6", "reasoning": "so </think> no"},
        {"question_id": "q7", "content": "<answer>Milan</answer>"},
        {"question_id": "q8", "prompt": [{"role": "user", "content": "Which city?"}], "sample_id": 8},
        {"rollout_id": 2},
    )
    sieve = sifted(rows, Training(num_rollouts=1), traces=False, only_correct=True)
    assert sieve.counts == {
        "rows_in": 9,
        "dropped_failed": 1,
        "dropped_truncated": 1,
        "dropped_empty": 2,
        "dropped_think_tags": 1,
        "dropped_wrong": 1,
        "dropped_duplicate_prompt": 1,
        "dropped_over_num_rollouts": 1,
    }
    assert sieve.rows["completion"].to_list() == ["<think>\nIt is Rome.\n</think>\n\n<answer>Rome</answer>"]


def test_every_step_is_counted_for_traces():
    rows = rows_of(
        {},
        {"trace_id": 2},
        {"trace_id": 3},
        {"question_id": "q2", "trace": None},
        {"question_id": "q3", "trace": "long " * 100},
        {"question_id": "q4", "sample_id": 4},
        {"question_id": "q5", "sample_id": 5},
    )
    sieve = sifted(rows, Training(num_traces=2, max_chars=300, limit=3), traces=True, only_correct=False)
    assert sieve.counts == {
        "rows_in": 7,
        "dropped_failed": 0,
        "dropped_truncated": 0,
        "dropped_empty": 1,
        "dropped_think_tags": 0,
        "dropped_too_long": 1,
        "dropped_duplicate_prompt": 0,
        "dropped_over_num_traces": 1,
        "dropped_over_limit": 1,
    }
    assert sieve.rows["question_id"].to_list() == ["q1", "q1", "q4"]
    assert sieve.rows["completion"][0] == completion_of("Plan. Rome. Checked.", "Rome")


def test_an_alias_counts_as_correct_and_a_trace_is_closed_with_the_gold_answer():
    rows = rows_of({"content": "<answer>the eternal city</answer>", "aliases": ["Eternal City"]})
    assert sifted(rows, Training(), traces=False, only_correct=True).rows.height == 1
    kept = sifted(rows, Training(), traces=True, only_correct=False)
    assert kept.rows["completion"][0].endswith("</think>\n\n<answer>Rome</answer>")


def test_several_rollouts_of_one_question_are_no_duplicates():
    rows = rows_of({}, {"rollout_id": 2}, {"rollout_id": 3, "trace_id": 2})
    assert sifted(rows, Training(), traces=True, only_correct=False).rows.height == 3


TABLES = ("training_sets", "trails|tiny__mbt-s")


def made_set(study, folder):
    """The embedded teacher's training set, in real runs, with the runner's reports."""
    platform = build_platform(study, Home(folder, study.name))
    node = Node(*TABLES)
    reports = run(platform, units(platform.axes.grid, ancestors(platform.axes.grid, [node])))
    return platform, node, reports[str(node)]


def test_the_counts_stand_in_the_ui(small_study, tmp_path):
    platform, node, report = made_set(small_study, tmp_path)
    assert report.outcome == "made"
    with open_instance(platform.home) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(node.asset))
        checks = instance.get_latest_materialization_event(dg.AssetKey(node.asset))
    shown = event.asset_materialization.metadata
    assert checks is not None
    assert (shown["rows_in"].value, shown["rows_out"].value, shown["dropped_truncated"].value) == (12, 12, 0)
    assert shown["questions"].value == 12


@pytest.fixture
def leaking(small_study):
    """Trained on the first twelve questions of the split that the first twelve of are validated on."""
    trails = small_study.datasets["trails"].model_copy(update={"train": Split(name="validation", limit=20)})
    return small_study.model_copy(update={"datasets": {**small_study.datasets, "trails": trails}})


def test_a_training_question_in_a_validation_split_blocks_training(leaking, tmp_path):
    platform, node, report = made_set(leaking, tmp_path)
    assert report.outcome == "failed"
    assert "check leakage of training_sets: 12 training questions stand in a validation split" in report.why
    assert "trails-validation-000001 is trails-validation-000001 of trails (by id)" in report.why
    assert "set sft.drop_leaked: true" in report.why
    standing = assess(platform.axes.grid, platform.artifacts)[node]
    assert (standing.state, standing.reason) == ("stale", "failed check: leakage")
    job = platform.definitions().resolve_job_def("train")
    with open_instance(platform.home) as instance:
        result = job.execute_in_process(instance=instance, partition_key="tiny__mbt-s", raise_on_error=False)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    told = failed.step_failure_data.error.cause.message
    assert "needs training_sets[trails|tiny__mbt-s], which failed its check leakage" in told


def test_leaked_rows_are_left_out_and_counted_where_the_study_says_so(leaking, tmp_path):
    study = leaking.model_copy(update={"sft": Training(drop_leaked=True)})
    platform, node, report = made_set(study, tmp_path)
    assert report.outcome == "made", report.why
    kept = platform.artifacts.lake.read(node)["question_id"].sort().to_list()
    assert kept == [f"trails-validation-{i:06}" for i in range(13, 21)]
    with open_instance(platform.home) as instance:
        shown = instance.get_latest_materialization_event(dg.AssetKey(node.asset)).asset_materialization.metadata
    assert (shown["rows_in"].value, shown["dropped_leaked"].value, shown["rows_out"].value) == (20, 12, 8)


def question(question_id, text, dataset, **fields):
    document = {"title": "t", "sentences": ["s"], "is_supporting": True}
    values = {"question_id": question_id, "question": text, "dataset": dataset, "sample_id": 1, "answer": "x"}
    empty = {"aliases": [], "documents": [document], "supporting_facts": [], "tier": "easy", "answerable": True}
    return {**values, **empty, "question_type": None, "level": None, **fields}


def stage_with(tmp_path, study, train, validation):
    """A stage over a lake that holds these questions."""
    lake = Lake(tmp_path / "lake")
    schema = {name: column.dtype for name, column in Questions.columns().items()}
    for asset, sides in (("train_questions", train), ("validation_questions", validation)):
        for dataset, rows in sides.items():
            frame = pl.DataFrame(rows, schema=schema).with_columns(sample_id=pl.int_range(1, pl.len() + 1))
            lake.write(Node(asset, dataset), frame, MADE)
    return Stage(None, study, Node("training_sets", "hotpotqa|x"), lake, Home(tmp_path, "x"), None, None)


def test_text_leaks_between_benchmarks_and_ids_within_one_alone(tmp_path):
    study = load_study("paper")
    train = [
        question("a1", "Where was THE author of Faust born?", "hotpotqa"),
        question("a2", "Who wrote it?", "hotpotqa"),
        question("a3", "Which river?", "hotpotqa"),
        question("a4", "?", "hotpotqa"),
    ]
    validation = {
        "hotpotqa": [question("a2", "Another text", "hotpotqa")],
        "musique": [question("a3", "An id of another benchmark", "musique"), question("m2", "!", "musique")],
        "2wikimultihopqa": [question("w1", "where was the author of  'Faust' born", "2wikimultihopqa")],
    }
    pairs = leaked(stage_with(tmp_path, study, {"hotpotqa": train}, validation), ["hotpotqa"])
    assert sorted(pairs.rows()) == [
        ("hotpotqa", "a1", "2wikimultihopqa", "w1", "text"),
        ("hotpotqa", "a2", "hotpotqa", "a2", "id"),
    ]
    assert describe(pairs.sort("question_id")) == (
        "a1 is w1 of 2wikimultihopqa (by text); a2 is a2 of hotpotqa (by id)"
    )


def test_the_same_words_over_other_facts_are_another_question(small_study, tmp_path):
    """The embedded benchmark draws its facts anew for each question."""
    other = [{"title": "t", "sentences": ["other facts"], "is_supporting": True}]
    train = [question("t1", "Where?", "trails"), question("t2", "Where?", "trails", documents=other)]
    validation = {"trails": [question("v1", "Where?", "trails")], "wide": [question("v2", "Why?", "wide")]}
    stage = stage_with(tmp_path, small_study, {"trails": train}, validation)
    assert leaked(stage, ["trails"]).rows() == [("trails", "t1", "trails", "v1", "text")]
