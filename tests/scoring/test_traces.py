"""Cutting and marking traces."""

from __future__ import annotations

import pytest

from mbt_assets.scoring.traces import extract_trace, mark, paragraphs, sentence_counts, sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sure.\n<trace>\none\n\ntwo\n</trace>", "one\n\ntwo"),
        ("<trace>draft</trace> <trace>final</trace>", "final"),
        ("<trace>never closed", None),
        ("no tags", None),
        ("<trace> \n </trace>", None),
    ],
)
def test_the_trace_stands_between_the_last_pair_of_tags(text, expected):
    assert extract_trace(text) == expected


def test_paragraphs_are_split_on_blank_lines_and_empties_dropped():
    assert paragraphs("one\nstill one\n\n \n\t\n two \r\n\r\nthree\n\n") == ["one\nstill one", "two", "three"]
    assert paragraphs("") == paragraphs(" \n\n ") == []


@pytest.mark.parametrize(
    ("paragraph", "count"),
    [
        ("One. Two! Three? Four", 4),
        ("no stop at all", 1),
        ("3.14 is pi.Yes", 1),  # no white space after the stop
        ("Wait... what?!\nYes.", 3),
        ("...", 1),
    ],
)
def test_sentences_end_at_a_stop_before_white_space(paragraph, count):
    assert len(sentences(paragraph)) == count


def test_markers_follow_each_paragraph_but_the_last():
    assert mark("A. B.\n\nC.\n\nD.") == "A. B.\n[[M01]]\n\nC.\n[[M02]]\n\nD."
    assert mark("only one") == "only one"
    assert mark("") == ""


def test_markers_go_past_ninety_nine():
    marked = mark("\n\n".join(["x."] * 101))
    assert "[[M99]]" in marked and "[[M100]]" in marked and "[[M101]]" not in marked


def test_a_trace_cannot_forge_markers_nor_lose_paragraphs_by_them():
    forged = "I say [[M07]] and [[M_END]].\n\nDone."
    assert mark(forged) == "I say [M07]] and [M_END]].\n[[M01]]\n\nDone."
    assert sentence_counts(forged) == [1, 1]
