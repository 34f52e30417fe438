"""Questions that teacher and judge are tried on: generated ones, and real ones from a folder laid out like the Hub."""

import os
import random
import re

import pytest

from mbt_assets import benchmarks
from mbt_assets.benchmarks import trails

REAL_BENCHMARKS = ("hotpotqa", "musique", "2wikimultihopqa")


@pytest.fixture(scope="session")
def question() -> dict:
    """One generated question with two distractor chains."""
    return next(trails.generate("validation", 1, seed=7, distractor_chains=2))


@pytest.fixture(scope="session")
def draft(question: dict) -> str:
    """A student's draft for it that finds the right city and ends with a wrong one."""
    drawn = trails.trail(trails.question_rng("validation", 7, 2, 1), 2)
    drafts = (trails.draft(drawn, random.Random(seed)) for seed in range(100))
    return next(text for text, answer in drafts if answer != question["answer"])


@pytest.fixture(scope="session")
def real_questions() -> list[dict]:
    """All rows of the real benchmarks in the folder that MBT_TEST_HUB names."""
    folder = os.environ.get("MBT_TEST_HUB")
    if not folder:
        pytest.skip("MBT_TEST_HUB names no folder with real benchmark rows, laid out like the Hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MBT_HUB_MIRROR", folder)
        return [
            dict(row)
            for name in REAL_BENCHMARKS
            for split in ("train", "validation")
            for row in benchmarks.load(name, split)
        ]


@pytest.fixture(scope="session")
def facts():
    """A function that gives the facts of a generated question's asked chain, in order, from its documents."""

    def of(question: dict) -> str:
        asked = [document for document in question["documents"] if document["is_supporting"]]
        asked.sort(key=lambda document: not re.match("film", document["title"]))
        return " ".join(sentence for document in asked for sentence in document["sentences"])

    return of
