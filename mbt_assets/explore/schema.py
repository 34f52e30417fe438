"""What SQL can ask for: every table and view of the warehouse with its columns, and some questions to begin with."""

from __future__ import annotations

from dataclasses import dataclass

import sql
from mbt_assets.explore.source import Asked
from partitions.grid import MARTS
from resources.provenance import VIEW as PROVENANCE
from resources.study_frames import STUDY_TABLES

COLUMNS = """
SELECT columns.table_name, columns.column_name, columns.data_type, columns.comment, described.comment AS about
FROM duckdb_columns() AS columns
LEFT JOIN (
    SELECT table_name, comment FROM duckdb_tables() WHERE NOT internal
    UNION ALL
    SELECT view_name, comment FROM duckdb_views() WHERE NOT internal
) AS described USING (table_name)
WHERE NOT columns.internal
ORDER BY columns.table_name, columns.column_index
"""
GROUPS = ("Figures", "Rows joined", "Tables of the lake", "The study")

EXAMPLES = {
    "Accuracy and tokens of each cell": """
SELECT dataset, variant, exact_match, exact_match_lo, exact_match_hi, mean_tokens
FROM main_results
ORDER BY dataset, exact_match DESC
""",
    "What each variant gains over its base": """
SELECT dataset, variant, metric, difference, difference_lo, difference_hi, mcnemar_p
FROM significance
WHERE metric = 'exact_match'
ORDER BY difference DESC
""",
    "Questions that a variant answers right and its base wrong": """
SELECT after.dataset, after.variant, after.question_id, after.rollout_id, after.question, after.answer,
    before.predicted_answer AS base_answer, after.completion_tokens - before.completion_tokens AS more_tokens
FROM lineage AS after
INNER JOIN variants USING (variant)
INNER JOIN lineage AS before
    ON before.dataset = after.dataset AND before.variant = variants.base_variant
    AND before.question_id = after.question_id AND before.rollout_id = after.rollout_id
WHERE after.exact_match = 1 AND before.exact_match = 0
ORDER BY more_tokens
""",
    "Right answers whose reasoning never derives them": """
SELECT dataset, variant, question_id, rollout_id, question, predicted_answer, arrival, completion_tokens
FROM lineage
WHERE exact_match = 1 AND answer_hit = 0
ORDER BY completion_tokens DESC
""",
    "Judge replies that could not be read": """
SELECT dataset, variant, question_id, rollout_id, judge, failure, reply
FROM judge_verdicts
WHERE status = 'unparseable'
ORDER BY ALL
""",
    "Tokens by difficulty tier": """
SELECT variant, tier, completion_tokens
FROM lineage
WHERE completion_tokens IS NOT NULL
""",
    "What rows a variant was trained on": """
SELECT dataset, trained_variant AS variant, question_id, rollout_id, trace_id, question, source_table
FROM training_lineage
ORDER BY ALL
""",
    "Parents that have changed since": """
SELECT table_name, partition, parent_table, parent_partition, version_used, version_stored
FROM partition_lineage
WHERE NOT is_current
""",
}


@dataclass(frozen=True)
class Table:
    """A table or view of the warehouse.

    Attributes:
        name: as SQL calls it.
        about: what it holds.
        columns: name, type and description of each.
    """

    name: str
    about: str
    columns: list[tuple[str, str, str]]


def tables_of(asked: Asked) -> dict[str, list[Table]]:
    """The tables of the warehouse by group.

    Raises:
        resources.warehouse.QueryError: the catalogue cannot be read.
    """
    found: dict[str, Table] = {}
    for name, column, dtype, comment, about in asked.rows(COLUMNS, tables=()).iter_rows():
        found.setdefault(name, Table(name, about or "", [])).columns.append((column, dtype, comment or ""))
    groups: dict[str, list[Table]] = {name: [] for name in GROUPS}
    for table in found.values():
        groups[_group(table.name)].append(table)
    return groups


def _group(name: str) -> str:
    if name in MARTS or name in sql.CELLS:
        return GROUPS[0]
    if name in sql.VIEWS:
        return GROUPS[1]
    return GROUPS[3] if name in STUDY_TABLES or name == PROVENANCE else GROUPS[2]
