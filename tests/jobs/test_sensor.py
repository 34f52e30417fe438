"""Real ticks of the re-scoring sensor, and real runs of what it asks for, over a real lake and a real instance.

Two checkpoints of a few bytes stand in for weights; what "answers" for them is the rule-based teacher over HTTP.
"""

import contextlib
import shutil

import dagster as dg
import pytest
from folders import write_checkpoint, write_weights
from small import SMALL, run
from ticks import Daemon

from jobs.plan import final_nodes, slice_of, units
from jobs.sensors import TARGET_TAG
from mbt_assets.cli.instance import open_instance
from mbt_assets.definitions import build_platform
from mbt_assets.stage import FORCE_TAG
from mbt_assets.staleness import assess
from partitions.grid import CELL_ASSETS, Node
from partitions.study_file import parse_study
from resources import warehouse
from resources.home import Home
from resources.leases import ServerError
from resources.servers import ModelServers

STUDENT = """
  walker:
    role: student
    source: {kind: path, path: BASE}
    server: {kind: rules, name: rule-teacher}
    modes: [base, metacognitive-prompt, limopro]
    external: {limopro: {source: {kind: path, path: LIMO}}}
  rule-teacher:
"""
LIMITS = "limits: {rescore_pause_s: 0, rescore_attempts: 2, rescore_interval_s: 1}\n"
OURS = [f"{dataset}|walker__limopro" for dataset in ("trails", "wide")]
BASE = [f"{dataset}|walker__{mode}" for dataset in ("trails", "wide") for mode in ("base", "metacognitive-prompt")]


def study_of(folder):
    text = (
        SMALL.replace("  rule-teacher:\n", STUDENT, 1).replace("limit: 12", "limit: 3").replace("limit: 8", "limit: 3")
    )
    text = text.replace("BASE", str(folder / "base")).replace("LIMO", str(folder / "limo"))
    return parse_study(text + LIMITS)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Every cell of the two checkpoints, scored once."""
    folder = tmp_path_factory.mktemp("scored")
    for name in ("base", "limo"):
        write_checkpoint(folder / name, name)
    platform = build_platform(study_of(folder), Home(folder / "home", "small"))
    slugs = {"walker__base", "walker__limopro", "walker__metacognitive-prompt"}
    nodes = slice_of(platform.axes.grid, variants=slugs) | final_nodes()
    reports = run(platform, units(platform.axes.grid, nodes))
    assert {report.outcome for report in reports.values()} == {"made"}, reports
    return folder


class Refusing(ModelServers):
    """Model servers that do not come up so many times."""

    refusals = 0

    @contextlib.contextmanager
    def serving(self, *args):
        if type(self).refusals:
            type(self).refusals -= 1
            raise ServerError("out of memory")
        with super().serving(*args) as endpoints:
            yield endpoints


@pytest.fixture
def place(scored):
    """The folder with the checkpoints and the study's home; put back as it was after the test."""
    kept = scored.with_name("kept")
    shutil.copytree(scored, kept)
    yield scored
    shutil.rmtree(scored)
    kept.rename(scored)


@pytest.fixture
def platform(place):
    home = Home(place / "home", "small")
    Refusing.refusals = 0
    return build_platform(study_of(place), home, servers=Refusing(home))


@pytest.fixture
def daemon(platform):
    with open_instance(platform.home) as instance:
        yield Daemon(platform, instance)


def stale_cells(platform):
    standings = assess(platform.axes.grid, platform.artifacts)
    return sorted(node.key for node, s in standings.items() if node.asset == "cell_metrics" and s.state == "stale")


def test_nothing_is_requested_while_nothing_has_changed(daemon):
    assert daemon.tick() == []
    assert daemon.messages == ["0 checkpoints changed, 0 cells requested, 0 waiting"]


def test_files_replaced_in_place_are_registered_and_their_cells_scored_again_and_no_others(daemon, place, platform):
    before = platform.artifacts.lake.values(Node("checkpoints", "walker__limopro"), "digest")
    write_weights(place / "limo" / "model.safetensors", "trained again")
    assert stale_cells(platform) == OURS
    done = daemon.work()
    assert done == [("register_checkpoint", "walker__limopro", 1), *(("score_cell", key, 1) for key in OURS)]
    assert daemon.messages == [
        "1 checkpoint changed, 1 registration requested, 0 cells requested, 2 waiting",
        "1 checkpoint changed, 2 cells requested, 0 waiting",
        "0 checkpoints changed, 0 cells requested, 0 waiting",
    ]
    now = platform.artifacts.lake.values(Node("checkpoints", "walker__limopro"), "digest")
    assert now != before
    for key in OURS:
        for table in ("validation_rollouts", "answer_scores", "judge_verdicts", "rrp_scores", "mqi_scores"):
            assert platform.artifacts.lake.values(Node(table, key), "checkpoint_digest") == now
    assert stale_cells(platform) == []


def test_a_run_makes_rollouts_scores_and_figures_in_that_order(daemon, place):
    write_weights(place / "limo" / "model.safetensors", "trained again")
    for request in daemon.tick():
        daemon.run(request)
    result = daemon.run(daemon.tick()[0])
    made = [event.asset_key.path[-1] for event in result.get_asset_materialization_events()]
    assert (made[0], set(made)) == ("validation_rollouts", set(CELL_ASSETS))
    assert made.index("mqi_scores") < made.index("cell_estimates") < made.index("cell_metrics")


def test_a_changed_base_is_resolved_first_and_takes_its_prompted_variant_along(daemon, place):
    write_weights(place / "base" / "model.safetensors", "another release")
    done = daemon.work()
    steps = [job for job, _, _ in done]
    assert steps == ["register_base", *["register_checkpoint"] * 2, *["score_cell"] * 4]
    assert sorted(key for job, key, _ in done if job == "score_cell") == sorted(BASE)


def test_files_that_were_touched_or_put_back_ask_for_nothing(daemon, place):
    path = place / "limo" / "model.safetensors"
    path.touch()
    assert daemon.work() == []
    write_weights(path, "others")
    write_weights(path, "limo")
    assert daemon.work() == []


def test_a_failed_rescore_is_tried_again_up_to_the_cap_and_then_told(daemon, place, platform):
    write_weights(place / "limo" / "model.safetensors", "trained again")
    Refusing.refusals = 3
    done = daemon.work()
    assert [entry for entry in done if entry[0] == "score_cell"] == [
        ("score_cell", OURS[0], 1),
        ("score_cell", OURS[1], 1),
        ("score_cell", OURS[0], 2),
        ("score_cell", OURS[1], 2),
    ]
    assert daemon.messages[-1] == f"1 checkpoint changed, 0 cells requested, 0 waiting, 1 given up: {OURS[0]}"
    assert stale_cells(platform) == [OURS[0]]
    rows = platform.artifacts.lake.read(Node("answer_scores", OURS[0]))
    assert rows.height == 3, "the old scores stay"
    write_weights(place / "limo" / "model.safetensors", "and again")
    assert ("score_cell", OURS[0], 1) in daemon.work(), "other weights are another matter"
    assert stale_cells(platform) == []


def test_a_lost_tick_loses_nothing(daemon, place):
    write_weights(place / "limo" / "model.safetensors", "trained again")
    first = [request.run_key for request in daemon.tick()]
    assert [request.run_key for request in daemon.tick()] == first
    assert len(daemon.work()) == 3


def test_what_somebody_else_makes_already_is_not_requested(daemon, place):
    write_weights(place / "limo" / "model.safetensors", "trained again")
    for request in daemon.tick():
        daemon.run(request)
    tags = {"dagster/partition": OURS[0]}
    daemon.instance.add_run(dg.DagsterRun("score_cell", status=dg.DagsterRunStatus.STARTED, tags=tags))
    assert [request.partition_key for request in daemon.tick()] == [OURS[1]]
    assert daemon.messages[-1] == "1 checkpoint changed, 1 cell requested, 0 waiting, 1 running"


@pytest.mark.parametrize(
    ("folder", "steps", "unit"),
    [
        ("base", 0, "base_models[walker__base]"),
        ("limo", 0, "checkpoints[walker__limopro]"),
        ("limo", 1, f"cell[{OURS[0]}]"),
    ],
)
def test_what_the_command_line_makes_already_is_not_requested(daemon, place, folder, steps, unit):
    """Its runs have neither a job nor a selection that would tell, but the name of what they make."""
    write_weights(place / folder / "model.safetensors", "trained again")
    for _ in range(steps):
        for request in daemon.tick():
            daemon.run(request)
    asked = [request.partition_key for request in daemon.tick()]
    tags = {"mbt/unit": unit}
    daemon.instance.add_run(dg.DagsterRun("__ephemeral_asset_job__", status=dg.DagsterRunStatus.STARTED, tags=tags))
    key = unit.partition("[")[2].removesuffix("]")
    assert key in asked
    assert [request.partition_key for request in daemon.tick()] == [other for other in asked if other != key]


def test_a_damaged_checkpoint_is_told_and_nothing_is_run(daemon, place):
    path = place / "limo" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-2])
    assert daemon.work() == []
    assert "walker__limopro cannot be looked at" in daemon.messages[-1]
    assert "model.safetensors" in daemon.messages[-1] and "is damaged" in daemon.messages[-1]


def test_requests_carry_what_they_are_for(daemon, place):
    write_weights(place / "limo" / "model.safetensors", "trained again")
    (request,) = daemon.tick()
    assert request.run_key == f"{request.tags[TARGET_TAG]}:1"


def test_scores_of_a_checkpoint_that_changed_after_the_rollouts_do_not_land(daemon, place, platform):
    """Scored from rollouts of the old weights, a cell would pass for one of the new."""
    write_weights(place / "limo" / "model.safetensors", "trained again")
    before = platform.artifacts.stored(Node("answer_scores", OURS[0]))

    def score():
        job = daemon.definitions.resolve_job_def("scores_only")
        result = job.execute_in_process(instance=daemon.instance, partition_key=OURS[0], raise_on_error=False)
        failed = [event for event in result.all_events if event.is_step_failure]
        return failed[0].step_failure_data.error.cause.message

    assert "limo have changed since checkpoints[walker__limopro] registered them" in score()
    for request in daemon.tick():
        daemon.run(request)
    message = score()
    assert "checkpoints[walker__limopro] has changed since these rollouts were made" in message
    assert f"materialize validation_rollouts[{OURS[0]}] again" in message
    assert platform.artifacts.stored(Node("answer_scores", OURS[0])) == before


def test_rollouts_of_a_checkpoint_that_changes_meanwhile_do_not_land(daemon, place, platform):
    node = Node("validation_rollouts", OURS[0])
    before = platform.artifacts.stored(node)

    class Swapping(ModelServers):
        @contextlib.contextmanager
        def serving(self, *args):
            with super().serving(*args) as endpoints:
                write_weights(place / "limo" / "model.safetensors", "swapped under way")
                yield endpoints

    other = build_platform(platform.study, platform.home, servers=Swapping(platform.home))
    job = other.definitions().resolve_job_def("score_cell")
    result = job.execute_in_process(instance=daemon.instance, partition_key=OURS[0], raise_on_error=False)
    assert not result.success
    assert platform.artifacts.stored(node) == before
    write_weights(place / "limo" / "model.safetensors", "limo")
    result = daemon.definitions.resolve_job_def("score_cell").execute_in_process(
        instance=daemon.instance, partition_key=OURS[0]
    )
    (made,) = [e for e in result.get_asset_materialization_events() if e.asset_key.path == ["validation_rollouts"]]
    shown = made.materialization.metadata
    sent = (shown["requests_sent"].value, shown["replies_reused"].value)
    assert sent == (3, 0), "a reply of the other weights is not used again when the first are put back"


def test_replies_of_swapped_weights_are_thrown_away_after_a_failure_too(daemon, place, platform):
    class Failing(ModelServers):
        @contextlib.contextmanager
        def serving(self, *args):
            with super().serving(*args) as endpoints:
                write_weights(place / "limo" / "model.safetensors", "swapped under way")
                yield endpoints
            raise ServerError("the server is gone")

    other = build_platform(platform.study, platform.home, servers=Failing(platform.home))
    node = Node("validation_rollouts", OURS[0])
    platform.artifacts.lake.path(node).unlink()
    tags = {FORCE_TAG: "true"}
    other.definitions().resolve_job_def("score_cell").execute_in_process(
        instance=daemon.instance, partition_key=OURS[0], tags=tags, raise_on_error=False
    )
    write_weights(place / "limo" / "model.safetensors", "limo")
    result = daemon.definitions.resolve_job_def("score_cell").execute_in_process(
        instance=daemon.instance, partition_key=OURS[0]
    )
    (made,) = [e for e in result.get_asset_materialization_events() if e.asset_key.path == ["validation_rollouts"]]
    assert made.materialization.metadata["requests_sent"].value == 3


def test_weights_that_go_back_and_forth_are_never_given_up(daemon, place):
    for text in ("a", "limo", "a", "limo", "a"):
        write_weights(place / "limo" / "model.safetensors", text)
        assert [attempt for _, _, attempt in daemon.work()] == [1, 1, 1]


def test_a_damaged_file_of_one_cell_is_told_and_the_others_are_scored(daemon, place, platform):
    path = platform.artifacts.lake.path(Node("rrp_scores", BASE[0]))
    path.write_bytes(path.read_bytes()[:100])
    write_weights(place / "limo" / "model.safetensors", "trained again")
    assert [key for job, key, _ in daemon.work() if job == "score_cell"] == OURS
    assert f"{BASE[0]} cannot be looked at: rrp_scores[{BASE[0]}]" in daemon.messages[-1]


def test_marts_leave_out_a_cell_whose_scores_are_of_two_checkpoints(daemon, place, platform):
    node = Node("mqi_scores", OURS[0])
    old = platform.artifacts.lake.path(node).read_bytes()
    write_weights(place / "limo" / "model.safetensors", "trained again")
    daemon.work()
    platform.artifacts.lake.path(node).write_bytes(old)
    job = daemon.definitions.resolve_job_def("marts_only")
    result = job.execute_in_process(instance=daemon.instance)
    left_out = {e.materialization.metadata.get("cells_left_out") for e in result.get_asset_materialization_events()}
    assert dg.IntMetadataValue(1) in left_out
    with warehouse.reading(platform.home.warehouse) as connection:
        shown = warehouse.query(
            connection, "SELECT dataset || '|' || variant FROM mqi WHERE tier = 'all' AND l_obs IS NOT NULL"
        )
    cells = [cell for (cell,) in shown.rows() if "limopro" in cell]
    assert cells == [OURS[1]]
    assert [key for job, key, _ in daemon.work() if job == "score_cell"] == [OURS[0]], "and it is scored again"
