"""Every benchmark's rows become questions: their fields, difficulty, and what happens when a row is not as expected."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from mbt_assets import benchmarks
from mbt_assets.benchmarks import BENCHMARKS, BenchmarkError, hotpotqa, musique, twowiki

RECORD = {
    "dataset", "question_id", "sample_id", "question", "answer", "aliases", "documents", "supporting_facts",
    "question_type", "level", "tier", "answerable",
}  # fmt: skip
PUBLISHED = ("hotpotqa", "musique", "2wikimultihopqa")


def hotpot_row(**changes: Any) -> dict[str, Any]:
    return {
        "id": "5a7f",
        "question": "Who drummed for the band of Counterparts? ",
        "answer": "Neil Peart",
        "type": "bridge",
        "level": "hard",
        "supporting_facts": {"title": ["Rush", "Neil Peart"], "sent_id": [0, 1]},
        "context": {
            "title": ["Rush", "Neil Peart", "Yes"],
            "sentences": [["Rush made Counterparts."], ["He was born.", " He drummed for Rush. "], ["Yes.", "  "]],
        },
        **changes,
    }


def wiki_row(**changes: Any) -> dict[str, Any]:
    row = hotpot_row(type="compositional", evidences=[["Rush", "drummer", "Neil Peart"]], **changes)
    del row["level"]
    return row


def musique_row(**changes: Any) -> dict[str, Any]:
    return {
        "id": "2hop__1_2",
        "paragraphs": [
            {"idx": 0, "title": "Rush", "paragraph_text": "Rush is a band. It is loud.", "is_supporting": True},
            {"idx": 1, "title": "Yes", "paragraph_text": "Yes is a band.", "is_supporting": False},
        ],
        "question": "Is it loud?",
        "answer": "loud",
        "answer_aliases": ["noisy"],
        "answerable": True,
        **changes,
    }


def test_a_hotpotqa_row_becomes_a_question() -> None:
    assert hotpotqa.convert(hotpot_row()) == {
        "question_id": "5a7f",
        "question": "Who drummed for the band of Counterparts?",
        "answer": "Neil Peart",
        "aliases": [],
        "documents": [
            {"title": "Rush", "sentences": ["Rush made Counterparts."], "is_supporting": True},
            {"title": "Neil Peart", "sentences": ["He was born.", "He drummed for Rush."], "is_supporting": True},
            {"title": "Yes", "sentences": ["Yes.", ""], "is_supporting": False},
        ],
        "supporting_facts": [{"title": "Rush", "sentence": 0}, {"title": "Neil Peart", "sentence": 1}],
        "question_type": "bridge",
        "level": "hard",
        "tier": "medium",
        "answerable": True,
    }


def test_a_musique_paragraph_is_one_sentence_and_its_fact_is_sentence_0() -> None:
    question = musique.convert(musique_row())
    assert question["documents"][0] == {
        "title": "Rush", "sentences": ["Rush is a band. It is loud."], "is_supporting": True,
    }  # fmt: skip
    assert question["supporting_facts"] == [{"title": "Rush", "sentence": 0}]
    assert question["aliases"] == ["noisy"]
    assert question["question_type"] == "2hop"


@pytest.mark.parametrize(
    ("level", "question_type", "n_facts", "tier"),
    [
        ("easy", "bridge", 5, "easy"),
        ("medium", "comparison", 5, "medium"),
        ("hard", "bridge", 3, "hard"),
        ("hard", "comparison", 3, "hard"),
        ("hard", "comparison", 2, "easy"),
        ("hard", "bridge", 2, "medium"),
        (None, None, 0, "medium"),
    ],
)
def test_hotpotqa_tier(level: str | None, question_type: str | None, n_facts: int, tier: str) -> None:
    assert hotpotqa.tier(level, question_type, n_facts) == tier


@pytest.mark.parametrize(
    ("question_id", "answerable", "tier", "shape"),
    [
        ("2hop__150763_14904", True, "easy", "2hop"),
        ("3hop1__222497_309482_27537", True, "medium", "3hop1"),
        ("3hop2__1_2_3", True, "medium", "3hop2"),
        ("4hop3__373866_5189_31809_86687", True, "hard", "4hop3"),
        ("2hop__150763_14904", False, "hard", "2hop"),
        ("5hop__1", True, "medium", "5hop"),
        ("an id of another kind", True, "medium", None),
    ],
)
def test_musique_tier_and_shape(question_id: str, answerable: bool, tier: str, shape: str | None) -> None:
    question = musique.convert(musique_row(id=question_id, answerable=answerable))
    assert (question["tier"], question["question_type"], question["answerable"]) == (tier, shape, answerable)


@pytest.mark.parametrize(
    ("question_type", "tier"),
    [
        ("comparison", "easy"),
        ("inference", "medium"),
        ("compositional", "medium"),
        ("bridge_comparison", "hard"),
        ("riddle", "medium"),
        (None, "medium"),
    ],
)
def test_2wikimultihopqa_tier(question_type: str | None, tier: str) -> None:
    assert twowiki.convert(wiki_row() | {"type": question_type})["tier"] == tier


def test_a_fact_that_points_at_no_sentence_is_dropped_but_its_document_supports_and_the_tier_counts_it() -> None:
    facts = {"title": ["Rush", "Neil Peart", "Yes", "No such page"], "sent_id": [0, 902, -1, 0]}
    question = hotpotqa.convert(hotpot_row(supporting_facts=facts))
    assert question["supporting_facts"] == [{"title": "Rush", "sentence": 0}]
    assert [document["is_supporting"] for document in question["documents"]] == [True, True, True]
    assert question["tier"] == "hard"


@pytest.mark.parametrize("answer", ["", None])
def test_an_empty_answer_is_kept(answer: str | None) -> None:
    assert hotpotqa.convert(hotpot_row(answer=answer))["answer"] == ""
    assert musique.convert(musique_row(answer=answer, answerable=False))["answer"] == ""


def test_null_lists_are_empty() -> None:
    assert musique.convert(musique_row(answer_aliases=None, paragraphs=None))["documents"] == []


@pytest.mark.parametrize("missing", ["id", "question", "answer", "type", "level", "supporting_facts", "context"])
def test_a_missing_column_is_named_with_what_was_found(missing: str) -> None:
    row = hotpot_row()
    row[f"old_{missing}"] = row.pop(missing)
    with pytest.raises(BenchmarkError, match=rf"hotpotqa: column '{missing}[^']*' is missing; found: .*old_{missing}"):
        hotpotqa.convert(row)


def test_a_missing_nested_column_is_named() -> None:
    row = wiki_row(context={"titles": ["Rush"], "sentences": [["A."]]})
    with pytest.raises(BenchmarkError, match=r"2wikimultihopqa: column 'context.title' .*found: titles, sentences"):
        twowiki.convert(row)
    with pytest.raises(BenchmarkError, match=r"musique: column 'is_supporting' is missing; found: title"):
        musique.convert(musique_row(paragraphs=[{"title": "a", "paragraph_text": "b"}]))


def test_a_column_of_another_type_is_named() -> None:
    with pytest.raises(BenchmarkError, match=r"'context.title' is missing; found: a value of type str"):
        twowiki.convert(wiki_row(context='[["Rush", ["A."]]]'))
    with pytest.raises(BenchmarkError, match=r"column 'answer' should be text, found int"):
        hotpotqa.convert(hotpot_row(answer=7))
    with pytest.raises(BenchmarkError, match=r"column 'paragraphs' should be a list, found str"):
        musique.convert(musique_row(paragraphs="Rush is a band."))


def test_titles_and_sentences_that_differ_in_number_are_refused() -> None:
    context = {"title": ["Rush", "Yes"], "sentences": [["A."]]}
    with pytest.raises(BenchmarkError, match=r"question '5a7f' has 2 'context.title' but 1 'context.sentences'"):
        hotpotqa.convert(hotpot_row(context=context))


def test_rows_are_placed_and_limited(mirror: Any) -> None:
    mirror.put("hotpotqa/hotpot_qa", "distractor", train=[hotpot_row(id=f"q{i}") for i in range(5)])
    questions = list(benchmarks.load("hotpotqa", "train", limit=3))
    assert [(q["dataset"], q["question_id"], q["sample_id"]) for q in questions] == [
        ("hotpotqa", "q0", 1), ("hotpotqa", "q1", 2), ("hotpotqa", "q2", 3),
    ]  # fmt: skip
    assert set(questions[0]) == RECORD
    assert len(list(benchmarks.load("hotpotqa", "train"))) == 5


def test_all_three_layouts_are_read_from_parquet(mirror: Any) -> None:
    mirror.put("dgslibisey/MuSiQue", validation=[musique_row(), musique_row(id="4hop1__1", answerable=False)])
    mirror.put("framolfese/2WikiMultihopQA", validation=[wiki_row()])
    assert [q["tier"] for q in benchmarks.load("musique", "validation")] == ["easy", "hard"]
    assert [q["tier"] for q in benchmarks.load("2wikimultihopqa", "validation")] == ["medium"]


def test_two_questions_with_one_id_are_refused(mirror: Any) -> None:
    mirror.put("dgslibisey/MuSiQue", train=[musique_row(), musique_row(id="3hop1__1"), musique_row()])
    with pytest.raises(BenchmarkError, match=r"musique: split 'train' has the id '2hop__1_2' twice, in rows 1 and 3"):
        list(benchmarks.load("musique", "train"))


def test_another_repository_with_the_same_columns_can_stand_in(mirror: Any) -> None:
    mirror.put("me/hotpot-dev", "small", dev=[hotpot_row()])
    [question] = benchmarks.load("hotpotqa", "dev", hub_id="me/hotpot-dev", config="small")
    assert question["question_id"] == "5a7f"


def test_the_generated_benchmark_is_the_same_for_the_same_seed() -> None:
    first = list(benchmarks.load("trails", "train", limit=20, seed=1))
    assert first == list(benchmarks.load("trails", "train", limit=20, seed=1))
    assert first != list(benchmarks.load("trails", "train", limit=20, seed=2))
    assert set(first[0]) == RECORD
    assert [q["sample_id"] for q in first] == list(range(1, 21))
    assert not {q["question_id"] for q in first} & {q["question_id"] for q in benchmarks.load("trails", "validation")}


@pytest.mark.parametrize(("chains", "tier"), [(1, "easy"), (2, "medium"), (3, "hard")])
def test_more_distractor_chains_make_the_generated_benchmark_harder(chains: int, tier: str) -> None:
    questions = list(benchmarks.load("trails", "validation", limit=5, options={"distractor_chains": chains}))
    assert {q["tier"] for q in questions} == {tier}
    assert {len(q["documents"]) for q in questions} == {2 * (chains + 1)}


@pytest.mark.parametrize(
    ("name", "split", "options", "message"),
    [
        ("trivia", "train", {}, r"no benchmark 'trivia'; known are 2wikimultihopqa, hotpotqa, musique, trails"),
        ("trails", "test", {}, r"trails: no split 'test'; it has train, validation"),
        ("trails", "train", {"chains": 2}, r"unknown options chains; it knows distractor_chains"),
        ("trails", "train", {"distractor_chains": 0}, r"whole number from 1 to 39, not 0"),
        ("trails", "train", {"distractor_chains": "two"}, r"whole number from 1 to 39, not 'two'"),
        ("hotpotqa", "train", {"chains": 2}, r"hotpotqa takes no options; remove chains"),
    ],
)
def test_a_wrong_request_is_refused_at_the_call(name: str, split: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        benchmarks.load(name, split, options=options)


def test_importing_the_benchmarks_loads_nothing_heavy() -> None:
    heavy = {"datasets", "torch", "pyarrow", "polars"}
    code = f"import sys, mbt_assets.benchmarks; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_real_row_becomes_a_question(real_hub: Any, name: str, split: str) -> None:
    questions = list(benchmarks.load(name, split))
    assert len(questions) >= 40
    for question in questions:
        assert set(question) == RECORD
        assert question["question"] and question["answer"] and question["tier"] in ("easy", "medium", "hard")
        supporting = {d["title"] for d in question["documents"] if d["is_supporting"]}
        assert supporting >= {fact["title"] for fact in question["supporting_facts"]} and len(supporting) >= 1


def test_the_tiers_of_the_real_rows(real_hub: Any) -> None:
    hops = {"2": "easy", "3": "medium", "4": "hard"}
    for question in [*benchmarks.load("musique", "train"), *benchmarks.load("musique", "validation")]:
        assert question["tier"] == hops[question["question_id"][0]]
        n_supporting = sum(d["is_supporting"] for d in question["documents"])
        assert n_supporting == int(question["question_id"][0])
    types = {"comparison": "easy", "inference": "medium", "compositional": "medium", "bridge_comparison": "hard"}
    for question in [*benchmarks.load("2wikimultihopqa", "train"), *benchmarks.load("2wikimultihopqa", "validation")]:
        assert question["tier"] == types[str(question["question_type"])]


def test_the_tiers_of_hand_picked_real_hotpotqa_rows(real_hub: Any) -> None:
    validation = {q["question_id"]: q for q in benchmarks.load("hotpotqa", "validation")}
    rush = validation["5a7f6fd75542992e7d278cfa"]
    assert (rush["level"], rush["question_type"], len(rush["supporting_facts"])) == ("hard", "bridge", 2)
    assert rush["tier"] == "medium"
    assert Counter(q["tier"] for q in validation.values()) == {"medium": 17, "easy": 17, "hard": 16}
    train = {q["question_id"]: q for q in benchmarks.load("hotpotqa", "train")}
    assert train["5a77ec115542992a6e59dff7"]["tier"] == train["5a77ec115542992a6e59dff7"]["level"] == "easy"


def test_the_registry_says_where_each_benchmark_comes_from() -> None:
    assert {name: (b.hub_id, b.hub_config) for name, b in BENCHMARKS.items()} == {
        "hotpotqa": ("hotpotqa/hotpot_qa", "distractor"),
        "musique": ("dgslibisey/MuSiQue", None),
        "2wikimultihopqa": ("framolfese/2WikiMultihopQA", None),
        "trails": (None, None),
    }
