"""Answers and their scores by hand: every case that the definition names."""

from __future__ import annotations

import pytest

from mbt_assets.scoring.answers import (
    extract_answer,
    normalize,
    score,
    split_reasoning,
)


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


def test_an_answer_inside_reasoning_that_is_never_closed_is_none():
    _, content = split_reasoning("<think>perhaps <answer>Paris</answer>, let me check")
    assert extract_answer(content) == ("", False)


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
        ("the\u0301 x", "\u0301 x"),  # a combining mark is no letter to Python, so the article ends before it
        ("non\xa0breaking\u2028space", "non breaking space"),
        ("zero\u200bwidth", "zero\u200bwidth"),
        ("STRAẞE straße", "straße straße"),  # lower case, not case folding: ß stays
        ("１９", "１９"),
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
    # It looks at normalised strings: "no answer" is two words and none of the three, "No-answer." is one.
    assert score("no answer here", ["no answer"]).f1 == pytest.approx(0.8)
    assert score("No-answer.", ["answer"]).f1 == score("noanswer x", ["noanswer"]).f1 == 0.0


def test_a_reference_inside_a_word_of_the_prediction_is_a_substring():
    result = score("Romania", ["Roman"])
    assert (result.exact_match, result.substring_match, result.f1) == (0.0, 1.0, 0.0)
    assert score("Roman", ["Romania"]).substring_match == 0.0  # it does not hold the other way round


def test_scores_are_the_best_over_the_references_each_on_its_own():
    # The first alias gives the substring, the second the better F1: 2 shared of 3 and 3 tokens.
    result = score("big new york", ["york", "big new city"])
    assert (result.substring_match, result.f1) == (1.0, pytest.approx(2 / 3))


def test_empty_predictions_and_unscorable_golds_match_nothing():
    assert score("the", ["the"]) == score("", []) and score("the", ["the"]).unscorable_gold
    assert score("", ["x"]).substring_match == 0.0 and not score("", ["x"]).unscorable_gold
    assert score("anything", ["...", "The"]).unscorable_gold
    assert score("anything", ["...", "any"]).unscorable_gold is False
