"""Imported rollouts in the graph: scored as they are, asked for by nobody, and not made again by anything.

`guest` has no weights at all; `walker` has a checkpoint of a few bytes, and somebody's rollouts beside it.
"""

import contextlib
import re
import shutil
import string

import dagster as dg
import polars as pl
import pytest
from folders import write_checkpoint, write_weights
from foreign import STUDY, reference_rows, write_dataset, write_jsonl
from small import run
from ticks import Daemon

from jobs.plan import slice_of, units
from mbt_assets.cli.instance import open_instance
from mbt_assets.definitions import build_platform
from mbt_assets.importing import ImportingError
from mbt_assets.importing.files import RowFile
from mbt_assets.importing.landing import Order, forget, import_rollouts, record
from mbt_assets.stage import FORCE_TAG
from mbt_assets.staleness import assess
from partitions.grid import Grid, Node
from partitions.study_file import parse_study
from resources.checkpoints import CheckpointError
from resources.home import Home
from resources.lake import Provenance
from resources.servers import ModelServers

GUEST, WALKER = "trails|guest__base", "trails|walker__limopro"
WALKING = """
  walker:
    role: student
    source: {kind: path, path: BASE}
    server: {kind: rules, name: rule-teacher}
    modes: [base, limopro]
    external: {limopro: {source: {kind: path, path: LIMO}}}
  rule-teacher:
"""
LIMITS = "limits: {rescore_pause_s: 0, rescore_interval_s: 1}\n"


def study_of(folder):
    text = STUDY.replace("  rule-teacher:\n", WALKING, 1) + LIMITS
    return parse_study(text.replace("BASE", str(folder / "base")).replace("LIMO", str(folder / "limo")))


class Watched(ModelServers):
    """Model servers that note who is asked, and call `look` before they serve."""

    asked: list[str]

    def look(self):
        pass

    @contextlib.contextmanager
    def serving(self, name, *args):
        self.asked.append(name)
        self.look()
        with super().serving(name, *args) as endpoints:
            yield endpoints


def open_platform(folder):
    home = Home(folder / "home", "small")
    servers = Watched(home)
    servers.asked = []
    return build_platform(study_of(folder), home, servers=servers)


def grid_of(platform):
    return Grid(platform.study, platform.artifacts.imported_cells())


def take_in(platform, path, cell, **options):
    order = Order(RowFile.of(path), cell, **options)
    imported = import_rollouts(platform.study, platform.artifacts.lake, platform.home, order)
    with open_instance(platform.home) as instance:
        record(instance, order, imported)
    return imported


def make(platform, asset, key, **options):
    with open_instance(platform.home) as instance:
        return dg.materialize(
            platform.assets,
            selection=[dg.AssetKey(asset)],
            partition_key=key,
            instance=instance,
            resources=platform.resources,
            raise_on_error=False,
            **options,
        )


def failure(result):
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    return (errors[0].cause or errors[0]).message.strip()


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Both cells imported and scored by the runner of `mbt demo`; gives the folder, its reports and the rows."""
    folder = tmp_path_factory.mktemp("imported")
    write_checkpoint(folder / "base", "base")
    write_checkpoint(folder / "limo", "limo")
    platform = open_platform(folder)
    assert make(platform, "validation_questions", "trails").success
    questions = platform.artifacts.lake.read(Node("validation_questions", "trails")).to_dicts()
    rows = reference_rows(questions)
    take_in(platform, write_dataset(folder / "results", rows), GUEST)
    take_in(platform, write_jsonl(folder / "walked.jsonl", rows[::2]), WALKER)
    grid = grid_of(platform)
    wanted = slice_of(grid, variants={"guest__base"}, datasets={"trails"})
    wanted |= {node for node in grid.nodes if node.key == WALKER}
    reports = run(platform, units(grid, wanted))
    return folder, reports, rows


@pytest.fixture
def place(scored, tmp_path):
    """A copy of the scored home with checkpoints of its own."""
    for name in ("base", "limo", "home"):
        shutil.copytree(scored[0] / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def platform(place):
    return open_platform(place)


def normal(text):
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def right(row):
    """Exact match by the row's own word."""
    gold = {normal(text) for text in (row["answer"], *row["answer_aliases"])}
    return float(bool(normal(row["predicted_answer"])) and normal(row["predicted_answer"]) in gold)


def test_the_real_assets_score_each_row_as_the_row_itself_says(scored):
    folder, reports, rows = scored
    assert {name: r.why for name, r in reports.items() if r.outcome not in ("made", "reused")} == {}
    lake = open_platform(folder).artifacts.lake
    numbers = lake.read(Node("validation_questions", "trails")).select("question_id", "sample_id")
    for cell, theirs in ((GUEST, rows), (WALKER, rows[::2])):
        frame = lake.read(Node("answer_scores", cell)).join(numbers, on="question_id")
        found = {(row["sample_id"], row["rollout_id"]): row for row in frame.to_dicts()}
        assert len(found) == len(theirs)
        for row in theirs:
            ours = found[row["sample_id"], row["rollout_id"]]
            assert (ours["exact_match"], ours["predicted_answer"]) == (right(row), row["predicted_answer"])
            assert ours["failed"] == (not row["response"])
    assert 0 < sum(map(right, rows)) < len(rows)


def test_no_rollout_is_requested_and_no_checkpoint_is_made(scored):
    folder, reports, _ = scored
    platform = open_platform(folder)
    made = {node for report in reports.values() for node in report.made}
    assert {node.asset for node in made} >= {"answer_scores", "judge_verdicts", "cell_metrics"}
    assert not {"validation_rollouts", "checkpoints", "base_models"} & {node.asset for node in made}
    (engine,) = {path.name for path in (platform.home.folder / "engine").iterdir()} & {"validation_rollouts"} or {""}
    assert engine == ""


def test_figures_of_answers_are_there_and_those_of_tokens_are_not(scored):
    folder, _, rows = scored
    row = open_platform(folder).artifacts.lake.read(Node("cell_metrics", GUEST)).row(0, named=True)
    answered = pl.DataFrame([{"q": row["sample_id"], "em": right(row)} for row in rows if row["response"]])
    expected = answered.group_by("q").agg(pl.col("em").mean())["em"].mean()
    assert row["exact_match"] == pytest.approx(expected)
    assert row["mean_tokens"] is None
    assert row["n_failed"] == sum(not row["response"] for row in rows)


def test_all_is_fresh_and_a_second_run_makes_nothing(scored):
    platform = open_platform(scored[0])
    grid = grid_of(platform)
    standings = assess(grid, platform.artifacts)
    assert {standings[node].state for node in grid.nodes if node.key in (GUEST, WALKER)} == {"fresh"}
    wanted = slice_of(grid, variants={"guest__base"}, datasets={"trails"})
    assert {report.outcome for report in run(platform, units(grid, wanted)).values()} == {"reused"}


def test_where_the_rows_came_from_is_kept_with_them_and_shown(scored):
    platform = open_platform(scored[0])
    provenance = platform.artifacts.stored(Node("validation_rollouts", WALKER)).provenance
    assert re.fullmatch(r"imported:walked\.jsonl:sha256:[0-9a-f]{64}", provenance.source)
    assert str(scored[0]) not in str(provenance), "no path of a machine"
    assert (provenance.recipe["file"], provenance.recipe["rows_read"]) == ("walked.jsonl", 12)
    assert provenance.recipe["tool"].startswith("mbt-assets ") and provenance.created_at
    with open_instance(platform.home) as instance:
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey("validation_rollouts"), asset_partitions=[WALKER]), limit=5
        ).records
    (shown,) = [record.asset_materialization.metadata for record in records]
    assert (shown["source"].value, shown["dagster/row_count"].value) == (provenance.source, 12)


# --- Nothing makes them again. ---


@pytest.mark.parametrize("tags", [{}, {FORCE_TAG: "true"}], ids=["run", "forced"])
def test_a_run_of_the_rollouts_gives_the_imported_ones_and_asks_nobody(platform, tags):
    node = Node("validation_rollouts", WALKER)
    before = platform.artifacts.stored(node)
    result = make(platform, "validation_rollouts", WALKER, tags=tags)
    assert result.success
    assert platform.artifacts.stored(node) == before
    assert platform.resources["servers"].asked == []


def test_the_check_of_failed_requests_holds_no_imported_rows_back(platform):
    result = make(platform, "validation_rollouts", GUEST)
    (check,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "failed_requests"]
    assert check.passed and check.metadata["failed"].value > 0
    assert "imported rows are taken as they are" in check.description


def test_other_questions_make_them_stale_and_no_run_puts_others_in_their_place(platform):
    lake, node = platform.artifacts.lake, Node("validation_rollouts", WALKER)
    questions = Node("validation_questions", "trails")
    stored = platform.artifacts.stored(questions)
    fewer = lake.read(questions).head(11)
    lake.write(questions, fewer, stored.provenance)
    standing = assess(grid_of(platform), platform.artifacts)[node]
    assert standing.state == "stale"
    assert standing.reason.startswith(f"{questions} changed; these rows are imported: import them again")
    before = platform.artifacts.stored(node)
    message = failure(make(platform, "validation_rollouts", WALKER, tags={FORCE_TAG: "true"}))
    assert f"{node} is not made again: {questions} changed; these rows are imported" in message
    assert platform.artifacts.stored(node) == before
    assert platform.resources["servers"].asked == []


def test_rows_of_another_splitter_are_to_be_imported_again(platform, monkeypatch):
    from mbt_assets.scoring import answers

    monkeypatch.setattr(answers, "SPLITTER_VERSION", "splitter-9")
    standing = assess(grid_of(platform), platform.artifacts)[Node("validation_rollouts", GUEST)]
    assert standing.reason.startswith("splitter changed; these rows are imported")


def test_forgotten_rows_are_made_here_again(platform):
    lake, node = platform.artifacts.lake, Node("validation_rollouts", WALKER)
    assert forget(lake, node).rows == 12
    assert not lake.exists(node)
    with pytest.raises(ImportingError, match="holds no imported rows"):
        forget(lake, node)
    assert Node("checkpoints", "walker__limopro") in grid_of(platform).nodes
    for asset, key in (("base_models", "walker__base"), ("checkpoints", "walker__limopro")):
        assert make(platform, asset, key).success
    assert make(platform, "validation_rollouts", WALKER).success
    assert platform.resources["servers"].asked == ["walker"]
    assert not platform.artifacts.stored(node).provenance.imported


def test_rows_imported_while_a_run_asks_for_some_stay(platform, scored):
    """Weeks may lie between the start of a run and its end."""
    node = Node("validation_rollouts", WALKER)
    forget(platform.artifacts.lake, node)
    for asset, key in (("base_models", "walker__base"), ("checkpoints", "walker__limopro")):
        assert make(platform, asset, key).success
    platform.resources["servers"].look = lambda: take_in(platform, scored[0] / "walked.jsonl", WALKER)
    result = make(platform, "validation_rollouts", WALKER)
    assert "rollouts were imported or forgotten while this ran" in failure(result)
    assert platform.artifacts.stored(node).provenance.source.startswith("imported:walked.jsonl")


def test_scores_of_rows_that_were_replaced_meanwhile_do_not_land(platform, scored):
    file = write_jsonl(platform.home.root / "other.jsonl", scored[2][1::2])
    platform.resources["servers"].look = lambda: take_in(platform, file, WALKER, replace=True)
    result = make(platform, "judge_verdicts", WALKER)
    assert failure(result).startswith(f"resources.checkpoints.{CheckpointError.__name__}")
    assert f"validation_rollouts[{WALKER}] was imported anew since: make the cell's scores again" in failure(result)


# --- Weights, and the sensor that looks at them. ---


def test_a_changed_checkpoint_asks_for_no_imported_cell(platform, place):
    write_weights(place / "limo" / "model.safetensors", "trained again")
    shutil.rmtree(place / "base")
    with open_instance(platform.home) as instance:
        daemon = Daemon(platform, instance)
        assert daemon.tick() == []
    assert daemon.messages == ["0 checkpoints changed, 0 cells requested, 0 waiting"]


def test_rows_that_were_imported_anew_are_scored_again_by_the_sensor(platform, scored):
    file = write_jsonl(platform.home.root / "other.jsonl", scored[2][1::2])
    new = take_in(platform, file, WALKER, replace=True)
    with open_instance(platform.home) as instance:
        daemon = Daemon(platform, instance)
        assert daemon.work() == [("score_cell", WALKER, 1)]
    assert "walker" not in platform.resources["servers"].asked
    assert platform.artifacts.stored(Node("validation_rollouts", WALKER)) == new.stored
    lake = platform.artifacts.lake
    digests = [lake.values(Node(table, WALKER), "checkpoint_digest") for table in ("validation_rollouts", "rrp_scores")]
    assert digests[0] == digests[1]


def test_rows_may_be_claimed_for_the_checkpoint_that_is_registered(platform, place, scored):
    file = scored[0] / "walked.jsonl"
    with pytest.raises(ImportingError, match=r"checkpoints\[walker__limopro\] is not in the lake"):
        take_in(platform, file, WALKER, checkpoint="current", replace=True)
    for asset, key in (("base_models", "walker__base"), ("checkpoints", "walker__limopro")):
        assert make(platform, asset, key).success
    take_in(platform, file, WALKER, checkpoint="current", replace=True)
    lake = platform.artifacts.lake
    registered = lake.values(Node("checkpoints", "walker__limopro"), "digest")
    assert lake.values(Node("validation_rollouts", WALKER), "checkpoint_digest") == registered
    write_weights(place / "limo" / "model.safetensors", "trained again")
    with pytest.raises(ImportingError, match="have changed since"):
        take_in(platform, file, WALKER, checkpoint="current", replace=True)


def test_rows_that_were_made_here_are_replaced_only_when_that_is_said(platform, scored):
    lake, node = platform.artifacts.lake, Node("validation_rollouts", WALKER)
    lake.write(node, lake.read(node), Provenance("f", {}, {}))
    with pytest.raises(ImportingError, match="is there already, made here: say --replace"):
        take_in(platform, scored[0] / "walked.jsonl", WALKER)
    assert take_in(platform, scored[0] / "walked.jsonl", WALKER, replace=True).stored.provenance.imported


# --- A model without weights. ---


def test_cells_that_only_an_import_can_fill_are_planned_once_it_has(scored):
    platform = open_platform(scored[0])
    grid = grid_of(platform)
    cells = {node.key for node in slice_of(grid) if node.asset == "cell_metrics" and "guest" in node.key}
    assert cells == {GUEST}
    assert not {node for node in grid.nodes if "guest" in node.key and node.asset in ("base_models", "train_rollouts")}
    waiting = assess(grid, platform.artifacts)[Node("validation_rollouts", "wide|guest__base")]
    assert (waiting.state, waiting.reason) == ("missing", "to be imported (mbt import rollouts)")


def test_who_asks_a_model_without_weights_is_told_to_import(platform):
    assert make(platform, "validation_questions", "wide").success
    for asset, key in (("base_models", "guest__base"), ("validation_rollouts", "wide|guest__base")):
        message = failure(make(platform, asset, key))
        assert "mbt import rollouts" in message or "needs checkpoints[guest__base]" in message
