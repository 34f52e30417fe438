"""The graph on the rule-based models: every run is a real Dagster run, every reply comes over HTTP."""

import shutil

import dagster as dg
import polars as pl
import pytest
from small import run, teacher_units

from mbt_assets import prompts
from mbt_assets.cli.instance import open_instance
from mbt_assets.definitions import build_platform
from mbt_assets.staleness import assess
from partitions.grid import Node
from resources import warehouse
from resources.home import Home

CELL = "trails|rule-teacher__base"


def ask(platform, sql):
    with warehouse.reading(platform.home.warehouse) as connection:
        return warehouse.query(connection, sql)


def test_every_unit_is_made(made):
    _, reports = made
    assert {report.outcome for report in reports.values()} == {"made"}, reports
    assert set(reports) >= {"validation_questions[trails]", f"cell[{CELL}]", "cell[wide|rule-teacher__base]", "marts"}


def test_rows_are_joined_by_key_and_complete(made):
    platform, _ = made
    frame = ask(
        platform,
        """SELECT count(*) AS n, count(DISTINCT q.question_id) AS questions, count(v.verdict) AS verdicts,
                  count(r.regulation) AS profiles, count(m.l_obs) AS levels, avg(s.exact_match) AS em
           FROM validation_questions AS q
           JOIN validation_rollouts AS o USING (dataset, question_id)
           JOIN answer_scores AS s USING (dataset, variant, question_id, rollout_id)
           JOIN judge_verdicts AS v USING (dataset, variant, question_id, rollout_id)
           JOIN rrp_scores AS r USING (dataset, variant, question_id, rollout_id)
           JOIN mqi_scores AS m USING (dataset, variant, question_id, rollout_id)
           WHERE q.dataset = 'trails'""",
    )
    assert frame.rows() == [(12, 12, 12, 12, 12, 1.0)]


def test_the_marts_show_the_cells_that_there_are(made):
    platform, _ = made
    rows = ask(platform, "SELECT dataset, variant, n_questions, exact_match FROM main_results ORDER BY ALL").rows()
    assert [row for row in rows if row[2]] == [
        ("trails", "rule-teacher__base", 12, 1.0),
        ("wide", "rule-teacher__base", 8, 1.0),
    ]
    assert ask(platform, "SELECT aes FROM aes WHERE variant = 'rule-teacher__base'").rows() == [(0.0,), (0.0,)]


def test_what_every_table_cost_is_known_but_for_the_price(made):
    platform, _ = made
    rows = ask(
        platform,
        "SELECT asset, n_requests, prompt_tokens > 0, completion_tokens > 0, mean_latency_ms > 0, mean_queue_ms >= 0, "
        f"cost FROM cost WHERE dataset || '|' || variant = '{CELL}' ORDER BY asset",
    ).rows()
    # Each of the four scores is asked for once more, the profile twice.
    counts = {"answer_hits": 12, "judge_retests": 60, "judge_verdicts": 12, "mqi_scores": 12, "rrp_scores": 12}
    counts["validation_rollouts"] = 12
    assert rows == [(table, count, True, True, True, True, None) for table, count in counts.items()]


def test_the_report_escapes_and_holds_every_mart(made):
    platform, _ = made
    text = (platform.home.folder / "report.html").read_text()
    assert all(f'id="{mart}"><summary>' in text for mart in ("main_results", "aes", "rrp_profile", "mqi"))
    assert "no benchmark results" in text


def test_headline_figures_and_the_schema_are_metadata(made):
    platform, _ = made
    with open_instance(platform.home) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("cell_metrics"))
    shown = event.asset_materialization.metadata
    assert shown["exact_match"].value == 1.0
    assert shown["dagster/row_count"].value == 1
    types = {column.name: column.type for column in shown["dagster/column_schema"].schema.columns}
    assert (types["exact_match"], types["n_questions"], types["dataset"]) == ("Float64", "Int64", "String")
    spec = platform.definitions().resolve_asset_graph().get(dg.AssetKey("answer_scores"))
    columns = [column.name for column in spec.metadata["dagster/column_schema"].columns]
    assert "exact_match" in columns
    assert spec.group_name == "scores"
    assert spec.owners == ["team:mbt"]


def test_a_second_run_reuses_everything(made):
    platform, _ = made
    reports = run(platform, teacher_units(platform))
    assert {report.outcome for report in reports.values()} == {"reused"}


def stale(platform):
    standings = assess(platform.axes.grid, platform.artifacts)
    return {str(node) for node, standing in standings.items() if standing.state == "stale"}


def test_nothing_is_stale_until_something_changes(made):
    platform, _ = made
    assert stale(platform) == set()


@pytest.mark.parametrize(
    ("template", "first", "untouched"),
    [
        ("verdict", "judge_verdicts", {"validation_rollouts", "answer_scores", "rrp_scores", "mqi_scores"}),
        ("mqi", "mqi_scores", {"validation_rollouts", "answer_scores", "judge_verdicts"}),
        ("answer", "validation_rollouts", {"validation_questions", "base_models", "checkpoints"}),
    ],
)
def test_an_edited_template_makes_stale_just_what_depends_on_it(made, monkeypatch, template, first, untouched):
    platform, _ = made
    digest = prompts.digest
    monkeypatch.setattr(prompts, "digest", lambda name: "edited" if name == template else digest(name))
    found = stale(platform)
    assert {f"{first}[{CELL}]", f"cell_metrics[{CELL}]", "main_results", "warehouse"} <= found
    assert {name.split("[")[0] for name in found}.isdisjoint(untouched)
    reason = assess(platform.axes.grid, platform.artifacts)[Node(first, CELL)].reason
    assert reason == "prompt changed"


def test_changed_rows_of_a_parent_make_its_children_stale(made, tmp_path):
    platform, _ = made
    node = Node("validation_questions", "wide")
    path = platform.artifacts.lake.path(node)
    before = path.read_bytes()
    stored = platform.artifacts.stored(node)
    frame = platform.artifacts.lake.read(node).with_columns(question=pl.col("question") + "?")
    try:
        platform.artifacts.lake.write(node, frame, stored.provenance)
        assert all("wide" in name or "[" not in name for name in stale(platform))
        standing = assess(platform.axes.grid, platform.artifacts)[
            Node("validation_rollouts", "wide|rule-teacher__base")
        ]
        assert standing.reason == "validation_questions[wide] changed"
    finally:
        path.write_bytes(before)


def test_a_failing_part_stops_what_needs_it_and_nothing_else(made, small_study, tmp_path):
    datasets = dict(small_study.datasets)
    datasets["wide"] = datasets["wide"].model_copy(update={"options": {"distractor_chains": 99}})
    broken = small_study.model_copy(update={"datasets": datasets})
    platform = build_platform(broken, Home(tmp_path, "small"))
    reports = run(platform, teacher_units(platform))
    assert reports["validation_questions[wide]"].outcome == "failed"
    assert "distractor_chains should be a whole number" in reports["validation_questions[wide]"].why
    assert reports["cell[wide|rule-teacher__base]"].outcome == "skipped"
    assert reports[f"cell[{CELL}]"].outcome == "made"


def test_a_dataset_that_leaves_the_study_leaves_its_figures(made, small_study, tmp_path):
    platform, _ = made
    shutil.copytree(platform.home.root, tmp_path / "home")
    datasets = {name: dataset for name, dataset in small_study.datasets.items() if name != "wide"}
    smaller = build_platform(small_study.model_copy(update={"datasets": datasets}), Home(tmp_path / "home", "small"))
    reports = run(smaller, teacher_units(smaller))
    assert {name for name, report in reports.items() if report.outcome == "made"} == {"marts"}
    for table in ("main_results", "cost", "cell_metrics", "answer_scores", "validation_questions"):
        assert ask(smaller, f"SELECT DISTINCT dataset FROM {table}").rows() == [("trails",)], table
