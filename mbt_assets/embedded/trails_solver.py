"""Exact solving of generated `trails` questions from their text, and the traces that are written about them.

Only the benchmark's sentence forms are known here, none of its facts. `solve` is None for any other question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mbt_assets.embedded.reading import Document

_VERBS = {"director": "directed", "writer": "written", "producer": "produced"}
_TIES = {"birthplace": "was born in", "home": "now lives in"}
_QUESTION = re.compile(r"Question about (\w+): what is the (birthplace|home) of its (director|writer|producer)\?")
_MADE = re.compile(r"\b(\w+) was (directed|written|produced) by (\w+)\.")
_PLACED = re.compile(r"\b(\w+) (was born in|now lives in) (\w+)\.")


@dataclass(frozen=True)
class Chain:
    """One trail: a film, the person behind it, that person's city, and the two facts as sentences."""

    film: str
    person: str
    city: str
    first_fact: str
    second_fact: str

    @property
    def facts(self) -> str:
        """Both facts, the film's first."""
        return f"{self.first_fact} {self.second_fact}"


@dataclass(frozen=True)
class Solved:
    """A solved question: what was asked, the chain that answers it, and the other chains in document order."""

    role: str
    place: str
    chain: Chain
    others: tuple[Chain, ...]


def solve(question: str, documents: Sequence[Document]) -> Solved | None:
    """Follow the asked film to its city; None if this is no trails question or the documents break the trail."""
    asked = _QUESTION.fullmatch(question.strip())
    if asked is None:
        return None
    film, place, role = asked.groups()
    made = [match for document in documents for match in _MADE.finditer(document.text)]
    placed = {(match[1], match[2]): match for document in documents for match in _PLACED.finditer(document.text)}
    by_person = {person: match for (person, _), match in placed.items()}
    chain, others = None, []
    for match in made:
        if match[1] == film:
            second = placed.get((match[3], _TIES[place]))
            if second and match[2] == _VERBS[role]:
                chain = _chain(match, second)
        elif match[3] in by_person:
            others.append(_chain(match, by_person[match[3]]))
    return Solved(role, place, chain, tuple(others)) if chain else None


def five_phases(solved: Solved, noise: Chain | None, *, wrong: bool = True) -> str:
    """The trace in five phases; relations are named by words of uniform length, the entity first.

    Args:
        solved: the question and its solution.
        noise: a chain to name as noise.
        wrong: whether `noise` is a wrong turn to rule out; where a draft took none, the right conclusion is confirmed.
    """
    chain, role, place = solved.chain, solved.role, solved.place
    aside = f" {noise.film} is noise." if noise else ""
    correction = f"Wait. Not {noise.city}." if noise and wrong else f"Wait. Again {chain.city} fits."
    return "\n\n".join(
        (
            f"About {chain.film}: find the {place} of its {role}.{aside}",
            f"Plan: first the {role} then the {place}.",
            f"{chain.facts} This fits.",
            correction,
            f"Check: {chain.film} {chain.person} {chain.city}. Done.",
        )
    )


def unstructured(solved: Solved) -> str:
    """The derivation alone, with no structure: the rewriting of the matched control, and the gold solution."""
    return f"{solved.chain.facts} So it is {solved.chain.city}."


def deliberation(solved: Solved, noise: Chain | None) -> str:
    """The trace of a teacher that was just asked to answer: right, but longer than it need be."""
    chain = solved.chain
    opening = f"About {chain.film}: find the {solved.place} of its {solved.role}."
    finding = f"{chain.facts} So maybe {chain.city}."
    if noise is None:
        return "\n\n".join((opening, finding, f"Wait. Again {chain.facts} So it is {chain.city}."))
    doubt = f"Wait. Let us look at {noise.film}. {noise.facts} Not {noise.city}."
    return "\n\n".join((opening, finding, doubt, f"Again {chain.facts} So it is {chain.city}."))


def ends_wrong(solved: Solved, draft: str) -> bool:
    """Whether the last city that a draft names is not the right one."""
    cities = {chain.city for chain in (solved.chain, *solved.others)}
    named = [word for word in re.findall(r"\w+", draft) if word in cities]
    return bool(named) and named[-1] != solved.chain.city


def wandered_into(solved: Solved, draft: str) -> Chain | None:
    """The distractor chain that a draft visits first, else the first one in the documents; None if there is none."""
    words = {word: place for place, word in reversed(list(enumerate(re.findall(r"\w+", draft))))}
    visited = [chain for chain in solved.others if chain.film in words]
    return min(visited, key=lambda chain: words[chain.film], default=next(iter(solved.others), None))


def _chain(made: re.Match[str], placed: re.Match[str]) -> Chain:
    return Chain(made[1], made[3], placed[3], made[0], placed[0])
