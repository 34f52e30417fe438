"""Every real row through every prompt: no crash, and each reply parses strictly."""

import pytest

from mbt_assets import prompts
from mbt_assets.embedded import judge, teacher
from mbt_assets.scoring.answer_hits import parse_answer_hit
from mbt_assets.scoring.answers import extract_answer, score
from mbt_assets.scoring.mqi import parse_mqi
from mbt_assets.scoring.rrp import score_rrp
from mbt_assets.scoring.traces import extract_trace, mark, paragraphs
from mbt_assets.scoring.verdicts import parse_verdict


def asked(role, name: str, **fields) -> str:
    return role.reply(prompts.render(name, **fields), seed=5).content


def judged(question: dict, trace: str, prediction: str):
    """All four judgements of one trace, parsed."""
    fields = question | {"trace": trace, "marked_trace": mark(trace), "prediction": prediction}
    return (
        parse_verdict(asked(judge, "verdict", **fields)),
        parse_answer_hit(asked(judge, "answer_hit", **fields)),
        score_rrp(trace, asked(judge, "rrp", **fields))[0],
        parse_mqi(asked(judge, "mqi", **fields)),
    )


def test_answers_have_reasoning_and_fit_a_small_token_limit(real_questions):
    for question in real_questions:
        for name in ("answer", "answer_metacognitive"):
            reply = teacher.reply(prompts.render(name, **question), seed=5)
            predicted, found = extract_answer(reply.content)
            assert found
            assert predicted
            assert len(f"{reply.reasoning} {reply.content}".split()) <= 256
            judged(question, reply.reasoning, predicted)


def test_traces_reach_the_answer_and_are_judged(real_questions):
    for question in real_questions:
        solution = extract_trace(asked(teacher, "gold_solution", **question))
        draft = teacher.reply(prompts.render("answer", **question)).reasoning
        fields = question | {"solution": solution, "trace": draft}
        for name in ("mbt_s", "mbt_r"):
            trace = extract_trace(asked(teacher, name, **fields))
            assert len(paragraphs(trace)) == 5
            verdict, hit, reach, quality = judged(question, trace, question["answer"])
            assert (verdict.verdict, hit.answer_hit, quality.l_obs) == ("A", 1.0, 5), question["question"]
            assert 1 <= reach.answer_paragraph <= 3
        control = extract_trace(asked(teacher, "distill_r", **fields))
        _, hit, _, quality = judged(question, control, question["answer"])
        assert hit.answer_hit == 1.0
        assert quality.l_obs < 5


def test_guesses_are_better_than_nothing_and_no_better_than_a_guess(real_questions):
    scores = [
        score(
            extract_answer(asked(teacher, "answer", **question))[0], [question["answer"], *question["aliases"]]
        ).exact_match
        for question in real_questions
    ]
    if len(scores) < 100:
        pytest.skip("MBT_TEST_HUB holds too few rows for a rate")
    assert 0.05 < sum(scores) / len(scores) < 0.6
