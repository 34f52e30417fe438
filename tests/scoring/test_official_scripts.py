"""Answer scores against the evaluation scripts that HotpotQA and MuSiQue publish: equal to the last bit, over any text.

Where an answer is empty after normalisation the scripts disagree with each other; what this project does then is tested
at the end.
"""

from __future__ import annotations

import polars as pl
import pytest
from answer_texts import answers
from hypothesis import given, settings
from hypothesis import strategies as st
from official_scripts import (
    hotpotqa_em,
    hotpotqa_f1,
    max_over_ground_truths,
    musique_em,
    musique_f1,
    normalize_answer,
)

from mbt_assets.scoring.answer_columns import score_frame
from mbt_assets.scoring.answers import SCORE_COLUMNS, score

golds = answers.filter(normalize_answer)


def framed(rows):
    """The columnar scores of (prediction, references) rows."""
    schema = {"prediction": pl.String, "references": pl.List(pl.String)}
    return score_frame(pl.DataFrame(rows, schema=schema, orient="row"))


@settings(max_examples=500, deadline=None)
@given(answers, golds)
def test_score_is_hotpotqas_on_any_pair(prediction, gold):
    result = score(prediction, [gold])
    assert result.exact_match == float(hotpotqa_em(prediction, gold))
    assert result.f1 == hotpotqa_f1(prediction, gold)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(answers, golds), min_size=1, max_size=30))
def test_score_frame_is_hotpotqas_on_any_pair(pairs):
    scored = framed([(prediction, [gold]) for prediction, gold in pairs])
    assert scored["exact_match"].to_list() == [float(hotpotqa_em(*pair)) for pair in pairs]
    assert scored["f1"].to_list() == [hotpotqa_f1(*pair) for pair in pairs]


@settings(max_examples=300, deadline=None)
@given(answers, st.lists(golds, min_size=1, max_size=4))
def test_score_is_musiques_with_any_aliases(prediction, aliases):
    result = score(prediction, aliases)
    assert result.exact_match == max_over_ground_truths(musique_em, prediction, aliases)
    assert result.f1_plain == max_over_ground_truths(musique_f1, prediction, aliases)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(answers, st.lists(golds, min_size=1, max_size=4)), min_size=1, max_size=20))
def test_score_frame_is_musiques_with_any_aliases(rows):
    scored = framed(rows)
    assert scored["exact_match"].to_list() == [max_over_ground_truths(musique_em, *row) for row in rows]
    assert scored["f1_plain"].to_list() == [max_over_ground_truths(musique_f1, *row) for row in rows]


@pytest.mark.parametrize(
    ("prediction", "gold", "hotpotqa", "musique"),
    [
        ("", "", (1.0, 0), (1, 1)),
        ("The", "...", (1.0, 0), (1, 1)),
        ("x", "the", (0.0, 0), (0, 0)),
        ("", "x", (0.0, 0), (0, 0)),
    ],
)
def test_what_is_empty_after_normalisation_never_matches_here_whatever_the_scripts_say(
    prediction, gold, hotpotqa, musique
):
    assert (hotpotqa_em(prediction, gold), hotpotqa_f1(prediction, gold)) == hotpotqa
    assert (musique_em(gold, prediction), musique_f1(gold, prediction)) == musique
    result = score(prediction, [gold])
    assert (result.exact_match, result.substring_match, result.f1, result.f1_plain) == (0.0, 0.0, 0.0, 0.0)
    assert result.unscorable_gold == (not normalize_answer(gold))
    assert framed([(prediction, [gold])]).select(SCORE_COLUMNS).row(0) == (0.0, 0.0, 0.0, 0.0)


def test_an_empty_alias_beside_a_good_one_changes_nothing():
    assert score("", ["x", ""]).exact_match == 0.0  # MuSiQue's script would give 1: the empty alias equals nothing said
    assert max_over_ground_truths(musique_em, "", ["x", ""]) == 1
    assert score("x", ["x", ""]) == score("x", ["x"])
