"""A finished study at the paper's size for the explorer: 138 cells of 7 405 rollouts with their scores and marts.

Texts are short but in two cells: one of as many rollouts, and a big one, whose reasoning is as long as real traces are.
Everything is written through the lake, noted as made of what it is made of, so that the cells read as fresh.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl

from bench.marts import frame_of, questions, rollouts_of
from mbt_assets import marts
from mbt_assets.definitions import Platform
from mbt_assets.marts import build_warehouse
from mbt_assets.stage import Stage, provenance_of
from partitions.grid import CELL_ASSETS, CELL_SQL, MARTS, Grid, Node, cell_key, split_key
from resources.lake import Stored
from resources.tables import TABLES

DATASET, USUAL, BIG = "hotpotqa", "qwen3-4b__base", "qwen3-4b__mbt-r"
"""The cells with texts: as many rollouts as questions, and some for each question."""
PARAGRAPHS, SENTENCES, DOCUMENTS = 12, 4, 10
VOCABULARY = 4000


def fill(platform: Platform, count: int, big: int) -> None:
    """Make up the whole study.

    Args:
        platform: of the paper's study, with an empty home.
        count: questions of each dataset.
        big: rollouts of each question in the big cell.
    """
    grid = Grid(platform.study)
    asked = {dataset: questions(dataset, count) for dataset in grid.datasets}
    texts = Texts()
    asked[DATASET] = texts.of_questions(asked[DATASET])
    for node in grid.nodes:
        if node.asset == "validation_questions":
            _write(platform, node, asked[node.key])
        elif node.asset == "validation_rollouts":
            _cell(platform, node.key, asked, texts, big)
        elif node.asset in TABLES and node.asset not in CELL_ASSETS:
            _write(platform, node, _any_row(node))
    for mart in MARTS:
        _make(platform, Node(mart))
    provenance = provenance_of(platform.artifacts, platform.study, Node("warehouse"), "bench")
    counts = build_warehouse(platform.artifacts.lake, platform.artifacts, platform.study)
    platform.artifacts.record("warehouse", Stored("bench", sum(counts.values()), provenance))


class Texts:
    """Words, sentences and paragraphs from a fixed seed; a paragraph has about 350 characters."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
        self.words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(VOCABULARY)]
        sentences = [" ".join(np.array(self.words)[rng.integers(0, VOCABULARY, 13)]) + "." for _ in range(20_000)]
        picks = rng.integers(0, len(sentences), (20_000, SENTENCES))
        self.paragraphs = [" ".join(sentences[number] for number in pick) for pick in picks]
        self.rng = rng

    def traces(self, count: int) -> list[str]:
        """So many traces of about 4 000 characters."""
        picks = self.rng.integers(0, len(self.paragraphs), (count, PARAGRAPHS))
        return ["\n\n".join(self.paragraphs[number] for number in pick) for pick in picks]

    def of_questions(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The questions with words, and documents to read."""
        count = frame.height
        asked = [f"Which {self.words[n % VOCABULARY]} is {self.words[n * 7 % VOCABULARY]}?" for n in range(count)]
        picks = self.rng.integers(0, len(self.paragraphs), (count, DOCUMENTS))
        documents = [
            [
                {"title": f"Document {number}", "sentences": [self.paragraphs[number]] * 2, "is_supporting": place < 2}
                for place, number in enumerate(pick)
            ]
            for pick in picks.tolist()
        ]
        return frame.with_columns(
            pl.Series("question", asked), pl.Series("documents", documents, dtype=frame.schema["documents"])
        )


def _cell(platform: Platform, key: str, asked: dict[str, pl.DataFrame], texts: Texts, big: int) -> None:
    dataset, slug = split_key(key)
    number = Grid(platform.study).variants.index(slug)
    for table, frame in rollouts_of(key, asked[dataset], big if key == cell_key(DATASET, BIG) else 1, number):
        written = frame
        if key in (cell_key(DATASET, USUAL), cell_key(DATASET, BIG)):
            written = _with_texts(table, frame, texts)
        _write(platform, Node(table, key), written)
    _write(platform, Node("judge_retests", key), TABLES["judge_retests"].create_empty())
    for table in CELL_SQL:
        _make(platform, Node(table, key))


def _with_texts(table: str, frame: pl.DataFrame, texts: Texts) -> pl.DataFrame:
    if table == "validation_rollouts":
        reasoning = pl.Series("reasoning", texts.traces(frame.height))
        content = pl.lit("<answer>some answer</answer>")
        response = pl.concat_str(pl.lit("<think>\n"), reasoning, pl.lit("\n</think>\n\n"), content)
        return frame.with_columns(reasoning, content=content, response=response)
    if table == "rrp_scores":
        reply = pl.lit("ANSWER_PARAGRAPH_MARKER: [[M05]]\nREDUNDANT_PARAGRAPH_MARKERS: [[M07]]\nCONFIDENCE: 0.8")
        scored = pl.col("status") == "scored"
        return frame.with_columns(answer_paragraph=pl.when(scored).then(pl.lit(5, pl.Int64)), reply=reply)
    return frame


def _any_row(node: Node) -> pl.DataFrame:
    """One row of a table that no page of a cell reads."""
    dataset, slug = split_key(node.key) if "|" in node.key else (node.key, node.key)
    given: dict[str, Any] = {"dataset": dataset, "variant": slug, "tier": "easy", "mode": slug.rpartition("__")[2]}
    columns = TABLES[node.asset].columns()
    lists = {name: pl.Series([[]], dtype=column.dtype) for name, column in columns.items() if column.dtype == pl.List}
    return frame_of(node.asset, 1, **{name: value for name, value in (given | lists).items() if name in columns})


def _write(platform: Platform, node: Node, frame: pl.DataFrame) -> None:
    provenance = provenance_of(platform.artifacts, platform.study, node, "bench")
    platform.artifacts.lake.write(node, frame, provenance)


def _make(platform: Platform, node: Node) -> None:
    """Compute figures as the graph does."""
    context = cast(Any, SimpleNamespace(log=logging.getLogger("bench")))
    nobody = cast(Any, None)
    stage = Stage(context, platform.study, node, platform.artifacts.lake, platform.home, nobody, nobody)
    make = next(spec.make for spec in marts.STAGES if spec.name == node.asset)
    _write(platform, node, make(stage))
