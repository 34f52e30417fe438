"""Judge replies: what is read, and with what reason anything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_assets.scoring.answer_hits import parse_answer_hit, substring_hit
from mbt_assets.scoring.mqi import parse_mqi
from mbt_assets.scoring.replies import JudgeReplyError
from mbt_assets.scoring.rrp import parse_rrp
from mbt_assets.scoring.verdicts import parse_verdict

RRP = "ANSWER_PARAGRAPH_MARKER: [[M02]]\nREDUNDANT_PARAGRAPH_MARKERS: [[M03]], [[M_END]]\nCONFIDENCE: 0.8\nNOTES: fine"
MQI = "L_OBS: 4\nPHASES: 1, 2, 3, 5\nCONFIDENCE: 0.9"


def reason(parse, *arguments):
    with pytest.raises(JudgeReplyError) as caught:
        parse(*arguments)
    return caught.value.reason


@pytest.mark.parametrize(("reply", "letter", "correct"), [("A", "A", 1.0), (" B\n", "B", 0.0), ("C", "C", 0.0)])
def test_a_verdict_is_one_letter(reply, letter, correct):
    verdict = parse_verdict(reply)
    assert (verdict.verdict, verdict.judge_correct) == (letter, correct)


@pytest.mark.parametrize("reply", ["a", "A.", "A: correct", "The answer is A", "AB", "D", "<think>A", "**A**"])
def test_anything_else_is_no_verdict(reply):
    assert reason(parse_verdict, reply) == "bad_value"


def test_hits_are_yes_or_no():
    assert parse_answer_hit("YES\n").answer_hit == 1.0
    assert parse_answer_hit("NO").answer_hit == 0.0
    for reply in ("yes", "Yes, it does", "YES NO", "MAYBE"):
        assert reason(parse_answer_hit, reply) == "bad_value"


def test_empty_replies_have_a_reason_of_their_own():
    assert {reason(parse, "  \n") for parse in (parse_verdict, parse_answer_hit, parse_mqi)} == {"empty_reply"}
    assert reason(parse_rrp, "", 3) == "empty_reply"


def test_substring_hits_fold_case_and_take_any_alias():
    assert substring_hit("…so it is STRASSE 7.", ["Straße 7"]) == 1.0
    assert substring_hit("so it is New York", ["Paris", " new york "]) == 1.0
    assert substring_hit("so it is Rome", ["Paris", "", "  "]) == 0.0
    assert substring_hit("", ["Paris"]) == 0.0


# --- RRP ---


def test_an_rrp_reply_is_four_lines():
    reply = parse_rrp(RRP, 4)
    assert (reply.answer_paragraph, reply.redundant_paragraphs, reply.confidence) == (2, [3, 4], 0.8)
    assert reply.notes == "fine"


def test_lines_may_come_in_any_order_and_notes_may_be_empty_or_go_on():
    reply = parse_rrp(
        "CONFIDENCE: 1\n\nREDUNDANT_PARAGRAPH_MARKERS: NONE\nANSWER_PARAGRAPH_MARKER: [[M00]]\nNOTES:\nmore\nand more",
        2,
    )
    assert (reply.answer_paragraph, reply.redundant_paragraphs, reply.notes) == (0, [], "more\nand more")


def test_the_last_paragraph_has_two_names_and_counts_once():
    assert parse_rrp(RRP.replace("[[M03]]", "[[M04]]"), 4).redundant_paragraphs == [4]
    assert parse_rrp(RRP.replace("[[M02]]", "[[M_END]]"), 4).answer_paragraph == 4


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[[M02]]", "[[M05]]", "marker_beyond_trace"),
        ("[[M03]]", "[[M99]]", "marker_beyond_trace"),
        ("[[M03]]", "[[M00]]", "bad_value:REDUNDANT_PARAGRAPH_MARKERS"),
        ("[[M03]], [[M_END]]", "", "bad_value:REDUNDANT_PARAGRAPH_MARKERS"),
        ("[[M03]], [[M_END]]", "none", "bad_value:REDUNDANT_PARAGRAPH_MARKERS"),
        ("[[M03]]", "M03", "bad_value:REDUNDANT_PARAGRAPH_MARKERS"),
        ("[[M02]]", "[[M2]]", "bad_value:ANSWER_PARAGRAPH_MARKER"),
        ("[[M02]]", "[[M002]]", "bad_value:ANSWER_PARAGRAPH_MARKER"),
        ("[[M02]]", "[[M٠٢]]", "bad_value:ANSWER_PARAGRAPH_MARKER"),
        ("[[M02]]", "NONE", "bad_value:ANSWER_PARAGRAPH_MARKER"),
        ("[[M02]]", "[[M02]], [[M03]]", "bad_value:ANSWER_PARAGRAPH_MARKER"),
        ("0.8", "1.01", "out_of_range:CONFIDENCE"),
        ("0.8", "-0.1", "bad_value:CONFIDENCE"),
        ("0.8", "high", "bad_value:CONFIDENCE"),
        ("0.8", "nan", "bad_value:CONFIDENCE"),
        ("0.8", "80%", "bad_value:CONFIDENCE"),
        ("\nNOTES: fine", "", "missing_key:NOTES"),
        ("CONFIDENCE: 0.8\n", "", "missing_key:CONFIDENCE"),
        ("CONFIDENCE: 0.8", "CONFIDENCE: 0.8\nCONFIDENCE: 0.9", "duplicate_key:CONFIDENCE"),
        ("ANSWER", "Here is my analysis:\nANSWER", "unexpected_text"),
    ],
)
def test_an_rrp_reply_that_is_off_is_refused_with_a_reason(old, new, expected):
    assert reason(parse_rrp, RRP.replace(old, new, 1), 4) == expected


def test_no_marker_fits_an_empty_trace():
    assert reason(parse_rrp, RRP.replace("[[M02]]", "[[M_END]]"), 0) == "marker_beyond_trace"


def test_markers_with_other_numbers_name_their_paragraphs_and_no_position_does():
    reply = parse_rrp(RRP.replace("[[M02]]", "[[M71]]").replace("[[M03]]", "[[M58]]"), 4, [58, 71, 40])
    assert (reply.answer_paragraph, reply.redundant_paragraphs) == (2, [1, 4])
    assert reason(parse_rrp, RRP, 4, [58, 71, 40]) == "marker_beyond_trace"
    # The last paragraph has no number then.
    assert reason(parse_rrp, RRP.replace("[[M02]]", "[[M04]]"), 4, [58, 71, 40]) == "marker_beyond_trace"


# --- MQI ---


def test_an_mqi_reply_is_three_lines():
    reply = parse_mqi(MQI)
    assert (reply.l_obs, reply.phases, reply.confidence) == (4, [1, 2, 3, 5], 0.9)
    assert parse_mqi("L_OBS: 0\nPHASES: NONE\nCONFIDENCE: .5").phases == []
    assert parse_mqi("L_OBS: 5\nPHASES: 5 4 3 2 1 1\nCONFIDENCE: 1.0").phases == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("L_OBS: 4", "L_OBS: 6", "out_of_range:L_OBS"),
        ("L_OBS: 4", "L_OBS: 4.5", "bad_value:L_OBS"),
        ("L_OBS: 4", "L_OBS: 4 (good)", "bad_value:L_OBS"),
        ("L_OBS: 4", "L_OBS: -1", "bad_value:L_OBS"),
        ("L_OBS: 4", "l_obs: 4", "unexpected_text"),
        ("1, 2, 3, 5", "0, 2", "out_of_range:PHASES"),
        ("1, 2, 3, 5", "6", "out_of_range:PHASES"),
        ("1, 2, 3, 5", "1, planning", "bad_value:PHASES"),
        ("1, 2, 3, 5", "", "bad_value:PHASES"),
        ("PHASES: 1, 2, 3, 5\n", "", "missing_key:PHASES"),
        ("0.9", "0.9\nThat is all.", "unexpected_text"),
    ],
)
def test_an_mqi_reply_that_is_off_is_refused_with_a_reason(old, new, expected):
    assert reason(parse_mqi, MQI.replace(old, new)) == expected


# --- Whatever a judge writes, a score or a reason comes of it ---


@given(
    st.one_of(st.text(), st.sampled_from([RRP, MQI, "A", "YES"]).flatmap(lambda text: st.permutations(text.split())))
)
def test_garbage_never_raises_anything_else(reply):
    text = reply if isinstance(reply, str) else " ".join(reply)
    for parse in (parse_verdict, parse_answer_hit, parse_mqi, lambda given: parse_rrp(given, 3)):
        try:
            parse(text)
        except JudgeReplyError as error:
            assert error.reason
