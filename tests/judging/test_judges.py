"""Who judges, and how: several judges, the three ways of holding a reply to its form, prompts that are too long."""

import re

import polars as pl
import pytest
from judge_server import answer, garbled, refusal, task_of
from judged_cell import TASKS

from mbt_assets.scoring import rrp
from mbt_assets.scoring.forms import CHOICE_REGEX, JSON_SCHEMA
from partitions.model_sources import RulesServer
from resources.tables import JUDGED_TABLES

ABOUT_THE_REQUEST = ("judge", "judge_", "reply", "prompt_digest", "attempts", "reasks", "failure")
TOO_LONG = {
    "openai": ("Input tokens exceed the configured limit", "context_length_exceeded"),
    "vllm": ("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens", None),
    "vllm decoder": ("The decoder prompt (length 9000) is longer than the maximum model length of 8192.", None),
    "embedded": ("this model's context is 512 tokens; the prompt alone has 600", "context_length_exceeded"),
}


def what_was_judged(rows):
    """The columns that say what was found, not how it was asked."""
    return rows.select([name for name in rows.columns if not name.startswith(ABOUT_THE_REQUEST)])


def counts(rows):
    return dict(rows["status"].value_counts().iter_rows())


# --- A second judge ---


def test_a_second_judge_is_one_more_entry_and_changes_nothing_of_the_first(cell, clean, serve):
    good, noisy = serve(), serve(garbled(0.3))
    judged = cell({"good": good, "noisy": noisy}, judge_reasks=0)
    assert judged.make(*JUDGED_TABLES).success
    for table in JUDGED_TABLES:
        rows = judged.rows(table)
        first, second = (rows.filter(pl.col("judge") == name) for name in ("good", "noisy"))
        assert what_was_judged(first).equals(what_was_judged(clean.rows(table)))
        assert counts(first) == {"scored": 60}
        assert counts(second).keys() == {"scored", "unparseable"} and second.height == 60
    assert good.tasks == noisy.tasks == dict.fromkeys(TASKS.values(), 60)


def test_a_judge_that_is_away_costs_the_other_one_nothing(cell, serve):
    good, other = serve(), serve(lambda body, reply: refusal("Incorrect API key provided", status=401))
    judged = cell({"good": good, "other": other})
    assert not judged.make("mqi_scores").success
    assert len(good.asked) == 60
    other.spoil = lambda body, reply: reply
    assert judged.make("mqi_scores").success
    assert len(good.asked) == 60
    assert judged.rows("mqi_scores").height == 120


# --- The form of a reply ---


def test_a_server_with_json_schemas_gives_the_same_scores(cell, clean, serve):
    server = serve()
    judged = cell({"good": server}, structured=JSON_SCHEMA)
    assert judged.make(*JUDGED_TABLES).success
    for table in JUDGED_TABLES:
        rows = judged.rows(table)
        assert what_was_judged(rows).equals(what_was_judged(clean.rows(table)))
        assert rows["reply"].str.starts_with("{").all()
    assert all("JSON object" in body["messages"][-1]["content"] for body in server.asked)


def test_the_embedded_judge_serves_json_schemas_too(cell, clean):
    judged = cell({"good": RulesServer(kind="rules", name="rule-judge", structured=JSON_SCHEMA)})
    assert judged.make(*JUDGED_TABLES).success
    for table in JUDGED_TABLES:
        assert judged.rows(table)["reply"].str.starts_with("{").all()
        assert what_was_judged(judged.rows(table)).equals(what_was_judged(clean.rows(table)))


def test_a_server_with_choices_and_regular_expressions_is_told_what_this_reply_may_be(cell, clean, serve):
    def held(body, reply):
        allowed = body["structured_outputs"]
        assert reply in allowed["choice"] if "choice" in allowed else re.fullmatch(allowed["regex"], reply)
        return reply

    server = serve(held)
    judged = cell({"good": server}, structured=CHOICE_REGEX)
    assert judged.make(*JUDGED_TABLES).success
    for table in JUDGED_TABLES:
        assert what_was_judged(judged.rows(table)).equals(what_was_judged(clean.rows(table)))
    for body in server.asked:
        if task_of(body) == TASKS["rrp_scores"]:
            paragraphs = len(re.findall(r"^\[\[M\d+\]\]$", body["messages"][-1]["content"], re.MULTILINE)) + 1
            assert body["structured_outputs"]["regex"] == rrp.reply_form(paragraphs).regex


def test_plain_text_from_a_server_that_promised_json_is_no_reply(cell, serve):
    judged = cell({"good": serve(lambda body, reply: "A")}, structured=JSON_SCHEMA, judge_reasks=0)
    judged.make("judge_verdicts")
    rows = judged.rows("judge_verdicts")
    assert counts(rows) == {"unparseable": 60}
    assert set(rows["failure"]) == {"not_json: 'A'"}


# --- Prompts that do not fit ---


@pytest.mark.parametrize("server", TOO_LONG)
def test_a_prompt_that_is_refused_for_its_length_fails_and_is_asked_once(cell, serve, server):
    message, code = TOO_LONG[server]
    judge = serve(lambda body, reply: refusal(message, code) if "person1" in str(body) else reply)
    judged = cell({"good": judge})
    judged.make("mqi_scores")
    rows = judged.rows("mqi_scores")
    long = sum("person1" in str(body) for body in judge.asked)
    assert counts(rows) == {"failed": long, "scored": 60 - long} and 0 < long < 60
    assert len(judge.asked) == 60
    failed = rows.filter(pl.col("status") == "failed")
    assert failed["failure"].str.starts_with(f"too_long: 400: {message}").all()
    assert failed.select("l_obs", "confidence", "phases", "reply").null_count().row(0) == (failed.height,) * 4
    assert judged.make("mqi_scores").success
    assert len(judge.asked) == 60


def test_the_check_on_failures_counts_them(cell, serve):
    judge = serve(lambda body, reply: refusal(*TOO_LONG["vllm"]))
    result = cell({"good": judge}, max_failure_rate=0.01).make("mqi_scores")
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert not result.success and failed == ["failed_judgments"]


@pytest.mark.parametrize(
    ("counted", "status", "failure"),
    [
        ({"prompt_tokens": 512}, "failed", "too_long: 512 tokens of prompt in a context of 512: the server has cut"),
        (
            {"prompt_tokens": 508, "completion_tokens": 4, "finish_reason": "length"},
            "failed",
            "too_long: 508 tokens of prompt in a context of 512: the reply broke off",
        ),
        ({"prompt_tokens": 400, "completion_tokens": 4, "finish_reason": "length"}, "unparseable", "missing_key"),
    ],
)
def test_a_context_that_is_stated_tells_what_the_server_does_not(cell, serve, counted, status, failure):
    judge = serve(lambda body, reply: answer("L_OBS: 4", **counted))
    judged = cell({"good": judge}, context_tokens=512, judge_reasks=1)
    judged.make("mqi_scores")
    rows = judged.rows("mqi_scores")
    assert counts(rows) == {status: 60}
    assert rows["failure"].str.starts_with(failure).all()
    assert len(judge.asked) == (120 if status == "unparseable" else 60)


def test_the_whole_trace_reaches_the_judge(cell, clean, serve):
    judge = serve()
    cell({"good": judge}).make("answer_hits", "mqi_scores")
    traces = clean.rows("validation_rollouts")["reasoning"].to_list()
    for task in ("answer hit", "metacognitive quality"):
        prompts = [body["messages"][-1]["content"] for body in judge.asked if task_of(body) == task]
        assert all(any(trace in prompt for prompt in prompts) for trace in traces)
