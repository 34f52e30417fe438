"""What else was answered to a question: further rollouts of the variant, and those of the other variants."""

from __future__ import annotations

from typing import Any

from mbt_assets.explore.links import outdated
from mbt_assets.explore.source import Asked

COLUMNS = "variant, rollout_id, exact_match, f1, completion_tokens, predicted_answer, degenerate, failed"


def answers_to(asked: Asked, dataset: str, question_id: str) -> list[dict[str, Any]]:
    """The scored rollouts of a question, in the order of the study's variants.

    Cells whose scores were made of other rollouts than those that are there now are left out.
    """
    source = asked.source
    parts = []
    for variant in source.grid.variants:
        partition = asked.partition_if_stored("answer_scores", dataset, variant)
        if partition and not outdated(source, ("answer_scores",), dataset, variant):
            parts.append(f"SELECT {COLUMNS} FROM {partition} WHERE question_id = $1")
    if not parts:
        return []
    rows = asked.rows(" UNION ALL ".join(parts), [question_id], ("answer_scores",)).to_dicts()
    place = {variant: number for number, variant in enumerate(source.grid.variants)}
    return sorted(rows, key=lambda row: (place[row["variant"]], row["rollout_id"]))
