"""Answer scores: by hand, against the published evaluation scripts, and fast against plain."""

from __future__ import annotations

import re
import string
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_assets.scoring.answers import (
    extract_answer,
    normalize,
    score,
    score_frame,
    split_reasoning,
)

SCORES = ["exact_match", "substring_match", "f1", "f1_plain"]


@pytest.mark.parametrize(
    ("response", "reasoning", "expected"),
    [
        ("<think>\nfirst\n</think>\n\n<answer>x</answer>", None, ("first", "<answer>x</answer>")),
        ("first</think><answer>x</answer>", None, ("first", "<answer>x</answer>")),  # the prompt opened the tag
        ("<think>never closed <answer>x</answer>", None, ("never closed <answer>x</answer>", "")),
        ("no tags <answer>x</answer>", None, ("no tags <answer>x</answer>", "")),
        ("", None, ("", "")),
        ("<answer>x</answer>", "the server's own", ("the server's own", "<answer>x</answer>")),
        ("<think>\nown\n</think>\n\nA", "own", ("own", "A")),  # the full text repeats the reasoning
        ("<think>\nown", "own", ("own", "")),  # cut off while reasoning
        ("A", "", ("", "A")),  # the server says that there was no reasoning
        ("<think>\n\n</think>\n\nA", "", ("", "A")),
        ("<think>own</think>A", "", ("own", "A")),  # an empty field next to tagged reasoning
        ("<think>a</think>b</think>c", None, ("a", "b</think>c")),
    ],
)
def test_reasoning_is_the_servers_field_or_the_think_tags(response, reasoning, expected):
    assert split_reasoning(response, reasoning) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<answer> Paris </answer>", ("Paris", True)),
        ("<answer>a</answer> or <answer>b</answer> c </answer>", ("b", True)),
        ("<answer>a <answer>b</answer>", ("b", True)),
        ("<answer>a</answer> then <answer>b", ("", False)),  # the last <answer> is never closed
        ("Paris</answer>", ("", False)),
        ("Paris", ("", False)),
        ("<answer></answer>", ("", True)),
        ("<Answer>x</Answer>", ("", False)),
    ],
)
def test_the_answer_stands_between_the_last_pair_of_tags(content, expected):
    assert extract_answer(content) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Quick, brown-fox!", "quick brownfox"),
        ("an a the", ""),
        ("a.m.", "am"),  # punctuation goes before articles are looked for
        ("U.S.A", "usa"),
        ("the_end", "theend"),
        ("“a” b", "“ ” b"),  # other than ASCII punctuation stays, and bounds a word
        ("tab\tand\u2003em space", "tab and em space"),
        ("a\x00b", "\x00b"),  # a control character bounds a word and is no white space
        ("x\x1cy", "x y"),  # Python counts the separators 1c to 1f as white space
        ("İSTANBUL", "i̇stanbul"),
        ("ΟΔΟΣ", "οδος"),
        ("thé", "thé"),
    ],
)
def test_normalisation(text, expected):
    assert normalize(text) == expected


def test_scores_by_hand():
    # "eiffel tower in paris" against "eiffel tower": 2 shared of 4 and of 2 -> P 1/2, R 1, F1 2/3.
    result = score("The Eiffel Tower, in Paris", ["Eiffel Tower"])
    assert (result.exact_match, result.substring_match, result.f1) == (0.0, 1.0, 2 / 3)
    # Multisets: "new new york" and "new york york" share new and york once each -> P = R = 2/3.
    assert score("new new york", ["new york york"]).f1 == pytest.approx(2 / 3)


def test_best_reference_counts():
    result = score("NYC", ["New York", "nyc!", ""])
    assert (result.exact_match, result.substring_match, result.f1, result.f1_plain) == (1.0, 1.0, 1.0, 1.0)


def test_closed_answers_score_all_or_nothing_in_f1_only():
    result = score("yes it is", ["yes"])
    assert (result.f1, result.f1_plain, result.substring_match) == (0.0, 0.5, 1.0)
    assert score("Yes.", ["yes"]).f1 == 1.0
    # The rule is per pair: another alias may still match.
    assert score("no way", ["no", "no way out"]).f1 == pytest.approx(0.8)


def test_empty_predictions_and_unscorable_golds_match_nothing():
    assert score("the", ["the"]) == score("", []) and score("the", ["the"]).unscorable_gold
    assert score("", ["x"]).substring_match == 0.0 and not score("", ["x"]).unscorable_gold
    assert score("anything", ["...", "The"]).unscorable_gold
    assert score("anything", ["...", "any"]).unscorable_gold is False


# --- The published evaluation scripts, written down from their definitions ---


def official_normalize(text):
    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def hotpot_f1(prediction, gold):
    prediction, gold = official_normalize(prediction), official_normalize(gold)
    for one, other in ((prediction, gold), (gold, prediction)):
        if one in ["yes", "no", "noanswer"] and one != other:
            return 0
    return overlap_f1(prediction.split(), gold.split())


def overlap_f1(prediction, gold):
    num_same = sum((Counter(prediction) & Counter(gold)).values())
    if num_same == 0:
        return 0
    precision, recall = 1.0 * num_same / len(prediction), 1.0 * num_same / len(gold)
    return (2 * precision * recall) / (precision + recall)


WORDS = st.sampled_from(
    ["the", "The", "a", "An", "yes", "no", "no-answer", "New", "york", "York,", "U.S.", "x", "…", "é", "“a”", "ß", "İ"]
)
ANSWERS = st.one_of(st.lists(WORDS, max_size=8).map(" ".join), st.text(max_size=20))


@settings(max_examples=400, deadline=None)
@given(ANSWERS, ANSWERS)
def test_equal_to_hotpotqas_script_on_any_pair(prediction, gold):
    result = score(prediction, [gold])
    if official_normalize(gold):  # an empty gold is where we differ on purpose
        assert result.exact_match == float(official_normalize(prediction) == official_normalize(gold))
    assert result.f1 == hotpot_f1(prediction, gold)


@settings(max_examples=200, deadline=None)
@given(ANSWERS, st.lists(ANSWERS.filter(official_normalize), min_size=1, max_size=4))
def test_equal_to_musiques_script_with_aliases(prediction, golds):
    predicted = official_normalize(prediction)
    result = score(prediction, golds)
    assert result.exact_match == float(max(predicted == official_normalize(gold) for gold in golds))
    assert result.f1_plain == max(overlap_f1(predicted.split(), official_normalize(gold).split()) for gold in golds)


# --- The columnar path ---


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(ANSWERS, st.lists(ANSWERS, max_size=4)), max_size=12))
def test_the_frame_equals_the_plain_function_over_any_text(rows):
    frame = pl.DataFrame(
        {"prediction": [p for p, _ in rows], "references": [r for _, r in rows]},
        schema={"prediction": pl.String, "references": pl.List(pl.String)},
    )
    scored = score_frame(frame)
    expected = [score(prediction, references) for prediction, references in rows]
    for column in [*SCORES, "unscorable_gold"]:
        assert scored[column].to_list() == [getattr(row, column) for row in expected]
    assert scored["normalized_prediction"].to_list() == [normalize(p) for p, _ in rows]


def test_every_short_text_around_white_space_and_controls_normalises_alike():
    parts = [chr(code) for code in [*range(0x21), 0x5F, 0x7F, 0x85, 0xA0, 0xAD, 0x2028, 0x200B, 0x3000, 0x0301]]
    texts = [f"{left}a{mid}the b" for left in parts for mid in parts]
    frame = score_frame(pl.DataFrame({"prediction": texts, "references": [["b"]] * len(texts)}))
    assert frame["normalized_prediction"].to_list() == [normalize(text) for text in texts]


def test_the_frame_keeps_order_and_other_columns_and_takes_nulls():
    frame = pl.DataFrame(
        {"id": [3, 1, 2], "prediction": ["x", None, "y"], "references": [["x", None], ["x"], None]},
        schema_overrides={"references": pl.List(pl.String)},
    )
    scored = score_frame(frame)
    assert scored["id"].to_list() == [3, 1, 2]
    assert scored["exact_match"].to_list() == [1.0, 0.0, 0.0]
    assert scored["unscorable_gold"].to_list() == [False, False, True]


def test_the_frame_refuses_other_types():
    with pytest.raises(TypeError, match="'references' must be List"):
        score_frame(pl.DataFrame({"prediction": ["x"], "references": ["x"]}))
    with pytest.raises(TypeError, match="'prediction' must be String"):
        score_frame(pl.DataFrame({"prediction": [1], "references": [["x"]]}))
