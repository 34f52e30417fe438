"""A study travels as JSON to the processes that work on it: it arrives unchanged, or is refused where it is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minimal import MINIMAL, line_of

from partitions.json_values import json_problems
from partitions.study import Study
from partitions.study_file import StudyError, load_study, packaged_studies, parse_study

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates()
KEYS = st.text() | st.integers() | st.booleans() | st.none() | st.dates()
VALUES = st.recursive(
    SCALARS | st.text(st.characters(categories=["Cs"])) | st.sets(st.integers()),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(KEYS, inner),
    max_leaves=6,
)


def arrived(study):
    return Study.model_validate_json(study.model_dump_json())


def arrives(study):
    try:
        return arrived(study) == study
    except ValueError:
        return False


@pytest.mark.parametrize("name", packaged_studies())
def test_every_packaged_study_arrives_unchanged(name):
    study = load_study(name)
    assert arrived(study) == study


@pytest.mark.parametrize(
    "value",
    [
        "1e-4",
        "123456789012345678901234567890",
        "5.0e-324",
        "-0.0",
        "~",
        "on",
        '"\\0 \\u2028 🙂"',
        "'2024-01-01'",
        "{'50256': [1, {'': null}]}",
    ],
)
def test_odd_values_that_json_carries_arrive_unchanged(value):
    study = parse_study(MINIMAL + f"sft: {{trl: {{odd: {value}}}}}\n")
    assert arrived(study) == study


@given(st.dictionaries(st.text(), VALUES))
def test_a_study_is_refused_exactly_when_it_would_not_arrive_unchanged(values):
    study = parse_study(MINIMAL)
    odd = study.model_copy(update={"sft": study.sft.model_copy(update={"trl": values})})
    assert arrives(odd) == (not list(json_problems(odd)))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{50256: -100}", "odd.50256: the key 50256 is read as int, and only strings can be keys: put it in quotes"),
        ("{on: 1}", "odd.True: the key True is read as bool"),
        ("{~: 1}", "odd.None: the key None is read as NoneType"),
        ("[0, {1e5: 1}]", "odd.1.100000.0: the key 100000.0 is read as float"),
        (".inf", "odd: inf is not finite: give a number, or leave the field out"),
        ("-1e400", "odd: -inf is not finite"),
        ("[1, [.nan]]", "odd.1.0: nan is not finite"),
        ("2024-01-01", "odd: 2024-01-01 is read as a date: put it in quotes"),
        ("2024-01-01 10:00:00", "odd: 2024-01-01 10:00:00 is read as a date"),
        ("!!set {a}", "odd: is read as set, which a study cannot hold"),
        ("!!binary aGk=", "odd: is read as bytes"),
        ("!!omap [a: 1]", "odd.0: is read as tuple"),
        ('"\\ud800"', r"odd: '\ud800' holds half a surrogate pair"),
        ('{"\\ud800": 1}', r"odd: the key '\ud800' holds half a surrogate pair"),
    ],
)
def test_what_json_would_change_is_refused_with_its_line(value, why):
    text = MINIMAL + f"sft:\n  trl:\n    max_steps: 5\n    odd: {value}\n"
    with pytest.raises(StudyError) as caught:
        parse_study(text, "my.yaml")
    assert f"my.yaml:{line_of(text, 'odd:')}: sft.trl.{why}" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("judges:", "sampling:\n  extra:\n    logit_bias:\n      50256: 1\njudges:", "sampling.extra.logit_bias.50256"),
        ("judges:", "judge_sampling:\n  temperature: .inf # 50256\njudges:", "judge_sampling.temperature"),
        ("judges:", "aes:\n  alpha: .nan # 50256\njudges:", "aes.alpha"),
        ("judges:", "sft:\n  peft:\n    odd: {50256: 1}\njudges:", "sft.peft.odd.50256"),
        (
            "judges:",
            "sft:\n  by_mode:\n    mbt-s: {trl: {odd: {50256: 1}}}\njudges:",
            "sft.by_mode.mbt-s.trl.odd.50256",
        ),
        ("{kind: embedded}", "{kind: embedded, spec: {odd: {50256: 1}}}", "models.tiny.source.spec.odd.50256"),
        ("{kind: student}", "{kind: vllm, options: {odd: {50256: 1}}}", "models.tiny.server.options.odd.50256"),
        ("{benchmark: trails}", "{benchmark: trails, options: {odd: {50256: 1}}}", "trails.options.odd.50256"),
    ],
)
def test_it_is_found_wherever_a_study_holds_values(old, new, where):
    text = MINIMAL.replace(old, new, 1)
    with pytest.raises(StudyError) as caught:
        parse_study(text, "my.yaml")
    assert f"my.yaml:{line_of(text, '50256')}: " in str(caught.value)
    assert f"{where}: " in str(caught.value)


def test_a_key_is_found_on_its_own_line_as_it_was_written():
    text = MINIMAL + "sft:\n  trl:\n    odd:\n      first: 1\n      on: 1\n      0x10: 1\n"
    with pytest.raises(StudyError) as caught:
        parse_study(text, "my.yaml")
    assert f"my.yaml:{line_of(text, ' on:')}: sft.trl.odd.True: " in str(caught.value)
    assert f"my.yaml:{line_of(text, '0x10')}: sft.trl.odd.16: " in str(caught.value)
