"""Rows from data sets on the Hub, in real Dagster runs: the models of this study cannot be reached, and need not be."""

import os
import random
import shutil
import subprocess
import sys

import dagster as dg
import orjson
import polars as pl
import pytest
from hub_folder import put_data_set
from hub_server import HubServer
from small import run

from jobs.plan import ancestors, units
from mbt_assets import benchmarks
from mbt_assets.benchmarks import hub
from mbt_assets.cli.instance import open_instance
from mbt_assets.definitions import build_platform
from mbt_assets.staleness import assess
from partitions.grid import Grid, Node
from partitions.study_file import parse_study
from resources.home import Home
from resources.lake import Lake

STUDY = """
name: published
datasets:
  trails: {benchmark: trails, train: {name: train, limit: 12}, validation: {name: validation, limit: 12}}
training_datasets: [trails]
models:
  pupil:
    role: student
    source: {kind: hub, repo: nobody/pupil}
    server: {kind: vllm}
    modes: [base, self-distill, mbt-s, mbt-r]
  master:
    role: teacher
    source: {kind: hub, repo: nobody/master}
    server: {kind: openai, base_url: "http://127.0.0.1:9/v1", model: nobody}
teacher: master
judges: [master]
published:
  train_rollouts[trails|pupil__base]: {repo: us/rollouts, config: Pupil-1B}
  gold_solutions[trails]: {repo: us/solutions, config: trails}
  synthesized_traces[trails|master__mbt-s]: {repo: us/mbt-s, config: trails}
  rewritten_traces[trails|pupil__mbt-r]: {repo: us/mbt-r, config: Pupil-1B}
"""
QUESTIONS = list(benchmarks.load("trails", "train", limit=20))
ROLLOUTS = Node("train_rollouts", "trails|pupil__base")
SOLUTIONS = Node("gold_solutions", "trails")
SYNTHESIZED = Node("synthesized_traces", "trails|master__mbt-s")
REWRITTEN = Node("rewritten_traces", "trails|pupil__mbt-r")
SETS = {mode: Node("training_sets", f"trails|pupil__{mode}") for mode in ("self-distill", "mbt-s", "mbt-r")}
REPOS = {ROLLOUTS: "us/rollouts", SOLUTIONS: "us/solutions", SYNTHESIZED: "us/mbt-s", REWRITTEN: "us/mbt-r"}


def task(question):
    """What each published row says of its question."""
    shown = {"sample_id": question["sample_id"], "metadata": {"id": question["question_id"], "level": "easy"}}
    return shown | {"question": question["question"], "answer": question["answer"]}


def rollout_row(question):
    number, answer = question["sample_id"], question["answer"]
    reasoning = f"pupil thinks of {number}"
    response = f"<think>\n{reasoning}\n</think>\n\n<answer>{answer}</answer>"
    text = {"response": response, "valid": True, "reasoning_trace": reasoning, "predicted_answer": answer}
    return task(question) | {"rollout_id": 1, **text}


def rewrite_rows(question):
    drafted = {key: value for key, value in rollout_row(question).items() if key not in ("question", "metadata")}
    number = question["sample_id"]
    return [drafted | {"trace_id": i, "refined_trace": f"rewrite {i} of {number}\n"} for i in (1, 2)]


def shuffled(rows):
    return random.Random(0).sample(rows, len(rows))


def put_all(root):
    """The four data sets as their authors lay them out, in no order and of more questions than the study has."""
    put_data_set(
        root,
        "us/rollouts",
        {
            "Other-2B": {"train": [rollout_row(q) | {"response": "another model's"} for q in QUESTIONS]},
            "Pupil-1B": {"train": shuffled([rollout_row(q) for q in QUESTIONS])},
        },
    )
    solutions = [task(q) | {"solution": f"solution of {q['sample_id']}"} for q in QUESTIONS]
    put_data_set(root, "us/solutions", {"trails": {"train": shuffled(solutions)}})
    traces = [task(q) | {"synthesized_trace": f"synthesis for {q['sample_id']}"} for q in QUESTIONS]
    put_data_set(root, "us/mbt-s", {"trails": {"train": shuffled(traces)}})
    rewrites = [row for q in QUESTIONS for row in rewrite_rows(q)]
    put_data_set(root, "us/mbt-r", {"Pupil-1B": {"train": shuffled(rewrites)}})


def wanted(grid):
    return units(grid, ancestors(grid, {*SETS.values(), SOLUTIONS}))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Everything up to the training sets, what the runner said of it, and the mirror that it came from."""
    root = tmp_path_factory.mktemp("hub")
    put_all(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MBT_HUB_MIRROR", str(root))
        home = Home(tmp_path_factory.mktemp("home"), "published")
        platform = build_platform(parse_study(STUDY), home)
        yield platform, run(platform, wanted(platform.axes.grid)), root


def rows_of(platform, node):
    """A partition's rows with the number of the question that each belongs to."""
    questions = platform.artifacts.lake.read(Node("train_questions", "trails")).select("question_id", "sample_id")
    frame = platform.artifacts.lake.read(node).join(questions, on="question_id", validate="m:1")
    return frame.sort([name for name in ("sample_id", "rollout_id", "trace_id") if name in frame.columns])


def test_every_partition_is_made_though_no_model_can_be_reached(made):
    _, reports, _ = made
    assert {report.outcome for report in reports.values()} == {"made"}, reports
    assert set(reports) == {
        "train_questions[trails]",
        "validation_questions[trails]",
        *map(str, (ROLLOUTS, SOLUTIONS, SYNTHESIZED, REWRITTEN, *SETS.values())),
    }


def test_rows_of_a_shuffled_data_set_are_joined_by_key(made):
    platform, _, _ = made
    numbers = list(range(1, 13))
    assert rows_of(platform, ROLLOUTS)["reasoning"].to_list() == [f"pupil thinks of {n}" for n in numbers]
    assert rows_of(platform, SOLUTIONS)["solution"].to_list() == [f"solution of {n}" for n in numbers]
    assert rows_of(platform, SYNTHESIZED)["trace"].to_list() == [f"synthesis for {n}" for n in numbers]
    rewrites = rows_of(platform, REWRITTEN)
    assert rewrites["trace"].to_list() == [f"rewrite {i} of {n}" for n in numbers for i in (1, 2)]
    assert rewrites["trace_id"].to_list() == [1, 2] * 12


def test_a_published_row_says_that_no_request_was_sent_for_it(made):
    platform, _, _ = made
    for node in (ROLLOUTS, SOLUTIONS, SYNTHESIZED, REWRITTEN):
        frame = platform.artifacts.lake.read(node)
        assert frame["attempts"].sum() == frame["discarded_tokens"].sum() == 0
        assert frame["error"].null_count() == frame["completion_tokens"].null_count() == frame.height
        assert set(frame["finish_reason"]) == {"stop"}
        assert frame["request_digest"].n_unique() == frame.height
    rollouts = platform.artifacts.lake.read(ROLLOUTS)
    assert rollouts["checkpoint_digest"].to_list() == rollouts["prompt_digest"].to_list()
    assert rows_of(platform, ROLLOUTS)["response"][0] == rollout_row(QUESTIONS[0])["response"]
    assert rows_of(platform, ROLLOUTS)["content"][0] == f"<answer>{QUESTIONS[0]['answer']}</answer>"


def test_rows_beyond_the_study_s_limit_are_left_out_and_counted(made):
    platform, _, _ = made
    shown = metadata(platform, REWRITTEN)
    assert (shown["rows_read"].value, shown["rows_left_out"].value, shown["dagster/row_count"].value) == (40, 16, 24)


def metadata(platform, node):
    with open_instance(platform.home) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(node.asset))
    return event.asset_materialization.metadata


def test_the_revision_is_kept_with_the_rows_and_shown(made):
    platform, _, _ = made
    for node, repo in REPOS.items():
        source = platform.artifacts.stored(node).provenance.source
        assert source == hub.resolved_revision(repo) and source.startswith("mirror:sha256:")
        assert metadata(platform, node)["source"].value == source
    assert platform.artifacts.stored(REWRITTEN).provenance.recipe["repo"] == "us/mbt-r"
    assert platform.artifacts.stored(SETS["mbt-r"]).provenance.source == ""


def test_rows_that_were_stored_before_sources_were_kept_still_load(tmp_path):
    node, lake = Node("main_results"), Lake(tmp_path)
    provenance = {"fingerprint": "f", "recipe": {}, "inputs": {}, "run_id": "r", "created_at": "2026-01-01"}
    footer = orjson.dumps({"data_version": "v", "rows": 1, "provenance": provenance}).decode()
    lake.path(node).parent.mkdir(parents=True)
    pl.DataFrame({"a": [1]}).write_parquet(lake.path(node).path, metadata={"mbt": footer})
    assert lake.stored(node).provenance.source == ""


def test_training_sets_are_made_of_published_rows(made):
    platform, _, _ = made
    answers = [q["answer"] for q in QUESTIONS[:12]]
    rewritten = rows_of(platform, SETS["mbt-r"])
    assert rewritten["completion"].to_list() == [
        f"<think>\nrewrite {i} of {n}\n</think>\n\n<answer>{answer}</answer>"
        for n, answer in enumerate(answers, 1)
        for i in (1, 2)
    ]
    # Sets that choose by exact match find the answers of the published rollouts right.
    own = rows_of(platform, SETS["self-distill"])
    assert own["completion"].to_list() == [rollout_row(q)["response"] for q in QUESTIONS[:12]]
    assert rows_of(platform, SETS["mbt-s"])["completion"][0].startswith("<think>\nsynthesis for 1\n</think>")


def test_a_second_run_reuses_everything(made):
    platform, _, _ = made
    reports = run(platform, wanted(platform.axes.grid))
    assert {report.outcome for report in reports.values()} == {"reused"}


def test_files_that_moved_make_stale_just_the_partitions_of_their_data_set(made, tmp_path, monkeypatch):
    platform, _, root = made
    shutil.copytree(root, tmp_path / "hub", copy_function=shutil.copy2)
    shutil.copytree(platform.home.root, tmp_path / "home")
    monkeypatch.setenv("MBT_HUB_MIRROR", str(tmp_path / "hub"))
    again = build_platform(platform.study, Home(tmp_path / "home", "published"))
    grid = again.axes.grid

    def stale():
        return {node: s.reason for node, s in assess(grid, again.artifacts).items() if s.state == "stale"}

    assert stale() == {}
    rows = [row | {"refined_trace": f"better {row['refined_trace']}"} for q in QUESTIONS for row in rewrite_rows(q)]
    put_data_set(tmp_path / "hub", "us/mbt-r", {"Pupil-1B": {"train": rows}})
    assert stale() == {REWRITTEN: "files changed", SETS["mbt-r"]: f"{REWRITTEN} is stale"}
    reports = run(again, wanted(grid))
    assert {name for name, report in reports.items() if report.outcome == "made"} == {
        str(REWRITTEN),
        str(SETS["mbt-r"]),
    }
    assert rows_of(again, REWRITTEN)["trace"][0] == "better rewrite 1 of 1"


def test_what_only_published_rows_would_have_needed_is_not_planned():
    """With rewrites from the Hub, nobody reads drafts or solutions: their models are not to be asked."""
    text = STUDY.replace("modes: [base, self-distill, mbt-s, mbt-r]", "modes: [base, mbt-s, mbt-r]")
    lines = [line for line in text.splitlines() if not line.startswith(("  train_rollouts[", "  gold_solutions["))]
    grid = Grid(parse_study("\n".join(lines)))
    left_out = {node for asset in grid.ASSETS for key in grid.keys(asset) for node in [Node(asset, key)]}
    left_out -= set(grid.nodes)
    assert {str(node) for node in left_out} == {"train_rollouts[trails|pupil__base]", "gold_solutions[trails]"}
    assert grid.parents(REWRITTEN) == [Node("train_questions", "trails")]


FROM_THE_HUB = """
import sys
from pathlib import Path
import dagster as dg
from mbt_assets.definitions import build_platform
from partitions.grid import Node
from partitions.study_file import load_study
from resources.home import Home

for file in sys.argv[2:]:
    platform = build_platform(load_study(file), Home(Path(sys.argv[1]), "published"))
    with dg.DagsterInstance.ephemeral() as instance:
        for asset in ("train_questions", "gold_solutions"):
            selection, options = [dg.AssetKey(asset)], {"instance": instance, "resources": platform.resources}
            dg.materialize(platform.assets, selection=selection, partition_key="trails", **options)
    node = Node("gold_solutions", "trails")
    print(platform.artifacts.stored(node).provenance.source, platform.artifacts.lake.read(node)["solution"].min())
"""


def test_rows_come_from_the_hub_itself_at_the_commit_that_is_noted(tmp_path):
    """A process of its own: the Hub's client reads its address when it is imported."""
    rows = [task(q) | {"solution": "from the Hub"} for q in QUESTIONS]
    folder = put_data_set(tmp_path / "rows", "us/solutions", {"trails": {"train": rows}})
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    def study(revision):
        file = tmp_path / f"{revision}.yaml"
        file.write_text(STUDY.replace("us/solutions, config", f"us/solutions, revision: {revision}, config"))
        return str(file)

    def sources(*studies):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MBT_"))}
        places = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-c", FROM_THE_HUB, str(tmp_path / "home"), *studies]
        done = subprocess.run(command, env=kept | places, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.splitlines()

    with HubServer() as server:
        first = server.add("dataset", "us/solutions", files)
        assert sources(study("null")) == [f"hub:{first} from the Hub"]
        second = server.move("us/solutions")
        expected = [f"hub:{second} from the Hub", f"hub:{first} from the Hub"]
        assert sources(study("null"), study(first)) == expected


# --- What is wrong with a data set is told before a row of it reaches the lake. ---


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Makes one partition from the given rows in a Dagster run of its own, and gives the run's result and the lake."""
    root = tmp_path / "hub"
    monkeypatch.setenv("MBT_HUB_MIRROR", str(root))

    def make(node, rows, text=STUDY):
        put_all(root)
        if rows is not None:
            shutil.rmtree(root / REPOS[node])
            config = parse_study(text).published[str(node)].config
            put_data_set(root, REPOS[node], {config: {"train": rows}})
        platform = build_platform(parse_study(text), Home(tmp_path / "home", "published"))
        with dg.DagsterInstance.ephemeral() as instance:
            for step in (Node("train_questions", "trails"), node):
                result = dg.materialize(
                    platform.assets,
                    selection=[dg.AssetKey(step.asset)],
                    partition_key=step.key,
                    instance=instance,
                    resources=platform.resources,
                    raise_on_error=False,
                )
        return result, platform

    return make


def failure(result):
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    return (errors[0].cause or errors[0]).message.strip()


def changed(rows, position, **values):
    return [row | (values if i == position else {}) for i, row in enumerate(rows)]


REWRITES = [row for q in QUESTIONS[:12] for row in rewrite_rows(q)]
DRAFTS = [rollout_row(q) for q in QUESTIONS[:12]]
SOLVED = [task(q) | {"solution": f"solution of {q['sample_id']}"} for q in QUESTIONS[:12]]


@pytest.mark.parametrize(
    ("node", "rows", "told"),
    [
        (
            ROLLOUTS,
            changed(DRAFTS, 3, question="Who wrote it?"),
            ["row 4 has sample_id 4 and the question 'Who wrote it?'", repr(QUESTIONS[3]["question"])],
        ),
        (
            ROLLOUTS,
            changed(DRAFTS, 3, metadata={"id": "another", "level": "easy"}),
            ["row 4 has sample_id 4 and the question_id 'another'", QUESTIONS[3]["question_id"]],
        ),
        (REWRITTEN, changed(REWRITES, 0, answer="Atlantis"), ["sample_id 1 and the answer 'Atlantis'"]),
        (
            REWRITTEN,
            [{key: value for key, value in row.items() if key != "refined_trace"} for row in REWRITES],
            ["it has no column 'refined_trace' (our trace)", "there are: sample_id, answer, rollout_id", "columns"],
        ),
        (REWRITTEN, [*REWRITES, REWRITES[2]], ["rows 3 and 25 have the same keys", "cannot be told apart"]),
        (ROLLOUTS, [*DRAFTS, DRAFTS[0]], ["rows 1 and 13 have the same keys"]),
        (SOLUTIONS, changed(SOLVED, 0, sample_id=0), ["row 1: sample_id is 0", "a whole number from 1"]),
        (SOLUTIONS, changed(SOLVED, 0, sample_id=None), ["row 1: sample_id is None"]),
        (SOLUTIONS, pl.DataFrame(SOLVED).clear(), ["it holds no row"]),
        (
            SOLUTIONS,
            [task(q) | {"solution": "s"} for q in QUESTIONS[12:]],
            ["none of its 8 rows is of a question that the study trains on, with train.limit 12"],
        ),
    ],
    ids=[
        *("question", "id_in_metadata", "answer", "no_column", "twice", "twice_rollout"),
        *("sample_id_0", "no_sample_id", "empty", "none_of_ours"),
    ],
)
def test_rows_that_do_not_fit_the_study_stop_the_run_with_the_first_of_them(published, node, rows, told):
    result, platform = published(node, rows)
    message = failure(result)
    assert message.startswith("mbt_assets.published.PublishedError: ")
    assert f"{node} cannot come from the data set {REPOS[node]}, configuration" in message
    for part in told:
        assert part in message
    assert platform.artifacts.stored(node) is None


def test_a_question_that_no_limit_has_left_out_is_missed(published):
    whole = STUDY.replace("train: {name: train, limit: 12}", "train: {name: train}")
    result, _ = published(SOLUTIONS, [*SOLVED, SOLVED[0] | {"sample_id": 1501}], whole)
    assert "row 13 has sample_id 1501, which none of the 1500 questions of train_questions has" in failure(result)


def test_a_data_set_that_is_not_there_is_named(published):
    result, _ = published(SOLUTIONS, None, STUDY.replace("us/solutions", "us/nothing"))
    assert "dataset us/nothing: there is no folder" in failure(result)
    result, _ = published(SOLUTIONS, None, STUDY.replace("solutions, config: trails", "solutions, config: other"))
    assert "split 'train' of configuration 'other' cannot be opened" in failure(result)


def test_columns_of_other_names_are_said_in_the_study(published):
    text = STUDY.replace(
        "{repo: us/solutions, config: trails}",
        "{repo: us/solutions, config: trails, columns: {sample_id: number, solution: proof}}",
    )
    rows = [{"number": row["sample_id"], "proof": row["solution"]} for row in SOLVED]
    result, platform = published(SOLUTIONS, rows, text)
    assert result.success
    assert rows_of(platform, SOLUTIONS)["solution"].to_list() == [row["solution"] for row in SOLVED]
    result, _ = published(SOLUTIONS, SOLVED, text)
    assert "it has no column 'number' (our sample_id), 'proof' (our solution)" in failure(result)


def test_traces_without_a_number_are_numbered_within_their_rollout(published):
    rows = [{"sample_id": row["sample_id"], "refined_trace": row["refined_trace"]} for row in REWRITES]
    _, platform = published(REWRITTEN, rows)
    frame = rows_of(platform, REWRITTEN)
    assert (frame["rollout_id"].to_list(), frame["trace_id"].to_list()) == ([1] * 24, [1, 2] * 12)
    assert frame["trace"].to_list() == [row["refined_trace"].strip() for row in REWRITES]


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ({"response": "<think>\nr\n</think>\n\na"}, ("<think>\nr\n</think>\n\na", "r", "a")),
        ({"response": "a", "reasoning_trace": "r"}, ("<think>\nr\n</think>\n\na", "r", "a")),
        ({"response": "a", "reasoning_trace": ""}, ("a", "", "a")),
        ({"response": "r goes on and on"}, ("r goes on and on", "r goes on and on", "")),
    ],
    ids=["tags", "reasoning_apart", "no_reasoning", "never_closed"],
)
def test_a_rollout_is_split_into_reasoning_and_content(published, row, parts):
    result, platform = published(ROLLOUTS, [{"sample_id": q["sample_id"], **row} for q in QUESTIONS])
    assert result.success
    assert platform.artifacts.lake.read(ROLLOUTS).select("response", "reasoning", "content").row(0) == parts


def test_the_teacher_s_own_reasoning_is_no_part_of_its_trace(published):
    rows = [{"sample_id": 1, "solution": "<think>\nhm\n</think>\n\nIt is so."}]
    _, platform = published(SOLUTIONS, rows)
    frame = platform.artifacts.lake.read(SOLUTIONS)
    assert frame.select("solution", "reasoning").row(0) == ("It is so.", "hm")


def test_how_a_response_ended_is_taken_from_the_data_set(published):
    """Rows that were not valid were cut off; the word itself wins where there is one."""
    rows = [
        row | {"valid": i > 0, "finish_reason": "content_filter" if i == 1 else None} for i, row in enumerate(DRAFTS)
    ]
    _, platform = published(ROLLOUTS, rows)
    assert rows_of(platform, ROLLOUTS)["finish_reason"].to_list() == ["length", "content_filter", *["stop"] * 10]


def failed_checks(result):
    return {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}


def test_the_checks_of_generated_rows_look_at_published_ones_too(published):
    result, platform = published(ROLLOUTS, [{"sample_id": 1, "response": None}, {"sample_id": 2, "response": "r"}])
    assert failed_checks(result) == {"failed_requests"}
    assert rows_of(platform, ROLLOUTS)["error"].to_list() == ["the published row holds no response", None]
    assert assess(platform.axes.grid, platform.artifacts)[ROLLOUTS].reason == "failed check: failed_requests"
    result, _ = published(REWRITTEN, [row | {"refined_trace": None if i else "t"} for i, row in enumerate(REWRITES)])
    assert failed_checks(result) == {"truncated_or_empty_traces"}
