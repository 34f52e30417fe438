"""The embedded benchmark: generated two-hop questions film -> person -> city, and the drafts of a wandering student.

Facts are drawn anew for every question, so nothing can be memorised; no file and no network is read here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ENTITIES = 40
FILMS, PEOPLE, CITIES = (tuple(f"{kind}{i}" for i in range(ENTITIES)) for kind in ("film", "person", "city"))
ROLES = {"directed": "director", "written": "writer", "produced": "producer"}
PLACES = {"was born in": "birthplace", "now lives in": "home"}


@dataclass(frozen=True)
class Chain:
    """One trail of two facts: a film, the person behind it, and that person's city.

    Attributes:
        verb: a key of `ROLES`, what the person did for the film.
        tie: a key of `PLACES`, what binds the person to the city.
    """

    film: str
    person: str
    city: str
    verb: str
    tie: str

    @property
    def first_fact(self) -> str:
        """The sentence film -> person."""
        return f"{self.film} was {self.verb} by {self.person}."

    @property
    def second_fact(self) -> str:
        """The sentence person -> city."""
        return f"{self.person} {self.tie} {self.city}."

    @property
    def facts(self) -> str:
        """Both sentences, the film's first."""
        return f"{self.first_fact} {self.second_fact}"


@dataclass(frozen=True)
class Trail:
    """One question's material.

    Attributes:
        asked: the chain that answers the question.
        distractors: chains of other films, at least one.
        order: the position of each of the 2 * (1 + len(distractors)) facts in the shuffled documents; facts are
            numbered chain by chain, the asked chain's first.
    """

    asked: Chain
    distractors: tuple[Chain, ...]
    order: tuple[int, ...]

    @property
    def question(self) -> str:
        """The question's text."""
        return (
            f"Question about {self.asked.film}: what is the {PLACES[self.asked.tie]} of its {ROLES[self.asked.verb]}?"
        )


def trail(rng: random.Random, distractor_chains: int = 1) -> Trail:
    """Draws one question's chains and the order of its documents.

    Args:
        rng: source of all randomness.
        distractor_chains: number of chains that do not answer the question, 1 to 39.

    Raises:
        ValueError: `distractor_chains` is out of range; the chains of one question share no entity.
    """
    if not 1 <= distractor_chains < ENTITIES:
        raise ValueError(f"trails: distractor_chains is {distractor_chains}; give 1 to {ENTITIES - 1}")
    count = 1 + distractor_chains
    films, people, cities = (rng.sample(kind, count) for kind in (FILMS, PEOPLE, CITIES))
    chains = [
        Chain(film, person, city, rng.choice(list(ROLES)), rng.choice(list(PLACES)))
        for film, person, city in zip(films, people, cities, strict=True)
    ]
    return Trail(chains[0], tuple(chains[1:]), tuple(rng.sample(range(2 * count), 2 * count)))


def generate(split: str, count: int, seed: int, distractor_chains: int = 1) -> Iterator[dict[str, Any]]:
    """Yields question records of a split, in order.

    Question i depends on split, seed, `distractor_chains` and i alone: a larger `count` only adds questions.

    Args:
        split: name of the split, such as `train`; part of the question ids.
        count: number of questions.
        seed: seed of the benchmark; another seed gives other questions.
        distractor_chains: chains per question that do not answer it: 1 makes tier easy, 2 medium, more hard.

    Yields:
        Question records: dataset, question_id, sample_id (from 1), question, answer, aliases, documents,
        supporting_facts, question_type, level, tier, answerable.

    Raises:
        ValueError: `count` is negative or `distractor_chains` out of range.
    """
    if count < 0:
        raise ValueError(f"trails: count is {count}; give 0 or more")
    for sample_id in range(1, count + 1):
        drawn = trail(question_rng(split, seed, distractor_chains, sample_id), distractor_chains)
        yield record(drawn, f"trails-{split}-{sample_id:06d}", sample_id)


def question_rng(split: str, seed: int, distractor_chains: int, sample_id: int) -> random.Random:
    """The random source of one question; a string seed is hashed with sha512, so neighbours share nothing."""
    return random.Random(f"trails|{split}|{seed}|{distractor_chains}|{sample_id}")


def draft(drawn: Trail, rng: random.Random) -> tuple[str, str]:
    """Writes the reasoning of a student that cannot regulate itself, and the answer that it ends with.

    It explores a distractor chain, finds the right city, goes back to the distractor, and in half of the drafts ends
    there: the paper's failure of overriding a right conclusion.

    Returns:
        The trace, paragraphs split by a blank line, and the answer (right or wrong).
    """
    asked, other = drawn.asked, rng.choice(drawn.distractors)
    look = f"Let us look at {other.film}. {other.facts} So maybe {other.city}."
    opening = f"About {asked.film}: hmm. {look}"
    finding = f"Wait. {asked.facts} So maybe {asked.city}."
    wavering = f"Wait. {look} Again {asked.facts}"
    if rng.random() < 0.5:
        return "\n\n".join((opening, finding, f"{wavering} So it is {asked.city}.")), asked.city
    return "\n\n".join((opening, finding, f"{wavering} {look} So it is {other.city}.")), other.city


def record(drawn: Trail, question_id: str, sample_id: int) -> dict[str, Any]:
    """The question record of a drawn trail; fields as `generate` says."""
    documents = _documents(drawn)
    hops = (drawn.asked.film, drawn.asked.person)
    return {
        "dataset": "trails",
        "question_id": question_id,
        "sample_id": sample_id,
        "question": drawn.question,
        "answer": drawn.asked.city,
        "aliases": [],
        "documents": documents,
        "supporting_facts": [{"title": title, "sentence": 0} for title in hops],
        "question_type": "2hop",
        "level": None,
        "tier": {1: "easy", 2: "medium"}.get(len(drawn.distractors), "hard"),
        "answerable": True,
    }


def _documents(drawn: Trail) -> list[dict[str, Any]]:
    """One document per fact, shuffled by the trail's order."""
    facts = [
        {"title": title, "sentences": [sentence], "is_supporting": chain is drawn.asked}
        for chain in (drawn.asked, *drawn.distractors)
        for title, sentence in ((chain.film, chain.first_fact), (chain.person, chain.second_fact))
    ]
    return [fact for _, fact in sorted(zip(drawn.order, facts, strict=True), key=lambda pair: pair[0])]
