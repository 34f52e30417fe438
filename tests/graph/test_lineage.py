"""Row-level lineage by SQL, over a study that was really trained and judged."""

import contextlib
import dataclasses
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from small import run

import sql
from jobs.plan import final_nodes, units
from mbt_assets.definitions import build_platform
from partitions.grid import Node
from resources import warehouse
from resources.home import Home

PAGE = Path(__file__).parents[2] / "docs" / "lineage.md"
CELL, BASE = "wide|tiny__direct-r", "wide|tiny__base"
KEYS = ["dataset", "variant", "question_id", "rollout_id"]
GARBLED = "I would rather not say."


def rewritten(platform, node, *columns, imported="", **named):
    """Write a partition again with some columns changed."""
    lake = platform.artifacts.lake
    provenance = lake.stored(node).provenance
    source = imported or provenance.source
    lake.write(node, lake.read(node).with_columns(*columns, **named), dataclasses.replace(provenance, source=source))


@contextlib.contextmanager
def kept(platform, *nodes):
    """Give partitions back as they were."""
    paths = [platform.artifacts.lake.path(node) for node in nodes]
    before = [path.read_bytes() for path in paths]
    yield
    for path, content in zip(paths, before, strict=True):
        path.write_bytes(content)


@pytest.fixture(scope="module")
def traced(trained, tmp_path_factory):
    """The trained study in a home of its own, where two questions were gained and one verdict does not parse."""
    root = tmp_path_factory.mktemp("traced") / "home"
    shutil.copytree(trained.home.root, root)
    platform = build_platform(trained.study, Home(root, trained.home.study))
    first = pl.int_range(pl.len())
    rewritten(platform, Node("answer_scores", CELL), exact_match=(first < 2).cast(pl.Float64))
    rewritten(platform, Node("answer_scores", BASE), exact_match=pl.lit(0.0))
    garbled = {"status": "unparseable", "reply": GARBLED, "failure": "no verdict", "verdict": None}
    spoilt = [pl.when(first > 0).then(name).otherwise(pl.lit(value)).alias(name) for name, value in garbled.items()]
    right = pl.when(first > 0).then("judge_correct")
    rewritten(platform, Node("judge_verdicts", CELL), *spoilt, parse_ok=first > 0, judge_correct=right)
    figures = {Node(table, cell) for table in ("cell_estimates", "cell_metrics") for cell in (CELL, BASE)}
    reports = run(platform, units(platform.axes.grid, figures | final_nodes()))
    assert {report.outcome for report in reports.values()} <= {"made", "reused"}, [r.why for r in reports.values()]
    return platform


def ask(platform, statement):
    with warehouse.reading(platform.home.warehouse) as connection:
        return warehouse.query(connection, statement)


def of_cell(platform, cell=CELL, columns="*"):
    dataset, variant = cell.split("|")
    chosen = f"select {columns} from lineage where dataset = '{dataset}' and variant = '{variant}' order by question_id"
    return ask(platform, chosen)


@pytest.mark.parametrize("view", sql.VIEWS)
def test_a_view_has_its_documented_columns_and_one_row_per_grain(traced, view):
    file = sql.load(view)
    assert ask(traced, f"describe {view}")["column_name"].to_list() == list(file.columns)
    assert ask(traced, f"select comment from duckdb_views() where view_name = '{view}'").item() == file.description
    comments = ask(traced, f"select column_name, comment from duckdb_columns() where table_name = '{view}'")
    assert dict(comments.iter_rows()) == file.columns
    rows = ask(traced, f"from {view}")
    assert rows.height > 0
    assert not rows.select(file.grain).is_duplicated().any()
    read = set(re.findall(r"\b(?:from|join) (\w+)", file.statement))
    assert set(file.inputs) == read - set(re.findall(r"^(\w+) as (?:materialized )?\(", file.statement, re.M)) - {
        "json_each"
    }


def test_every_rollout_stands_in_the_lineage_once_however_many_judges_there_are(traced):
    rollouts = ask(traced, f"select {', '.join(KEYS)} from validation_rollouts order by all")
    assert ask(traced, f"select {', '.join(KEYS)} from lineage order by all").equals(rollouts)
    node = Node("judge_verdicts", CELL)
    with kept(traced, node):
        lake = traced.artifacts.lake
        rows = lake.read(node)
        both = pl.concat([rows, rows.with_columns(judge=pl.lit("another"))])
        lake.write(node, both, lake.stored(node).provenance)
        assert ask(traced, "select count(*) from judge_verdicts").item() == rollouts.height + rows.height
        assert ask(traced, f"select {', '.join(KEYS)} from lineage order by all").equals(rollouts)


def test_a_rollout_leads_to_its_question_its_request_its_weights_and_its_scores(traced):
    lake = traced.artifacts.lake
    registered = lake.read(Node("sft_checkpoints", "tiny__direct-r")).row(0, named=True)
    rollouts = lake.read(Node("validation_rollouts", CELL)).sort("question_id")
    verdicts = lake.read(Node("judge_verdicts", CELL)).sort("question_id")
    rows = of_cell(traced)
    assert rows["request_digest"].to_list() == rollouts["request_digest"].to_list()
    assert rows["verdict_request_digest"].to_list() == verdicts["judge_request_digest"].to_list()
    assert rows["verdict_status"].to_list() == ["unparseable"] + ["scored"] * 7
    assert rows["exact_match"].to_list() == [1.0] * 2 + [0.0] * 6
    assert rows["question"].null_count() == rows["regulation"].null_count() == 0
    (weights,) = (
        rows.select("checkpoint_uri", "checkpoint_digest", "parent_digest", "training_set_digest").unique().rows()
    )
    assert weights == tuple(registered[name] for name in ("uri", "digest", "parent_digest", "training_set_digest"))
    assert set(rows["is_checkpoint_changed"]) == {False}
    base = of_cell(traced, BASE)
    assert set(base["checkpoint_digest"]) == {registered["parent_digest"]}
    assert set(base["parent_digest"]) == set(base["training_set_digest"]) == {None}


def test_another_checkpoint_in_the_registry_is_told_and_not_linked(traced):
    registry, trained = Node("checkpoints", "tiny__direct-r"), Node("sft_checkpoints", "tiny__direct-r")
    with kept(traced, registry, trained):
        before = of_cell(traced)
        rewritten(traced, registry, digest=pl.lit("other"), uri=pl.lit("/elsewhere"))
        rows = of_cell(traced)
        assert set(rows["is_checkpoint_changed"]) == {True}
        assert set(rows["registered_digest"]) == {"other"}
        assert rows["checkpoint_uri"].equals(before["checkpoint_uri"]), "the training's own row still knows them"
        rewritten(traced, trained, digest=pl.lit("other"))
        rows = of_cell(traced)
        assert rows["checkpoint_digest"].equals(before["checkpoint_digest"])
        assert set(rows["checkpoint_uri"]) == set(rows["parent_digest"]) == {None}


def test_scores_of_earlier_rollouts_are_no_link(traced):
    node = Node("validation_rollouts", CELL)
    with kept(traced, node):
        rewritten(traced, node, response=pl.col("response") + ".")
        rows = of_cell(traced)
        assert rows.height == 8
        scores = ["exact_match", "verdict_status", "hit_status", "rrp_status", "mqi_status", "verdict_request_digest"]
        assert set(rows.select(scores).null_count().row(0)) == {8}
        assert rows["question"].null_count() == 0
        changed = ask(
            traced, "select distinct table_name from partition_lineage where not is_current and variant is not null"
        )
        assert "answer_scores" in changed["table_name"].to_list()


def test_imported_rollouts_have_no_request_and_say_their_file(traced):
    node = Node("validation_rollouts", CELL)
    with kept(traced, node):
        rewritten(traced, node, checkpoint_digest=pl.lit("rows"), imported="imported:mine.jsonl:sha256:0")
        rows = of_cell(traced)
        assert set(rows["rollout_source"]) == {"imported:mine.jsonl:sha256:0"}
        unknown = ["request_digest", "prompt_digest", "checkpoint_uri", "is_checkpoint_changed"]
        assert set(rows.select(unknown).null_count().row(0)) == {8}


def trained_on(platform, variant):
    return ask(platform, f"from training_lineage where variant = '{variant}' order by trainer, question_id")


def test_a_rewritten_training_row_leads_to_trace_rollout_solution_and_checkpoint(traced):
    lake = traced.artifacts.lake
    rows = trained_on(traced, "tiny__direct-r")
    assert rows.height == lake.read(Node("training_sets", "trails|tiny__direct-r")).height > 0
    for column, node in {
        "source_request_digest": Node("rewritten_traces", "trails|rule-teacher__mbt-r"),
        "rollout_request_digest": Node("train_rollouts", "trails|rule-teacher__base"),
        "solution_request_digest": Node("gold_solutions", "trails"),
    }.items():
        there = lake.read(node).select("question_id", pl.col("request_digest").alias(column))
        assert rows.join(there, on=["question_id", column], how="semi").height == rows.height, column
    assert set(rows["source_variant"]) == {"rule-teacher__mbt-r"}
    assert set(rows["question_type"]) == {"2hop"}
    (digest,) = set(rows["checkpoint_digest"])
    assert set(of_cell(traced)["checkpoint_digest"]) == {digest}


def test_grpo_after_sft_was_trained_on_its_questions_and_on_the_rows_of_its_parent(traced):
    rows = trained_on(traced, "tiny__mbt-s-grpo")
    grpo = traced.artifacts.lake.read(Node("grpo_checkpoints", "tiny__mbt-s-grpo")).row(0, named=True)
    assert rows.group_by("trainer", "trained_variant", "source_table").len().sort("trainer").rows() == [
        ("grpo", "tiny__mbt-s-grpo", "train_questions", grpo["rows"]),
        ("sft", "tiny__mbt-s", "synthesized_traces", 12),
    ]
    assert set(rows["checkpoint_digest"]) == {grpo["digest"]}
    assert set(rows["parent_digest"]) == set(trained_on(traced, "tiny__mbt-s")["checkpoint_digest"])
    practised = rows.filter(trainer="grpo")["question_id"].to_list()
    questions = traced.artifacts.lake.read(Node("train_questions", "trails")).sort("sample_id")
    assert practised == questions["question_id"].head(4).to_list()
    assert rows.filter(trainer="sft")["source_request_digest"].null_count() == 0


def test_rows_that_were_made_anew_since_the_training_have_no_checkpoint(traced):
    node = Node("training_sets", "trails|tiny__mbt-s")
    with kept(traced, node):
        rewritten(traced, node, completion=pl.col("completion") + " ")
        rows = trained_on(traced, "tiny__mbt-s")
        assert (rows.height, rows["checkpoint_digest"].null_count()) == (12, 12)
        after = trained_on(traced, "tiny__mbt-s-grpo")
        assert after.filter(trainer="sft")["checkpoint_digest"].null_count() == 12
        assert after.filter(trainer="grpo")["checkpoint_digest"].null_count() == 0


def test_published_rows_have_no_request(traced):
    node = Node("synthesized_traces", "trails|rule-teacher__mbt-s")
    with kept(traced, node):
        rewritten(traced, node, imported="hub:0123")
        rows = trained_on(traced, "tiny__mbt-s")
        assert set(rows["published_in"]) == {"hub:0123"}
        assert rows["source_request_digest"].null_count() == rows.height


def queries():
    return re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_queries_of_the_docs_answer_what_they_say(traced):
    gained, rows, unread = (ask(traced, text.replace("'trails'", "'wide'")) for text in queries())
    assert gained.height == 2
    assert set(gained["cell_exact_match"]) != {None}
    assert gained["base_request_digest"].null_count() == gained["checkpoint_uri"].null_count() == 0
    trained = traced.artifacts.lake.read(Node("training_sets", "trails|tiny__direct-r"))
    assert set(rows["completion"]) == set(trained["completion"])
    assert rows["source_request_digest"].null_count() == rows["rollout_request_digest"].null_count() == 0
    assert unread["reply"].to_list() == [GARBLED]
    assert unread.select("judge_request_digest", "request_digest", "response").null_count().row(0) == (0, 0, 0)
