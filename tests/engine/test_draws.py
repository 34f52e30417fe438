"""Further draws: a response that the token limit ended is asked for again with another seed, up to a limit."""

from __future__ import annotations

import pytest
from aiohttp import web

from resources.engine import EngineError, EngineOptions


def wordy(seeds_that_stop: int):
    """A server whose answer fits into the limit for one seed in so many, and for the study's own never."""
    drawn: dict[str, list[int]] = {}

    async def fault(request: web.Request, body: dict, attempt: int) -> web.Response:
        seeds = drawn.setdefault(body["messages"][-1]["content"], [])
        seeds.append(body["seed"])
        stops = body["seed"] != 1 and body["seed"] % seeds_that_stop == 0
        return web.json_response(
            {
                "choices": [
                    {"message": {"content": f"seed {body['seed']}"}, "finish_reason": "stop" if stops else "length"}
                ],
                "usage": {"prompt_tokens": 2, "completion_tokens": 3 if stops else 10},
            }
        )

    return fault, drawn


def test_another_seed_is_tried_until_the_response_fits(kit, serve, tmp_path):
    fault, drawn = wordy(2)
    summary = kit.run(serve(fault), kit.ask(50, max_tokens=10), tmp_path, length_retries=30)
    assert (summary.ok, summary.truncated) == (50, 0)
    rows = kit.rows_of(tmp_path)
    for number in range(50):
        row, seeds = rows[f"r{number}"], drawn[f"question {number}"]
        assert seeds[0] == 1
        assert len(set(seeds)) == len(seeds)
        assert row["response"] == f"seed {seeds[-1]}"
        assert (row["length_retries"], row["attempts"]) == (len(seeds) - 1, len(seeds))
        assert row["discarded_tokens"] == 10 * (len(seeds) - 1)
        assert row["completion_tokens"] == 3


def test_the_draws_are_bounded_and_the_last_one_stays(kit, serve, tmp_path):
    fault, drawn = wordy(1 << 40)
    summary = kit.run(serve(fault), kit.ask(5, max_tokens=10), tmp_path, length_retries=2)
    assert (summary.ok, summary.truncated) == (5, 5)
    row = kit.rows_of(tmp_path)["r0"]
    assert (row["attempts"], row["length_retries"], row["finish_reason"]) == (3, 2, "length")
    assert row["response"] == f"seed {drawn['question 0'][2]}"


def test_the_same_draws_come_again(kit, serve, tmp_path):
    """A rerun elsewhere draws the same seeds, so it ends with the same rows."""
    seeds = []
    for name in ("one", "two"):
        fault, drawn = wordy(3)
        kit.run(serve(fault), kit.ask(20, max_tokens=10), tmp_path / name, length_retries=9)
        seeds.append(drawn)
    assert seeds[0] == seeds[1]


def test_more_draws_than_before_are_for_the_truncated_rows_alone(kit, serve, tmp_path):
    fault, _ = wordy(2)
    server = serve(fault)
    first = kit.run(server, kit.ask(40, max_tokens=10), tmp_path, length_retries=1)
    assert 0 < first.truncated < 40
    again = kit.run(server, kit.ask(40, max_tokens=10), tmp_path, length_retries=1)
    assert (again.sent, again.reused) == (0, 40)
    more = kit.run(server, kit.ask(40, max_tokens=10), tmp_path, length_retries=20)
    assert (more.sent, more.truncated) == (first.truncated, 0)
    fewer = kit.run(server, kit.ask(40, max_tokens=10), tmp_path, length_retries=0)
    assert fewer.sent == 40  # none of them was a first draw
    assert fewer.truncated == 40


def test_a_draw_that_fails_leaves_the_truncated_response(kit, serve, tmp_path):
    async def fault(request: web.Request, body: dict, attempt: int) -> web.Response | None:
        return None if body["seed"] == 1 else web.json_response({"error": {"message": "no"}}, status=400)

    summary = kit.run(serve(fault), kit.ask(3, max_tokens=4), tmp_path, length_retries=3)
    assert (summary.ok, summary.truncated, summary.failed) == (3, 3, 0)


def test_a_count_that_makes_no_sense_is_refused():
    with pytest.raises(EngineError, match="length_retries is -1"):
        EngineOptions(length_retries=-1)
