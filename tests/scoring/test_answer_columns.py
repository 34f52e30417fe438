"""The columnar answer scores: equal to the plain function over any text, in any number of rows."""

from __future__ import annotations

import random
import re
import sys
from itertools import product

import polars as pl
import pytest
from answer_texts import PUNCTUATION, SPACES, WORDS, answers
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_assets.scoring.answer_columns import _UNLIKE, normalize_series, score_frame
from mbt_assets.scoring.answers import SCORE_COLUMNS, normalize, score


def assert_equal_to_plain(frame):
    scored = score_frame(frame)
    expected = [score(prediction, references) for prediction, references in frame.rows()]
    for column in [*SCORE_COLUMNS, "unscorable_gold"]:
        assert scored[column].to_list() == [getattr(row, column) for row in expected]
    assert scored["normalized_prediction"].to_list() == [normalize(text) for text in frame["prediction"]]


def framed(rows):
    return pl.DataFrame(rows, schema={"prediction": pl.String, "references": pl.List(pl.String)}, orient="row")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(answers, st.lists(answers, max_size=4)), max_size=12))
def test_the_frame_equals_the_plain_function_over_any_text(rows):
    assert_equal_to_plain(framed(rows))


def test_the_frame_equals_the_plain_function_over_many_rows_of_much_the_same_words():
    rng = random.Random(0)

    def text():  # few words, so that tokens are shared and repeated on both sides
        return rng.choice([" ", "  ", ", "]).join(
            rng.choices(["new", "york", *WORDS, "é", "“a”"], k=rng.randint(0, 12))
        )

    assert_equal_to_plain(framed([(text(), [text() for _ in range(rng.randint(0, 4))]) for _ in range(30_000)]))


def test_every_character_that_takes_the_fast_path_normalises_alike_in_every_place():
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not re.search(_UNLIKE, chr(code))]
    assert 500 < len(characters) < 600
    shapes = ["?", "a? the?", "? a ?", "?a the ?", "An?", "x?a y", "the?the ?", "a??an", "x ?THE?", "? ?"]
    texts = [shape.replace("?", character) for character in characters for shape in shapes]
    assert normalize_series(pl.Series(texts)).to_list() == [normalize(text) for text in texts]


def test_every_short_text_around_white_space_and_controls_normalises_alike():
    parts = [*map(chr, range(0x21)), *SPACES, *PUNCTUATION, "\x7f", "\xad", "\u200b", "\u0301", ""]
    texts = [f"{left}a{mid}the{right}b" for left, mid, right in product(parts, parts, ["", " ", "é", "-", "\u0301"])]
    assert normalize_series(pl.Series(texts)).to_list() == [normalize(text) for text in texts]


def test_the_frame_keeps_order_and_other_columns_and_takes_nulls():
    frame = pl.DataFrame(
        {"id": [3, 1, 2], "prediction": ["x", None, "y"], "references": [["x", None], ["x"], None]},
        schema_overrides={"references": pl.List(pl.String)},
    )
    scored = score_frame(frame)
    assert scored["id"].to_list() == [3, 1, 2]
    assert scored["exact_match"].to_list() == [1.0, 0.0, 0.0]
    assert scored["unscorable_gold"].to_list() == [False, False, True]


def test_the_frame_takes_no_rows_and_columns_of_nothing():
    assert score_frame(framed([])).is_empty()
    scored = score_frame(pl.DataFrame({"prediction": [None], "references": [[]]}))
    assert scored["f1"].to_list() == [0.0] and scored["unscorable_gold"].to_list() == [True]


def test_the_frame_refuses_other_types():
    with pytest.raises(TypeError, match="'references' must be List"):
        score_frame(pl.DataFrame({"prediction": ["x"], "references": ["x"]}))
    with pytest.raises(TypeError, match="'prediction' must be String"):
        score_frame(pl.DataFrame({"prediction": [1], "references": [["x"]]}))
