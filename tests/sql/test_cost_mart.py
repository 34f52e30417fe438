"""cost by hand."""

from __future__ import annotations

import pytest

TUNED = "small__mbt-r"
DOLLARS = {"small": (1.0, 4.0, 0.25, "USD"), "ann": (10.0, 20.0, None, "USD"), "big": (2.0, 3.0, None, "USD")}
ROLLOUT = {
    "variant": TUNED,
    "question_id": "q1",
    "finish_reason": "stop",
    "attempts": 1,
    "length_retries": 0,
    "discarded_tokens": 0,
}
VERDICT = {"variant": TUNED, "question_id": "q1", "judge": "ann", "judge_finish_reason": "stop"}


@pytest.fixture
def cost(lake):
    """The mart's rows by table and generator."""
    return lambda: lake.mart("cost").rows_by_key(["asset", "generator"], named=True, unique=True)


def put_rollouts(lake):
    """Four rollouts of one question: a plain one, a cached one, one drawn again for its length, and a failed one."""
    plain = {"prompt_tokens": 1000, "completion_tokens": 500, "reasoning_tokens": 400}
    lake.put(
        "validation_rollouts",
        [
            {**ROLLOUT, **plain, "cached_tokens": 0, "queue_ms": 100.0, "latency_ms": 1500.0},
            {**ROLLOUT, **plain, "cached_tokens": 800, "rollout_id": 2, "queue_ms": 300.0, "latency_ms": 500.0},
            {
                **ROLLOUT,
                "rollout_id": 3,
                "prompt_tokens": 1000,
                "completion_tokens": 2000,
                "finish_reason": "length",
                "attempts": 2,
                "length_retries": 1,
                "discarded_tokens": 2000,
                "queue_ms": 200.0,
                "latency_ms": 4000.0,
            },
            {
                **ROLLOUT,
                "rollout_id": 4,
                "finish_reason": None,
                "attempts": 6,
                "error": "503",
                "queue_ms": 0.0,
                "latency_ms": 0.0,
            },
        ],
    )


def test_requests_tokens_times_and_money_of_a_cell_s_rollouts(lake, cost):
    # At 1 $ in, 0.25 $ cached, 4 $ out per million:
    #   1: 1000 in, 500 out                            -> 1000 + 2000           =  3000
    #   2: 200 in, 800 cached, 500 out                 ->  200 +  200 + 2000    =  2400
    #   3: 1000 in, sent twice; 2000 + 2000 out        -> 2000 + 16000          = 18000
    #   4: failed                                      ->                            0
    #                                                     23400 millionths of a $ = 0.0234 $
    lake.prices(**DOLLARS)
    put_rollouts(lake)
    row = cost()["validation_rollouts", "small"]
    assert row.pop("cost") == pytest.approx(0.0234)
    assert row.pop("total_cost") == pytest.approx(0.0234)
    # p95 of 0, 500, 1500, 4000: position .95 * 3 = 2.85 between 1500 and 4000
    assert row.pop("p95_latency_ms") == pytest.approx(1500 + 0.85 * 2500)
    assert row == {
        "dataset": "toy",
        "model": "small",
        "mode": "mbt-r",
        "variant": TUNED,
        "n_requests": 4,
        "n_failed": 1,
        "n_truncated": 1,
        "n_uncounted": 0,
        "attempts": 1 + 1 + 2 + 6,
        "prompt_tokens": 3000,
        "cached_tokens": 800,
        "completion_tokens": 3000,
        "reasoning_tokens": 800,
        "n_reasks": 0,
        "discarded_tokens": 2000,
        "mean_queue_ms": 150.0,
        "mean_latency_ms": 1500.0,
        "queue_seconds": 0.6,
        "seconds": 6.0,
        "currency": "USD",
    }


def put_verdicts(lake):
    """Two rollouts judged by ann, one never asked about; bob judges the first."""
    asked = {"judge_prompt_tokens": 300, "judge_completion_tokens": 10, "judge_queue_ms": 5.0, "judge_latency_ms": 50.0}
    cut = {**VERDICT, **asked, "question_id": "q2", "judge_finish_reason": "length", "status": "unparseable"}
    never = {**VERDICT, "question_id": "q3", "attempts": 0, "status": "failed", "judge_finish_reason": None}
    lake.judged("judge_verdicts", [{**VERDICT, **asked}, cut, never], [{**VERDICT, **asked, "judge": "bob"}])


def test_each_judge_costs_what_it_was_asked(lake, cost):
    # ann: 2 requests of 300 in at 10 $ and 10 out at 20 $ per million: 2 * (3000 + 200) millionths = 0.0064 $
    lake.prices(**DOLLARS)
    put_verdicts(lake)
    ann = cost()["judge_verdicts", "ann"]
    assert (ann["n_requests"], ann["n_failed"], ann["n_truncated"], ann["attempts"]) == (2, 0, 1, 2)
    assert (ann["prompt_tokens"], ann["completion_tokens"]) == (600, 20)
    assert (ann["mean_queue_ms"], ann["mean_latency_ms"], ann["seconds"]) == (5.0, 50.0, 0.1)
    assert ann["cost"] == pytest.approx(0.0064)


def test_replies_that_did_not_parse_and_second_opinions_cost_too(lake, cost):
    # A verdict that was asked for twice: 2 * 300 in at 10 $, 10 + 40 out at 20 $ per million: 7000 millionths of a $.
    # The same question asked once more, as a retest: 3200.
    lake.prices(**DOLLARS)
    asked = {"judge_prompt_tokens": 300, "judge_completion_tokens": 10}
    lake.judged("judge_verdicts", [{**VERDICT, **asked, "attempts": 2, "reasks": 1, "judge_discarded_tokens": 40}])
    again = {**VERDICT, **asked, "score": "judge_verdicts", "kind": "retest"}
    lake.judged("judge_retests", [again])
    verdicts, retests = cost()["judge_verdicts", "ann"], cost()["judge_retests", "ann"]
    assert (verdicts["n_reasks"], verdicts["cost"]) == (1, pytest.approx(0.007))
    assert (retests["n_requests"], retests["cost"]) == (1, pytest.approx(0.0032))
    assert verdicts["total_cost"] == pytest.approx(0.0102)


def test_an_unknown_price_is_null_and_so_is_any_total_with_it(lake, cost):
    lake.prices(**DOLLARS, bob=(None, None, None, None))
    put_rollouts(lake)
    put_verdicts(lake)
    rows = cost()
    assert rows["judge_verdicts", "bob"]["n_requests"] == 1
    assert rows["judge_verdicts", "bob"]["cost"] is None
    assert rows["validation_rollouts", "small"]["cost"] == pytest.approx(0.0234)
    assert {row["total_cost"] for row in rows.values()} == {None}


def test_a_cell_s_total_is_that_of_its_tables(lake, cost):
    # 0.0234 $ of rollouts, and 0.0064 $ of ann; bob at 1 $ in, 0 $ out: 300 millionths = 0.0003 $
    lake.prices(**DOLLARS, bob=(1.0, 0.0, None, "USD"))
    put_rollouts(lake)
    put_verdicts(lake)
    assert {round(row["total_cost"], 9) for row in cost().values()} == {0.0301}
    lake.prices(**DOLLARS, bob=(1.0, 0.0, None, "EUR"))
    rows = cost()
    assert rows["judge_verdicts", "bob"]["currency"] == "EUR"
    assert {row["total_cost"] for row in rows.values()} == {None}, "dollars and euros make no sum"


def test_a_reply_whose_tokens_nobody_counted_makes_the_cost_unknown(lake, cost):
    lake.prices(**DOLLARS)
    counted = {"prompt_tokens": 10, "completion_tokens": 5}
    lake.put("validation_rollouts", [{**ROLLOUT, **counted}, {**ROLLOUT, "rollout_id": 2, "prompt_tokens": 10}])
    row = cost()["validation_rollouts", "small"]
    assert (row["n_uncounted"], row["prompt_tokens"], row["cost"]) == (1, 20, None)


def test_where_nothing_had_to_be_asked_the_cost_is_zero_at_a_known_price_alone(lake, cost):
    settled = {**VERDICT, "attempts": 0, "judge_finish_reason": None}
    lake.judged("rrp_scores", [settled, {**settled, "judge": "bob"}])
    lake.prices(**DOLLARS)
    rows = cost()
    assert (rows["rrp_scores", "ann"]["n_requests"], rows["rrp_scores", "ann"]["cost"]) == (0, 0.0)
    assert rows["rrp_scores", "bob"]["cost"] is None


def test_the_teacher_s_work_stands_under_the_teacher(lake, cost):
    # 1000 in at 2 $, 100 out at 3 $ per million: 2300 millionths = 0.0023 $ each
    lake.prices(**DOLLARS)
    row = {**ROLLOUT, "prompt_tokens": 1000, "completion_tokens": 100, "latency_ms": 250.0}
    for table in ("gold_solutions", "synthesized_traces", "rewritten_traces"):
        lake.put(table, [row])
    rows = cost()
    assert {generator for _, generator in rows} == {"big"}
    assert [round(found["cost"], 9) for found in rows.values()] == [0.0023] * 3
    gold = rows["gold_solutions", "big"]
    assert (gold["variant"], gold["mode"], gold["seconds"], gold["total_cost"]) == ("big__base", "base", 0.25, 0.0023)
    # The traces are both of the variant that they were put under here.
    assert rows["rewritten_traces", "big"]["total_cost"] == pytest.approx(0.0046)


def test_rows_that_were_made_elsewhere_have_no_cost_where_their_tokens_are_not_known(lake, cost):
    lake.prices(**DOLLARS)
    lake.put("validation_rollouts", [{**ROLLOUT, "attempts": 0, "prompt_tokens": None, "completion_tokens": None}])
    row = cost()["validation_rollouts", "small"]
    assert (row["n_requests"], row["n_uncounted"], row["cost"], row["total_cost"]) == (0, 1, None, None)
