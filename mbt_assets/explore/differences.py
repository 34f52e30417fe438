"""Two variants on the questions that both have answered: how their answers differ, and where most."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mbt_assets.explore.links import outdated
from mbt_assets.explore.rollout import page_of, questions_in
from mbt_assets.explore.source import Asked
from mbt_assets.explore.view import number_of

PER_PAGE = 50
RIGHT_FROM = 0.5
"""Mean exact match of a question's rollouts from which the fourfold table counts the variant as right on it."""
SHORTER, LONGER = 0.5, 2.0
"""Ratios of mean tokens that count as much shorter and as much longer."""
SHOWN = {
    "all": ("all", "true"),
    "gained": ("gained: b is right more often than a", "em_b > em_a"),
    "lost": ("lost: b is right less often than a", "em_b < em_a"),
    "shorter": (f"much shorter: tokens of b at most {SHORTER:g} of a", f"ratio <= {SHORTER}"),
    "longer": (f"much longer: tokens of b at least {LONGER:g} of a", f"ratio >= {LONGER}"),
    "judge": ("the judge differs", "judge_a <> judge_b"),
}
"""What the list can be cut to: a name for people, and the condition."""
TIERS = ("easy", "medium", "hard")
DIFFER = "differ"
SORTS = {
    DIFFER: "abs(em_b - em_a) DESC, abs(ln(nullif(ratio, 0))) DESC NULLS LAST",
    **{name: name for name in ("sample_id", "em_a", "em_b", "f1_a", "f1_b", "judge_a", "judge_b")},
    **{name: name for name in ("tokens_a", "tokens_b", "ratio")},
}
KNOWN: dict[str, Collection[str]] = {"show": SHOWN, "sort": SORTS, "order": ("asc", "desc"), "tier": TIERS}
"""What an address can choose, by the name in its query."""
TABLES = ("answer_scores", "judge_verdicts", "validation_questions")


@dataclass(frozen=True)
class Choice:
    """What is compared, and which questions are listed how.

    Attributes:
        dataset: both variants answered it.
        a: the first variant, that the other is compared with.
        b: the second variant.
        show: key of `SHOWN`.
        sort: key of `SORTS`.
        descending: the greatest first; for `differ` always so.
        find: text in the question or its id.
        tier: difficulty; empty for all.
        page: from 1.
    """

    dataset: str
    a: str
    b: str
    show: str = "all"
    sort: str = DIFFER
    descending: bool = True
    find: str = ""
    tier: str = ""
    page: int = 1

    @property
    def query(self) -> dict[str, Any]:
        """The part of an address that leads to the same list; defaults are left out."""
        kept = {"dataset": self.dataset, "a": self.a, "b": self.b, "find": self.find, "tier": self.tier}
        kept |= {"show": self.show if self.show != "all" else "", "sort": self.sort if self.sort != DIFFER else ""}
        return {name: value for name, value in kept.items() if value} | ({} if self.descending else {"order": "asc"})

    def sorted_by(self, column: str) -> dict[str, Any]:
        """The address's part for the same list in another order; in the other direction where it is in this one."""
        turned = column == self.sort and self.descending
        rest = {name: value for name, value in self.query.items() if name not in ("sort", "order")}
        return rest | {"sort": column if column != DIFFER else ""} | ({"order": "asc"} if turned else {})


def choice_of(query: Mapping[str, str], dataset: str, a: str, b: str) -> Choice:
    """What an address asks for; what it asks wrongly is as if it did not ask (see `KNOWN`)."""
    return Choice(
        dataset,
        a,
        b,
        query["show"] if query.get("show") in SHOWN else "all",
        query["sort"] if query.get("sort") in SORTS else DIFFER,
        query.get("order") != "asc",
        query.get("find", "").replace("\x00", ""),
        query["tier"] if query.get("tier") in TIERS else "",
        max(1, number_of(query, "page", 1)),
    )


def summary_of(asked: Asked, choice: Choice) -> dict[str, Any]:
    """Counts of questions by which of the two is right on them, and means of both over the questions they share.

    With several rollouts of a question, `right_a` and `right_b` are of at least half of them; the lists that `show_…`
    count compare the shares of right rollouts, so that 2 of 2 after 1 of 2 is gained.
    """
    sql = f"""{_pairs(asked, choice)}
    SELECT
        count(*) AS n, max(greatest(n_a, n_b)) AS most,
        count_if(right_a AND right_b) AS both_right,
        count_if(right_b AND NOT right_a) AS right_b_alone,
        count_if(right_a AND NOT right_b) AS right_a_alone,
        count_if(NOT right_a AND NOT right_b) AS both_wrong,
        avg(em_a) AS em_a, avg(em_b) AS em_b, avg(f1_a) AS f1_a, avg(f1_b) AS f1_b,
        avg(judge_a) AS judge_a, avg(judge_b) AS judge_b,
        avg(tokens_a) AS tokens_a, avg(tokens_b) AS tokens_b, avg(tokens_b) / nullif(avg(tokens_a), 0) AS ratio,
        {", ".join(f"count_if({condition}) AS show_{name}" for name, (_, condition) in SHOWN.items())},
        (SELECT count(*) FROM a ANTI JOIN b USING (question_id)) AS only_a,
        (SELECT count(*) FROM b ANTI JOIN a USING (question_id)) AS only_b
    FROM pairs"""
    return asked.row(sql, [asked.source.study.judges[0]], TABLES) or {}


def questions_of(asked: Asked, choice: Choice) -> tuple[list[dict[str, Any]], int]:
    """One page of the list, the last where there are fewer, and how many questions are on all of its pages."""
    sql = f"{_chosen(asked, choice)} {page_of('chosen', choice.page, PER_PAGE)}"
    rows = asked.rows(sql, _parameters(asked, choice), TABLES).to_dicts()
    return rows, rows[0]["listed"] if rows else 0


def around(asked: Asked, choice: Choice, question_id: str) -> dict[str, Any]:
    """Where a question stands in the list: `place`, `listed`, the ids `before` and `after`; empty where it does not."""
    sql = f"""{_chosen(asked, choice)}
    SELECT * FROM (
        SELECT question_id, place, count(*) OVER () AS listed,
            lag(question_id) OVER (ORDER BY place) AS before, lead(question_id) OVER (ORDER BY place) AS after
        FROM chosen
    ) WHERE question_id = $5"""
    return asked.row(sql, [*_parameters(asked, choice), question_id], TABLES) or {}


def stale_sides(asked: Asked, choice: Choice) -> list[str]:
    """Those of the two whose scores were made of other rollouts than those that are there now."""
    source = asked.source
    return [v for v in (choice.a, choice.b) if outdated(source, ("answer_scores",), choice.dataset, v)]


def _parameters(asked: Asked, choice: Choice) -> list[Any]:
    return [asked.source.study.judges[0], choice.find, choice.tier, choice.find.lower()]


def _chosen(asked: Asked, choice: Choice) -> str:
    order = SORTS[choice.sort]
    if choice.sort != DIFFER:
        order = f"{order} {'DESC' if choice.descending else 'ASC'} NULLS LAST"
    return f"""{_pairs(asked, choice)},
    chosen AS (
        SELECT *, row_number() OVER (ORDER BY {order}, sample_id, question_id) AS place
        FROM pairs
        WHERE ({SHOWN[choice.show][1]})
            AND ($2 = '' OR question_id = $2 OR contains(lower(question), $4)) AND ($3 = '' OR tier = $3)
    )"""


def _pairs(asked: Asked, choice: Choice) -> str:
    questions = questions_in(asked, "validation_questions", choice.dataset)
    return f"""
    WITH a AS ({_side(asked, choice.dataset, choice.a)}),
    b AS ({_side(asked, choice.dataset, choice.b)}),
    pairs AS (
        SELECT
            question_id, q.question, q.tier, q.sample_id,
            a.em AS em_a, b.em AS em_b, a.em >= {RIGHT_FROM} AS right_a, b.em >= {RIGHT_FROM} AS right_b,
            a.f1 AS f1_a, b.f1 AS f1_b, a.judge AS judge_a, b.judge AS judge_b, a.n AS n_a, b.n AS n_b,
            a.tokens AS tokens_a, b.tokens AS tokens_b, b.tokens / nullif(a.tokens, 0) AS ratio
        FROM a INNER JOIN b USING (question_id)
        LEFT JOIN {questions} AS q USING (question_id)
    )"""


def _side(asked: Asked, dataset: str, variant: str) -> str:
    """One variant's questions with the means of their rollouts."""
    scores = asked.partition("answer_scores", dataset, variant)
    verdicts = asked.partition_if_stored("judge_verdicts", dataset, variant)
    if verdicts is None or outdated(asked.source, ("judge_verdicts",), dataset, variant):
        judged = "SELECT NULL::VARCHAR AS question_id, NULL::DOUBLE AS judge WHERE $1::VARCHAR IS NULL"
    else:
        judged = (
            f"SELECT question_id, avg(judge_correct) AS judge FROM {verdicts} WHERE judge = $1 GROUP BY question_id"
        )
    return f"""
        SELECT * FROM (
            SELECT question_id, count(*) AS n, avg(exact_match) AS em, avg(f1) AS f1, avg(completion_tokens) AS tokens
            FROM {scores} GROUP BY question_id
        ) LEFT JOIN ({judged}) USING (question_id)"""
