"""A judge that answers garbage: no score is invented, what does not parse is asked for again, and all is counted."""

import polars as pl
import pytest
from judge_server import draw_of, garbled, refusal, share_of, task_of
from judged_cell import TASKS

from jobs.plan import CELL_ASSETS
from mbt_assets.judging import SEEDS_APART
from resources.tables import JUDGED_TABLES, TABLES, Judged

GIVEN = ("substring_hit", "tier")
GARBLED = 0.3


def score_columns(table):
    return [name for name in TABLES[table].column_names() if name not in (*Judged.column_names(), *GIVEN)]


def check_of(result, table, name="parse_failures"):
    (found,) = [
        check
        for check in result.get_asset_check_evaluations()
        if check.asset_key.to_user_string() == table and check.check_name == name
    ]
    return found


def is_garbled(body):
    return share_of(body) < GARBLED


@pytest.fixture
def garbage(serve):
    return serve(garbled(GARBLED))


@pytest.mark.parametrize("reasks", [0, 2])
def test_garbage_becomes_no_score_and_everything_else_becomes_the_clean_score(cell, clean, garbage, reasks):
    judged = cell({"good": garbage}, judge_reasks=reasks)
    assert judged.make(*CELL_ASSETS).success
    for table in JUDGED_TABLES:
        rows, truth = judged.rows(table), clean.rows(table)
        assert rows.height == truth.height == 60
        scored = rows["status"] == "scored"
        assert set(rows["status"]) == {"scored", "unparseable"}
        assert (rows["parse_ok"] == scored).all()
        names = score_columns(table)
        assert rows.filter(~scored).select(pl.all_horizontal(pl.col(names).is_null())).to_series().all()
        assert rows.filter(scored).select(names).equals(truth.filter(scored).select(names))
        # Each row is as its last draw was, and there were no more draws than it took.
        sent = [body for body in garbage.asked if task_of(body) == TASKS[table] and draw_of(body) < 10]
        assert (~scored).sum() == sum(is_garbled(body) for body in sent if draw_of(body) == reasks)
        assert rows["reasks"].sum() == sum(draw_of(body) > 0 for body in sent)
        assert rows["attempts"].sum() == len(sent)
        assert rows["judge_discarded_tokens"].sum() == 10 * rows["reasks"].sum()
        assert rows.filter(~scored)["reply"].null_count() == rows.filter(scored)["failure"].len() - scored.sum()


def test_asking_again_brings_the_rate_down(cell, garbage):
    rates = {}
    for reasks in (0, 1, 2):
        judged = cell({"good": garbage}, judge_reasks=reasks)
        judged.make(*JUDGED_TABLES)
        every = pl.concat([judged.rows(table).select("status") for table in JUDGED_TABLES])
        rates[reasks] = (every["status"] == "unparseable").mean()
    # Of 240 replies .3, .3 ** 2 and .3 ** 3 are to be expected, give or take three standard deviations.
    assert 0.21 < rates[0] < 0.39
    assert 0.03 < rates[1] < 0.15
    assert rates[2] < 0.06


def test_a_further_reply_is_to_another_request_and_the_last_one_is_kept(cell, serve):
    server = serve(lambda body, reply: f"garbage {draw_of(body)}")
    judged = cell({"good": server}, judge_reasks=2)
    judged.make("mqi_scores")
    rows = judged.rows("mqi_scores")
    assert set(rows["reply"]) == {"garbage 2"}
    assert set(rows["reasks"]) == {2}
    assert len({body["seed"] for body in server.asked}) == 3
    assert {body["seed"] % SEEDS_APART for body in server.asked} == {43}


@pytest.mark.parametrize("block", [False, True])
def test_too_many_warn_or_stop_what_is_made_of_the_scores(cell, garbage, block):
    judged = cell({"good": garbage}, judge_reasks=0, parse_failures_block=block)
    result = judged.make(*CELL_ASSETS)
    check = check_of(result, "mqi_scores")
    assert not check.passed
    assert (check.severity.value, check.blocking) == (("ERROR", True) if block else ("WARN", False))
    made = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert result.success is not block
    assert ("cell_metrics" in made) is not block
    # The rows stay to be looked at.
    assert judged.rows("mqi_scores").height == 60


def test_nothing_that_was_answered_is_asked_again(cell, garbage):
    judged = cell({"good": garbage})
    assert judged.make(*JUDGED_TABLES).success
    before, sent = {table: judged.rows(table) for table in JUDGED_TABLES}, len(garbage.asked)
    assert judged.make(*JUDGED_TABLES).success
    assert len(garbage.asked) == sent
    assert all(judged.rows(table).equals(rows) for table, rows in before.items())


def test_a_run_that_ended_while_it_asked_again_goes_on_there(cell, serve):
    def spoil(body, reply):
        if draw_of(body):
            return refusal("Incorrect API key provided", status=401)
        return garbled(GARBLED)(body, reply)

    server = serve(spoil)
    judged = cell({"good": server})
    assert not judged.make("mqi_scores").success
    first = [body for body in server.asked if draw_of(body) == 0]
    assert len(first) == 60
    server.asked.clear()
    server.spoil = garbled(GARBLED)
    assert judged.make("mqi_scores").success
    assert {draw_of(body) for body in server.asked} == {1, 2}
    assert sum(draw_of(body) == 1 for body in server.asked) == sum(map(is_garbled, first))


def test_failed_requests_are_not_asked_again_and_a_failed_further_one_leaves_what_was_said(cell, serve):
    def spoil(body, reply):
        if draw_of(body):
            return refusal("no such parameter")
        return refusal("no such parameter") if share_of(body) < 0.3 else "garbage" if share_of(body) < 0.6 else reply

    server = serve(spoil)
    judged = cell({"good": server}, judge_reasks=3)
    assert judged.make("mqi_scores").success
    rows = judged.rows("mqi_scores")
    counts = dict(rows["status"].value_counts().iter_rows())
    first = [share_of(body) for body in server.asked if draw_of(body) == 0]
    assert counts["failed"] == sum(share < 0.3 for share in first)
    assert counts["unparseable"] == sum(0.3 <= share < 0.6 for share in first)
    assert {draw_of(body) for body in server.asked} == {0, 1}
    assert set(rows.filter(pl.col("status") == "unparseable").select("reply", "reasks", "attempts").rows()) == {
        ("garbage", 0, 2)
    }
    assert set(rows.filter(pl.col("status") == "failed")["failure"]) == {"bad_request: 400: no such parameter"}


def test_every_reply_can_be_traced_to_its_request(cell, garbage):
    judged = cell({"good": garbage})
    judged.make("rrp_scores", "judge_verdicts")
    rows = judged.rows("rrp_scores")
    assert rows["judge_request_digest"].n_unique() == rows.height
    assert rows["judge_request_digest"].str.len_chars().unique().to_list() == [64]
