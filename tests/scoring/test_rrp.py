"""The Reach-Redundancy Profile by hand."""

from __future__ import annotations

import pytest

from mbt_assets.scoring.replies import JudgeReplyError
from mbt_assets.scoring.rrp import length_aware, profile, regulation, score_rrp

# Paragraphs of 2, 3, 1 and 4 sentences.
TRACE = "A. B.\n\nC. D! E?\n\nF.\n\nG. H. I. J."
REPLY = "ANSWER_PARAGRAPH_MARKER: {}\nREDUNDANT_PARAGRAPH_MARKERS: {}\nCONFIDENCE: 0.75\nNOTES: -"


def test_the_worked_example():
    score, confidence = score_rrp(TRACE, REPLY.format("[[M02]]", "[[M03]], [[M_END]]"))
    # 2 + 3 sentences until the answer, 1 + 4 redundant, 10 in all: rho = delta = .5, R = 2 * .25 / 1 = .5
    assert (score.answer_paragraph, score.first_correct, score.total_sentences) == (2, 5, 10)
    assert (score.redundant_paragraphs, score.redundant_sentences) == ([3, 4], 5)
    assert (score.arrival, score.redundant_fraction, score.regulation) == (0.5, 0.5, 0.5)
    assert confidence == 0.75


def test_an_answer_that_is_never_derived():
    score, _ = score_rrp(TRACE, REPLY.format("[[M00]]", "NONE"))
    assert (score.first_correct, score.arrival, score.redundant_fraction, score.regulation) == (-1, 1.0, 0.0, 0.0)


def test_an_answer_in_the_first_paragraph_and_nothing_redundant():
    score, _ = score_rrp(TRACE, REPLY.format("[[M01]]", "NONE"))
    assert (score.arrival, score.regulation) == (0.2, pytest.approx(2 * 0.8 / 1.8))


def test_an_answer_in_the_last_paragraph_arrives_at_the_end():
    score, _ = score_rrp(TRACE, REPLY.format("[[M_END]]", "[[M01]]"))
    assert (score.first_correct, score.arrival, score.regulation) == (10, 1.0, 0.0)


def test_an_empty_trace_has_a_profile_without_a_judge():
    score = profile(0, [], [])
    assert (score.total_sentences, score.redundant_fraction, score.arrival, score.regulation) == (0, 0.0, 1.0, 0.0)


def test_regulation_is_zero_where_both_factors_are():
    assert regulation(1.0, 1.0) == 0.0
    assert regulation(0.0, 0.0) == 1.0
    assert regulation(0.0, 1.0) == 0.0


def test_markers_beyond_the_trace_are_refused_not_clamped():
    with pytest.raises(JudgeReplyError, match="marker_beyond_trace"):
        score_rrp(TRACE, REPLY.format("[[M05]]", "NONE"))
    with pytest.raises(ValueError, match=r"\[5\] are outside a trace of 4"):
        profile(1, [5], [2, 3, 1, 4])


def test_length_aware_against_the_bases_mean_length():
    # S_b = 20 sentences: rho' = 5/20, delta' = 5/20, R' = .75
    aware = length_aware(5, 5, 20)
    assert (aware.arrival, aware.redundant_fraction, aware.regulation) == (0.25, 0.25, 0.75)
    # Longer than the base: both are cut at 1.
    assert length_aware(50, 30, 20).arrival == length_aware(50, 30, 20).redundant_fraction == 1.0
    assert length_aware(-1, 0, 20).arrival == 1.0
    with pytest.raises(ValueError, match="above 0"):
        length_aware(5, 5, 0)
