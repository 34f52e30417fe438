"""What a partition is made of: change one thing, and just what is made of it becomes stale."""

import os
import shutil

import pytest
from folders import write_checkpoint, write_weights
from remembered import Remembered

from mbt_assets import recipes
from mbt_assets.identities import request_identity, server_settings
from mbt_assets.scoring import answers, traces
from partitions.grid import Grid
from partitions.model_sources import PathSource, RemoteServer
from partitions.study import Price
from partitions.study_file import load_study, parse_study

PAPER = load_study("paper")
STUDENT, TEACHER, JUDGE = "qwen3-4b", "gpt-oss-120b", "gemma-4-31b-it"
JUDGED = ("judge_verdicts", "answer_hits", "rrp_scores", "mqi_scores", "judge_retests")
TAUGHT = ("gold_solutions", "synthesized_traces", "rewritten_traces")


def with_model(study, name, **update):
    models = dict(study.models)
    models[name] = models[name].model_copy(update=update)
    return study.model_copy(update={"models": models})


def with_option(study, name, **options):
    server = study.models[name].server
    return with_model(study, name, server=server.model_copy(update={"options": server.options | options}))


def partitions(study, *assets, of=""):
    """Names of all partitions of some assets, or of those of one model."""
    return {f"{asset}[{key}]" for asset in assets for key in Grid(study).keys(asset) if of in key}


def rollouts(model):
    return partitions(PAPER, "train_rollouts", "validation_rollouts", of=f"|{model}__")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (STUDENT, rollouts(STUDENT)),
        (TEACHER, rollouts(TEACHER) | partitions(PAPER, *TAUGHT)),
        (JUDGE, partitions(PAPER, *JUDGED)),
    ],
)
@pytest.mark.parametrize(
    "option",
    [
        {"max_model_len": 8192},
        {"quantization": "fp8"},
        {"dtype": "float16"},
        {"kv-cache-dtype": "fp8"},
        {"speculative_config": {"num_speculative_tokens": 3}},
        {"chat_template": "{{ messages }}"},
        {"an_option_of_next_year": 1},
    ],
    ids=lambda option: next(iter(option)),
)
def test_an_option_that_changes_text_makes_stale_all_that_asks_the_model(model, expected, option):
    changed = Remembered(PAPER).changed(with_option(PAPER, model, **option))
    assert set(changed) == expected
    assert set(changed.values()) <= {"server", "servers"}


@pytest.mark.parametrize("model", [STUDENT, TEACHER, JUDGE])
def test_options_that_change_no_text_make_nothing_stale(model):
    neutral = {
        "port": 9999,
        "gpu_memory_utilization": 0.5,
        "tensor-parallel-size": 8,
        "max_num_seqs": 7,
        "no_enable_prefix_caching": True,
        "some_flag": False,
    }
    assert Remembered(PAPER).changed(with_option(PAPER, model, **neutral)) == {}


def test_an_option_that_names_a_file_counts_with_what_the_file_holds(tmp_path):
    template = tmp_path / "chat.jinja"
    template.write_text("one")
    study = with_option(PAPER, JUDGE, chat_template=str(template))
    made = Remembered(study)
    assert made.changed() == {}
    template.write_text("two")
    assert set(made.changed()) == partitions(PAPER, *JUDGED)


def test_a_remote_model_counts_by_its_name_and_not_by_its_address():
    here = RemoteServer(kind="openai", base_url="https://here/v1", model="gpt", api_key_env="HERE")
    elsewhere = here.model_copy(update={"base_url": "https://elsewhere/v1", "api_key_env": "THERE"})
    other = here.model_copy(update={"model": "gpt-mini"})
    study = with_model(PAPER, JUDGE, server=here)
    made = Remembered(study)
    assert made.changed(with_model(PAPER, JUDGE, server=elsewhere)) == {}
    assert set(made.changed(with_model(PAPER, JUDGE, server=other))) == partitions(PAPER, *JUDGED)


def test_where_and_how_fast_a_remote_model_is_asked_does_not_count():
    one = RemoteServer(kind="openai", base_url="https://a/v1", model="gpt")
    several = one.model_copy(
        update={"base_url": ["https://a/v1", "https://b/v1"], "requests_per_minute": 60.0, "batch": True}
    )
    made = Remembered(with_model(PAPER, JUDGE, server=one))
    assert made.changed(with_model(PAPER, JUDGE, server=several)) == {}


def test_a_model_that_has_to_reason_is_asked_again():
    """A reply without reasoning, which passed before, is then a failed request."""
    made = Remembered(with_model(PAPER, STUDENT, reasons=False))
    assert set(made.changed(with_model(PAPER, STUDENT, reasons=True))) == rollouts(STUDENT)


def test_new_draws_of_cut_responses_count_in_all_that_is_generated():
    limits = PAPER.limits.model_copy(update={"length_retries": 2, "concurrency": 7, "max_attempts": 2})
    changed = Remembered(PAPER).changed(PAPER.model_copy(update={"limits": limits}))
    assert set(changed) == partitions(PAPER, "train_rollouts", "validation_rollouts", *TAUGHT, *JUDGED)
    assert set(changed.values()) == {"server", "servers"}


def test_a_reply_is_used_again_only_from_a_server_that_speaks_the_same():
    """A stale partition would otherwise be made again from the very replies that it is stale for."""
    identity = request_identity(PAPER, STUDENT, "weights")
    assert request_identity(with_option(PAPER, STUDENT, port=1), STUDENT, "weights") == identity
    assert request_identity(with_option(PAPER, STUDENT, dtype="half"), STUDENT, "weights") != identity
    assert request_identity(PAPER, STUDENT, "other weights") != identity


def test_the_recipe_shows_a_server_s_settings_and_no_address():
    remote = RemoteServer(kind="openai", base_url="https://here/v1", model="gpt")
    assert server_settings(with_model(PAPER, JUDGE, server=remote), JUDGE) == {"kind": "openai", "model": "gpt"}
    assert server_settings(PAPER, STUDENT) == {
        "kind": "vllm",
        "options": {"max_model_len": 32768, "reasoning_parser": "qwen3"},
    }


def test_the_answer_scorer_is_in_all_that_it_decides(monkeypatch):
    made = Remembered(PAPER)
    monkeypatch.setattr(answers, "SCORER_VERSION", "answers-2")
    distilled = {
        name for name in partitions(PAPER, "training_sets") if name.endswith(("__self-distill]", "__gpt-oss-distill]"))
    }
    assert len(distilled) == 6
    judged = ("judge_verdicts", "mqi_scores", "judge_retests")
    scored = partitions(PAPER, "answer_scores", *judged, "grpo_checkpoints")
    assert set(made.changed()) == distilled | scored


def with_limits(study, **limits):
    return study.model_copy(update={"limits": study.limits.model_copy(update=limits)})


def test_how_a_judge_is_asked_and_held_to_its_form_is_in_all_that_it_says():
    made = Remembered(PAPER)
    free = PAPER.models[JUDGE].server.model_copy(update={"structured": None})
    assert set(made.changed(with_limits(PAPER, judge_reasks=0))) == partitions(PAPER, *JUDGED)
    assert set(made.changed(with_model(PAPER, JUDGE, server=free))) == partitions(PAPER, *JUDGED)
    assert set(made.changed(with_model(PAPER, JUDGE, context_tokens=4096))) == partitions(PAPER, *JUDGED)
    assert set(made.changed(with_limits(PAPER, retest_sample=10))) == partitions(PAPER, "judge_retests")
    # Students and teachers are held to no form.
    free = PAPER.models[STUDENT].server.model_copy(update={"structured": None})
    assert made.changed(with_model(PAPER, STUDENT, server=free, context_tokens=4096)) == {}


def test_the_splitter_of_reasoning_is_in_rollouts_and_rewards(monkeypatch):
    made = Remembered(PAPER)
    monkeypatch.setattr(answers, "SPLITTER_VERSION", "splitter-2")
    expected = partitions(PAPER, "train_rollouts", "validation_rollouts", "grpo_checkpoints")
    assert set(made.changed()) == expected


def test_the_extractor_of_traces_is_in_what_the_teacher_wrote(monkeypatch):
    made = Remembered(PAPER)
    monkeypatch.setattr(traces, "EXTRACTOR_VERSION", "traces-2")
    assert set(made.changed()) == partitions(PAPER, *TAUGHT)


@pytest.fixture
def weights(tmp_path):
    return write_checkpoint(tmp_path / "weights", "old")


@pytest.mark.parametrize(
    ("model", "assets"),
    [(STUDENT, ("base_models",)), (TEACHER, ("base_models", *TAUGHT)), (JUDGE, JUDGED)],
)
def test_new_weights_in_the_same_folder_are_seen(weights, model, assets):
    study = with_model(PAPER, model, source=PathSource(kind="path", path=str(weights)))
    made = Remembered(study)
    assert made.changed() == {}
    (weights / "notes.txt").write_text("no part of the model")
    assert made.changed() == {}
    write_weights(weights / "model.safetensors", "newer")
    bases = partitions(PAPER, "base_models", of=f"{model}__")
    assert set(made.changed()) == (bases if "base_models" in assets else set()) | partitions(
        PAPER, *(asset for asset in assets if asset != "base_models")
    )


def test_new_weights_of_an_external_checkpoint_are_seen(weights):
    source = {"limopro": {"source": {"kind": "path", "path": str(weights)}}}
    model = PAPER.models[STUDENT]
    entry = type(model).model_validate(model.model_dump() | {"external": source})
    study = PAPER.model_copy(update={"models": PAPER.models | {STUDENT: entry}})
    made = Remembered(study)
    os.utime(weights / "model.safetensors", (1, 1))
    assert made.changed() == {f"checkpoints[{STUDENT}__limopro]": "files"}


def test_touched_weights_send_no_request_again(weights):
    """The recipe sees the time, so that the partition is looked at again; the requests know the bytes."""
    study = with_model(PAPER, JUDGE, source=PathSource(kind="path", path=str(weights)))
    before = request_identity(study, JUDGE)
    os.utime(weights / "model.safetensors", (1, 1))
    assert request_identity(study, JUDGE) == before
    write_weights(weights / "model.safetensors", "newer")
    assert request_identity(study, JUDGE) != before


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror with a file for each of the paper's datasets."""
    for name in ("hotpotqa/hotpot_qa", "dgslibisey/MuSiQue", "framolfese/2WikiMultihopQA"):
        (tmp_path / "hub" / name).mkdir(parents=True)
        (tmp_path / "hub" / name / "rows.parquet").write_bytes(b"old")
    monkeypatch.setenv("MBT_HUB_MIRROR", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_changed_files_of_a_mirror_make_stale_the_questions_of_that_dataset(mirror):
    made = Remembered(PAPER)
    (mirror / "dgslibisey/MuSiQue" / "rows.parquet").write_bytes(b"newer")
    assert made.changed() == {"validation_questions[musique]": "source"}


def test_a_mirror_that_is_named_or_gone_is_another_source(mirror, monkeypatch):
    made = Remembered(PAPER)
    questions = partitions(PAPER, "train_questions", "validation_questions")
    shutil.copytree(mirror, mirror.with_name("copy"), copy_function=shutil.copy2)
    monkeypatch.setenv("MBT_HUB_MIRROR", str(mirror.with_name("copy")))
    assert made.changed() == {}, "the same files elsewhere are the same source"
    monkeypatch.setenv("MBT_HUB_MIRROR", str(mirror.with_name("nowhere")))
    assert set(made.changed()) == questions
    monkeypatch.delenv("MBT_HUB_MIRROR")
    assert set(made.changed()) == questions


def test_a_mirror_says_nothing_about_generated_questions(mirror, small_study):
    made = Remembered(small_study)
    (mirror / "hotpotqa/hotpot_qa" / "rows.parquet").write_bytes(b"newer")
    assert made.changed() == {}


def test_another_statistics_function_makes_stale_the_tables_that_call_one(tmp_path, monkeypatch):
    made = Remembered(PAPER)
    edited = tmp_path / "stats.py"
    shutil.copy(recipes.STATISTICS_SOURCES[1], edited)
    edited.write_text(edited.read_text() + "# edited\n")
    sources = (recipes.STATISTICS_SOURCES[0], edited, *recipes.STATISTICS_SOURCES[2:])
    monkeypatch.setattr(recipes, "STATISTICS_SOURCES", sources)
    recipes.statistics_program.cache_clear()
    changed = made.changed()
    recipes.statistics_program.cache_clear()
    calling = {"rrp_profile", "significance"}
    assert set(changed) == partitions(PAPER, "cell_estimates", "judge_reliability") | calling
    assert set(changed.values()) == {"statistics"}


def test_another_price_makes_stale_the_costs_alone():
    priced = with_model(PAPER, JUDGE, price=Price(input=0.1, output=0.4))
    assert Remembered(PAPER).changed(priced) == {"cost": "prices"}


def test_a_study_with_an_unknown_benchmark_still_has_recipes():
    """It is told when the rows are asked for; a code location that did not load could not tell anything."""
    text = "{name: x, datasets: {a: {benchmark: nope}}, training_datasets: [a], teacher: t, judges: [t], models: {t: {\
role: student, source: {kind: rules}, server: {kind: rules, name: rule-teacher}}}}"
    assert Remembered(parse_study(text)).changed() == {}
