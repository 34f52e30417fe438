"""Which rollouts a filter leaves, in which order: what the Cell page lists and the Trace page walks through."""

import pytest
from explored_rows import BASE, MBT_R, MBT_S, question_id

from mbt_assets.explore import NotFound
from mbt_assets.explore.rollouts import CHOICES, SORTS, Wanted, choose
from mbt_assets.explore.source import Source


@pytest.fixture(scope="module")
def source(study_home):
    return Source(study_home.platform)


def chosen(source, variant=BASE, dataset="trails", **query):
    return choose(source.cells, dataset, variant, query)


def keys(rollouts):
    return rollouts.rows(0, rollouts.count).select("question_id", "rollout_id").rows()


def numbers(rollouts):
    """The questions' numbers, each once."""
    place = {question_id(number): number for number in range(1, 21)}
    return sorted({place[name] for name, _ in keys(rollouts)})


def test_without_a_filter_all_rollouts_stand_in_the_order_of_the_questions(source):
    everything = chosen(source)
    assert everything.count == everything.total == 40
    assert keys(everything) == [(question_id(number), draw) for number in range(1, 21) for draw in (1, 2)]


def test_right_and_wrong_answers(source):
    assert numbers(chosen(source, answer="right")) == list(range(2, 21, 2))
    assert chosen(source, answer="wrong").count + chosen(source, answer="right").count == 40


def test_what_the_judge_said_and_where_it_says_otherwise_than_exact_match(source):
    assert numbers(chosen(source, judged="A")) == list(range(2, 21, 2))
    assert chosen(source, judged="differs").count == 0
    assert numbers(chosen(source, unscored="verdict-unparseable")) == [15]
    assert keys(chosen(source, unscored="rrp-failed")) == [("q09", 2)]


def test_responses_by_what_is_wrong_with_them(source):
    of_kind = {kind: keys(chosen(source, kind=kind)) for kind in CHOICES["kind"] if kind != "sound"}
    assert of_kind == {
        "failed": [("q09", 2)],
        # The line of 1 MB says the same word over and over.
        "degenerate": [("q07", 1), ("q07", 2), ("q11", 2)],
        "truncated": [("q11", 2)],
        "looping": [("q07", 1), ("q07", 2), ("q11", 2)],
        "empty_reasoning": [("q13", 2)],
        "no_answer": [("q11", 2)],
    }
    assert chosen(source, kind="sound").count == 36


def test_tier_type_and_phases(source):
    assert numbers(chosen(source, tier="easy")) == [3, 6, 9, 12, 15, 18]
    assert numbers(chosen(source, type="comparison")) == list(range(2, 21, 2))
    assert chosen(source).question_types == ["bridge", "comparison"]
    assert chosen(source, MBT_R, phase="-4").count == chosen(source, MBT_R, phase="5").count == 40
    assert chosen(source, MBT_R, phase="4").count == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MILESTONE 7?", [7]),  # in the question, in whatever case
        ("castle 20", [20]),  # in answer and reasoning
        ("e mill", []),  # nowhere; a pattern would find more
        (".*", []),
        ("100%", []),
        ("_500", [9]),
        ("h__p", []),
        ("server broke", [9]),  # in the error
        ("same words here", [11]),  # in the reasoning
        ("\u6f22\u5b57", [1, *range(4, 21)]),
        ("'; DROP TABLE cell_0; --", []),
    ],
)
def test_a_search_finds_the_very_words(source, text, found):
    assert numbers(chosen(source, find=text)) == found


def test_filters_are_joined(source):
    both = chosen(source, answer="right", tier="easy", find="castle")
    assert numbers(both) == [6, 12, 18]


def sorted_by(name, row):
    """What a rollout is sorted by: what its column shows."""
    if name == "verdict":
        return row["verdict"] or row["verdict_status"]
    if name == "phases":
        return None if row["phases"] is None else len(row["phases"])
    if name == "flags":
        flags = [row[flag] for flag in ("failed", "truncated", "looping", "empty_reasoning")]
        return None if None in flags else tuple(flags)
    return row[name]


def test_every_column_sorts_both_ways_and_what_has_no_value_comes_last(source):
    for name in SORTS:
        for sort, turned in ((name, False), (f"-{name}", True)):
            found = [sorted_by(name, row) for row in chosen(source, sort=sort).rows(0, 40).rows(named=True)]
            there = [value for value in found if value is not None]
            assert len(found) == 40 and there
            assert found == [*sorted(there, reverse=turned), *[None] * (40 - len(there))], sort
    tokens = chosen(source, sort="-tokens").rows(0, 40)["tokens"].to_list()
    assert tokens == [*sorted((value for value in tokens if value is not None), reverse=True), None]
    assert chosen(source, sort="tokens").rows(39, 1)["tokens"].to_list() == [None]


def test_neighbours_follow_the_filter_and_the_order(source):
    right = chosen(source, answer="right", sort="-tokens")
    first, second, third = keys(right)[:3]
    assert right.neighbours(*second) == (first, third)
    assert right.neighbours(*first)[0] is None
    assert right.neighbours(*keys(right)[-1])[1] is None
    assert right.place(*third) == 2


def test_what_the_filter_leaves_out_has_no_place_and_no_neighbours(source):
    right = chosen(source, answer="right")
    assert right.place("q01", 1) is None
    assert right.neighbours("q01", 1) == (None, None)
    assert right.place("no such question", 1) is None


def test_the_query_of_a_list_chooses_it_again_and_unknown_words_are_left_aside(source):
    wanted = Wanted.of({"answer": "right", "tier": "immense", "sort": "-f1", "find": "a&b", "row": "7", "x": "y"})
    assert wanted.query == {"answer": "right", "sort": "-f1", "find": "a&b"}
    assert Wanted.of(wanted.query) == wanted
    assert Wanted.of({"sort": "no such column"}) == Wanted()
    assert Wanted.of({"sort": "-"}) == Wanted()


def test_scores_of_other_rollouts_are_left_out(source):
    stale = chosen(source, MBT_S)
    assert stale.count == 40
    assert set(stale.cell.outdated) == {"answer_scores", "judge_verdicts", "answer_hits", "rrp_scores", "mqi_scores"}
    assert stale.rows(0, 40)["exact_match"].null_count() == 40
    assert chosen(source, MBT_S, answer="right").count == 0


def test_a_cell_without_rollouts_is_told(source):
    with pytest.raises(NotFound, match=r"no rollouts of wide\|tiny__mbt-s yet: materialize"):
        chosen(source, MBT_S, "wide")


def test_rows_that_were_written_anew_are_seen(own_home, monkeypatch):
    monkeypatch.setattr("mbt_assets.explore.cells.LOOK_EVERY_S", 0.0)
    source = Source(own_home.platform)
    before = chosen(source)
    assert chosen(source, answer="right").count == 20
    own_home.outdate("trails", BASE)
    after = chosen(source)
    assert after.cell.outdated
    assert chosen(source, answer="right").count == 0
    assert after.cell.version != before.cell.version
    # A list that a request still holds can be read to its end.
    assert before.rows(0, 40)["exact_match"].null_count() == 0


def test_the_tables_of_cells_that_are_not_looked_at_any_more_are_dropped(source, monkeypatch):
    monkeypatch.setattr("mbt_assets.explore.cells.MOST_CELLS", 1)
    for variant in (BASE, MBT_R, BASE):
        assert chosen(source, variant).count == 40
    with source.cells.asking() as connection:
        held = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'cell_%'").fetchone()
    assert held == (1,)
