"""The generated benchmark: stable per index, seeds and splits apart, facts that hold together."""

import random

import pytest

from mbt_assets.benchmarks.trails import draft, generate, trail


def test_a_question_reads_as_its_documents_say():
    question = next(generate("train", 1, seed=42))
    facts = [document["sentences"][0] for document in question["documents"] if document["is_supporting"]]
    film = next(fact for fact in facts if fact.startswith("film"))
    person = film.split()[-1].removesuffix(".")
    assert question["question_id"] == "trails-train-000001"
    assert question["question"].startswith(f"Question about {film.split()[0]}: what is the ")
    assert any(fact.startswith(person) and fact.endswith(f" {question['answer']}.") for fact in facts)
    assert {fact["title"] for fact in question["supporting_facts"]} == {film.split()[0], person}


def test_a_question_does_not_depend_on_how_many_are_asked_for():
    assert list(generate("train", 3, seed=1)) == list(generate("train", 50, seed=1))[:3]


@pytest.mark.parametrize("other", [("validation", 1, 1), ("train", 2, 1), ("train", 1, 2)])
def test_splits_seeds_and_widths_share_no_randomness(other):
    split, seed, chains = other
    here = [question["question"] for question in generate("train", 40, seed=1)]
    there = [question["question"] for question in generate(split, 40, seed=seed, distractor_chains=chains)]
    assert sum(a == b for a, b in zip(here, there, strict=True)) <= 3


@pytest.mark.parametrize(("chains", "tier"), [(1, "easy"), (2, "medium"), (3, "hard"), (39, "hard")])
def test_distractor_chains_set_tier_and_documents_and_share_no_entity(chains, tier):
    question = next(generate("train", 1, seed=5, distractor_chains=chains))
    titles = [document["title"] for document in question["documents"]]
    assert question["tier"] == tier
    assert len(set(titles)) == len(titles) == 2 * (chains + 1)
    assert sum(document["is_supporting"] for document in question["documents"]) == 2


@pytest.mark.parametrize("chains", [0, -1, 40])
def test_a_width_that_the_entities_do_not_allow_is_refused(chains):
    with pytest.raises(ValueError, match="distractor_chains"):
        next(generate("train", 1, seed=1, distractor_chains=chains))


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="count"):
        next(generate("train", -1, seed=1))


def test_drafts_find_the_answer_and_override_it_half_the_time():
    rng = random.Random(0)
    drawn = [trail(rng) for _ in range(1000)]
    written = [draft(one, rng) for one in drawn]
    right = [answer == one.asked.city for one, (_, answer) in zip(drawn, written, strict=True)]
    assert 0.45 < sum(right) / len(right) < 0.55
    for one, (trace, answer) in zip(drawn, written, strict=True):
        assert f"So maybe {one.asked.city}." in trace
        assert trace.endswith(f"So it is {answer}.")
        assert trace.count("\n\n") == 2
