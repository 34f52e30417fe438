"""What a study needs from the Hub, and which files of a repository."""

from types import SimpleNamespace

import pytest

from mbt_assets.hub_needs import FetchError, Repository, chosen, needed, patterns
from partitions.study_file import load_study, parse_study

STUDY = """
name: needs
datasets:
  hotpotqa: {benchmark: hotpotqa}
  mine: {benchmark: musique, hub_id: me/facts, revision: v2}
  trails: {benchmark: trails}
training_datasets: [hotpotqa]
models:
  student:
    role: student
    source: {kind: hub, repo: me/student, revision: v1}
    server: {kind: vllm}
    modes: [base, token-skip, limopro]
    external:
      token-skip: {source: {kind: hub, repo: me/skip}}
      limopro: {source: {kind: path, path: /weights}}
  judge:
    role: judge
    source: {kind: hub, repo: me/student, revision: v1}
    server: {kind: vllm}
    trust_remote_code: true
  teacher:
    role: teacher
    source: {kind: hub, repo: big/teacher}
    server: {kind: openai, base_url: http://127.0.0.1:9/v1, model: teacher}
teacher: teacher
judges: [judge]
"""
QWEN = ["config.json", "generation_config.json", "merges.txt", "model.safetensors", "tokenizer.json", "vocab.json"]


def taken(files, **settings):
    from huggingface_hub.utils import filter_repo_objects

    allow, ignore = patterns(Repository("model", "me/it", None, ("it",), **settings), files)
    return list(filter_repo_objects(files, allow_patterns=allow, ignore_patterns=ignore))


def test_every_repository_is_named_once_with_all_that_the_study_calls_it():
    found = [(one.kind, one.repo, one.revision, one.names) for one in needed(parse_study(STUDY))]
    assert found == [
        ("model", "me/student", "v1", ("student", "judge")),
        ("model", "me/skip", None, ("student__token-skip",)),
        ("dataset", "hotpotqa/hotpot_qa", None, ("hotpotqa",)),
        ("dataset", "me/facts", "v2", ("mine",)),
    ]


def test_code_is_needed_where_one_of_those_that_share_a_repository_runs_it():
    assert [one.remote_code for one in needed(parse_study(STUDY)) if one.kind == "model"] == [True, False]


def test_published_rows_are_needed_too():
    published = {"gold_solutions[hotpotqa]": SimpleNamespace(repo="authors/solutions", revision="abc")}
    found = needed(parse_study(STUDY).model_copy(update={"published": published}))
    assert found[-1] == Repository("dataset", "authors/solutions", "abc", ("gold_solutions[hotpotqa]",))


def test_the_paper_needs_five_models_and_three_data_sets_and_the_embedded_study_nothing():
    kinds = [one.kind for one in needed(load_study("paper"))]
    assert (kinds.count("model"), kinds.count("dataset")) == (5, 3)
    assert needed(load_study("embedded")) == []


def test_an_unknown_benchmark_is_named():
    study = parse_study(STUDY.replace("benchmark: trails", "benchmark: trials"))
    with pytest.raises(FetchError, match=r"datasets.trails: there is no benchmark 'trials'; known are .*hotpotqa"):
        needed(study)


@pytest.mark.parametrize("name", ["me/skip", "student__token-skip"])
def test_a_repository_is_chosen_by_either_of_its_names(name):
    assert [one.repo for one in chosen(needed(parse_study(STUDY)), [name])] == ["me/skip"]


def test_a_name_that_nothing_bears_is_refused_with_those_there_are():
    with pytest.raises(FetchError, match=r"--only nope: .*me/student \(student, judge\); me/skip"):
        chosen(needed(parse_study(STUDY)), ["me/skip", "nope"])


def test_of_a_model_only_what_loads_it_is_taken():
    beside = [".gitattributes", "LICENSE", "README.md", "pytorch_model.bin", "model.gguf", "picture.png", "code.py"]
    folders = ["original/model.safetensors", "original/config.json", "metal/model.bin", "onnx/model.onnx"]
    assert taken([*QWEN, "chat_template.jinja", "tokenizer.model", *beside, *folders]) == [
        *QWEN,
        "chat_template.jinja",
        "tokenizer.model",
    ]
    assert taken([*QWEN, "code.py"], remote_code=True) == [*QWEN, "code.py"]


def test_weights_that_are_there_twice_as_safetensors_are_taken_once():
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    assert taken([*shards, "consolidated.safetensors"]) == shards
    assert taken(["consolidated.safetensors", "params.json"]) == ["consolidated.safetensors", "params.json"]


def test_older_formats_are_taken_where_there_are_no_safetensors():
    assert taken(["config.json", "pytorch_model.bin", "original/x.safetensors"]) == ["config.json", "pytorch_model.bin"]


def test_a_model_without_weights_is_refused():
    with pytest.raises(FetchError, match="me/it holds no weights that a study could use"):
        taken(["config.json", "model-Q4.gguf"])


def test_of_a_data_set_everything_is_taken():
    assert patterns(Repository("dataset", "me/facts", None, ("facts",)), ["README.md", "a.bin"]) == (None, None)
