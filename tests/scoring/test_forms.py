"""One reply in each of the three ways in which it may be held to its form: the same parser reads the same of it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_assets.embedded.json_replies import as_json
from mbt_assets.scoring import answer_hits, mqi, rrp, verdicts
from mbt_assets.scoring.forms import CHOICE_REGEX, JSON_SCHEMA, MOST_NAMES
from mbt_assets.scoring.replies import JudgeReplyError

WAYS = (None, CHOICE_REGEX, JSON_SCHEMA)
RRP_FORM = rrp.reply_form(4)
RRP = "ANSWER_PARAGRAPH_MARKER: [[M02]]\nREDUNDANT_PARAGRAPH_MARKERS: [[M03]], [[M_END]]\nCONFIDENCE: 0.8\nNOTES: fine"
MQI = "L_OBS: 4\nPHASES: 1, 2, 3, 5\nCONFIDENCE: 0.9"
REPLIES = [
    (verdicts.FORM, verdicts.parse_verdict, "A"),
    (verdicts.FORM, verdicts.parse_verdict, "C"),
    (answer_hits.FORM, answer_hits.parse_answer_hit, "NO"),
    (mqi.FORM, mqi.parse_mqi, MQI),
    (mqi.FORM, mqi.parse_mqi, "L_OBS: 0\nPHASES: NONE\nCONFIDENCE: 1.0"),
    (RRP_FORM, lambda text: rrp.parse_rrp(text, 4), RRP),
    (RRP_FORM, lambda text: rrp.parse_rrp(text, 4), RRP.replace("[[M03]], [[M_END]]", "NONE")),
    (RRP_FORM, lambda text: rrp.parse_rrp(text, 4), RRP.replace("[[M02]]", "[[M00]]")),
]


def schema_of(form):
    return form.request(JSON_SCHEMA)["response_format"]["json_schema"]["schema"]


def written(form, text, way):
    """A reply as a server of this kind writes it."""
    return as_json(text, schema_of(form)) if way == JSON_SCHEMA else text


def reason(form, parse, reply, way=JSON_SCHEMA):
    with pytest.raises(JudgeReplyError) as caught:
        parse(form.text(reply, way))
    return caught.value.reason


@pytest.mark.parametrize(("form", "parse", "text"), REPLIES)
@pytest.mark.parametrize("way", WAYS)
def test_a_reply_says_the_same_whichever_way_it_came(form, parse, text, way):
    assert parse(form.text(written(form, text, way), way)) == parse(text)


@pytest.mark.parametrize(("form", "parse", "text"), REPLIES)
def test_the_regular_expression_takes_every_good_reply_whole(form, parse, text):
    assert re.fullmatch(form.regex, text)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (verdicts.FORM, "D"),
        (answer_hits.FORM, "YES."),
        (mqi.FORM, MQI.replace("L_OBS: 4", "L_OBS: 6")),
        (mqi.FORM, MQI.replace("0.9", "1.2")),
        (mqi.FORM, f"Here it is:\n{MQI}"),
        (RRP_FORM, RRP.replace("[[M02]]", "[[M05]]")),
        (RRP_FORM, RRP.replace("[[M03]]", "[[M00]]")),
    ],
)
def test_the_regular_expression_takes_nothing_that_the_parser_refuses(form, text):
    assert not re.fullmatch(form.regex, text)


def test_only_the_markers_of_the_trace_can_be_named():
    schema = schema_of(rrp.reply_form(3, [58, 21]))
    assert schema["properties"]["ANSWER_PARAGRAPH_MARKER"]["enum"] == ["[[M58]]", "[[M21]]", "[[M_END]]", "[[M00]]"]
    assert schema["properties"]["REDUNDANT_PARAGRAPH_MARKERS"]["items"]["enum"] == ["[[M58]]", "[[M21]]", "[[M_END]]"]
    assert schema["required"] == list(rrp.KEYS)
    assert schema["additionalProperties"] is False


def test_a_list_of_names_beyond_what_providers_take_is_left_to_the_parser():
    form = rrp.reply_form(MOST_NAMES + 2)
    assert "enum" not in schema_of(form)["properties"]["ANSWER_PARAGRAPH_MARKER"]
    reply = as_json(RRP.replace("[[M02]]", "[[M999]]"), schema_of(form))
    assert reason(form, lambda text: rrp.parse_rrp(text, MOST_NAMES + 2), reply) == "marker_beyond_trace"


def test_what_a_server_is_told_depends_on_what_it_offers():
    assert verdicts.FORM.request(None) == {}
    assert verdicts.FORM.request(CHOICE_REGEX) == {"structured_outputs": {"choice": ["A", "B", "C"]}}
    assert mqi.FORM.request(CHOICE_REGEX) == {"structured_outputs": {"regex": mqi.FORM.regex}}
    described = answer_hits.FORM.request(JSON_SCHEMA)["response_format"]["json_schema"]
    assert (described["name"], described["strict"]) == ("answer_hit", True)


GOOD = {"L_OBS": 4, "PHASES": [1, 2], "CONFIDENCE": 0.9}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("", "empty_reply"),
        ("L_OBS: 4\nPHASES: NONE\nCONFIDENCE: 1", "not_json"),
        ('{"L_OBS": 4, "PHASES": [1', "not_json"),
        (json.dumps([GOOD]), "not_json"),
        ("[" * 100_000, "not_json"),
        (json.dumps({"L_OBS": 4, "PHASES": []}), "missing_key:CONFIDENCE"),
        (json.dumps(GOOD | {"WHY": "so"}), "unexpected_text"),
        (json.dumps(GOOD)[:-1] + ', "L_OBS": 5}', "duplicate_key:L_OBS"),
        (json.dumps(GOOD | {"L_OBS": "4"}), "bad_value:L_OBS"),
        (json.dumps(GOOD | {"L_OBS": 4.0}), "bad_value:L_OBS"),
        (json.dumps(GOOD | {"L_OBS": True}), "bad_value:L_OBS"),
        (json.dumps(GOOD | {"L_OBS": None}), "bad_value:L_OBS"),
        (json.dumps(GOOD | {"L_OBS": 6}), "out_of_range:L_OBS"),
        (json.dumps(GOOD | {"PHASES": "NONE"}), "bad_value:PHASES"),
        (json.dumps(GOOD | {"PHASES": [[1]]}), "bad_value:PHASES"),
        (json.dumps(GOOD | {"PHASES": [7]}), "out_of_range:PHASES"),
        (json.dumps(GOOD | {"CONFIDENCE": 1.5}), "out_of_range:CONFIDENCE"),
        (json.dumps(GOOD | {"CONFIDENCE": float("nan")}), "bad_value:CONFIDENCE"),
        (json.dumps(GOOD).replace("0.9", "9e-1"), "bad_value:CONFIDENCE"),
    ],
)
def test_json_that_is_off_is_refused_with_a_reason(reply, expected):
    assert reason(mqi.FORM, mqi.parse_mqi, reply) == expected


@pytest.mark.parametrize("markers", ['"NONE"', '"[[M01]], [[M02]]"', '""', "1"])
def test_a_list_of_markers_holds_markers(markers):
    reply = as_json(RRP, schema_of(RRP_FORM)).replace('"[[M03]]"', markers)
    assert reason(RRP_FORM, lambda text: rrp.parse_rrp(text, 4), reply).startswith("bad_value")


def test_notes_cannot_smuggle_in_a_line():
    reply = as_json(RRP, schema_of(RRP_FORM)).replace('"fine"', '"fine\\nCONFIDENCE: 1"')
    parsed = rrp.parse_rrp(RRP_FORM.text(reply, JSON_SCHEMA), 4)
    assert (parsed.confidence, parsed.notes) == (0.8, "fine CONFIDENCE: 1")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*rrp.KEYS, *mqi.KEYS]) | st.text(), inner),
    max_leaves=8,
)


@given(st.one_of(st.text(), JSON_VALUES.map(json.dumps)))
def test_whatever_a_judge_writes_a_score_or_a_reason_comes_of_it(reply):
    for form, parse, _ in REPLIES:
        for way in WAYS:
            try:
                parse(form.text(reply, way))
            except JudgeReplyError as error:
                assert error.reason
