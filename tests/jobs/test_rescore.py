from jobs.rescore import CellState, History, decide


def cell(key, checkpoint="new", scored="old", version="v1", scored_version="v1"):
    return CellState(key, checkpoint, scored, version, scored_version)


def keys(requests):
    return [request.key for request in requests]


def test_a_cell_scored_from_other_weights_is_requested_once_per_digest_version_and_attempt():
    (request,), given_up = decide([cell("d|v")], {}, max_attempts=3, max_requests=9)
    assert request.run_key == "d|v:new:v1:1"
    assert given_up == []


def test_a_cell_scored_by_another_version_is_requested():
    requests, _ = decide([cell("d|v", scored="new", version="v2")], {}, max_attempts=3, max_requests=9)
    assert keys(requests) == ["d|v"]


def test_what_is_current_never_scored_or_has_no_checkpoint_is_left_alone():
    cells = [cell("a", scored="new"), cell("b", scored=None, scored_version=None), cell("c", checkpoint=None)]
    assert decide(cells, {}, max_attempts=3, max_requests=9) == ([], [])


def test_a_request_under_way_is_not_repeated():
    state = cell("d|v")
    assert decide([state], {state.target: History(1, running=True)}, max_attempts=3, max_requests=9) == ([], [])


def test_a_failed_attempt_is_followed_by_the_next_up_to_the_limit():
    state = cell("d|v")
    (request,), _ = decide([state], {state.target: History(2)}, max_attempts=3, max_requests=9)
    assert (request.attempt, request.run_key) == (3, "d|v:new:v1:3")
    assert decide([state], {state.target: History(3)}, max_attempts=3, max_requests=9) == ([], ["d|v"])


def test_another_digest_starts_the_count_anew():
    old, new = cell("d|v", checkpoint="b"), cell("d|v", checkpoint="c")
    history = {old.target: History(3)}
    assert keys(decide([new], history, max_attempts=3, max_requests=9)[0]) == ["d|v"]


def test_a_tick_asks_for_a_bounded_number_and_the_next_goes_on():
    cells = [cell(f"d|v{i}") for i in range(5)]
    first, _ = decide(cells, {}, max_attempts=3, max_requests=2)
    assert keys(first) == ["d|v0", "d|v1"]
    history = {cells[0].target: History(1, running=True), cells[1].target: History(1, running=True)}
    second, _ = decide(cells, history, max_attempts=3, max_requests=2)
    assert keys(second) == ["d|v2", "d|v3"]
