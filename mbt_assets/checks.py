"""Checks on generated and judged rows: do they hold up, or would going on waste GPU time?"""

from __future__ import annotations

from typing import Any

import polars as pl

from mbt_assets.stage import CheckOutcome, FrameCheck, Stage


def _share(frame: pl.DataFrame, condition: pl.Expr) -> tuple[int, float]:
    count = int(frame.select(condition.fill_null(False).sum()).item()) if frame.height else 0
    return count, count / frame.height if frame.height else 0.0


def _outcome(name: str, count: int, share: float, limit: float, example: Any = None) -> CheckOutcome:
    metadata: dict[str, Any] = {name: count, "share": share, "limit": limit}
    if example:
        metadata["example"] = str(example)[:300]
    return CheckOutcome(share <= limit, metadata, f"{count} rows ({share:.1%}); the study allows {limit:.1%}")


def _failed_requests(frame: pl.DataFrame, stage: Stage) -> CheckOutcome:
    count, share = _share(frame, pl.col("error").is_not_null())
    example = frame["error"].drop_nulls().first() if count else None
    return _outcome("failed", count, share, stage.study.limits.max_failure_rate, example)


def _unusable_traces(frame: pl.DataFrame, stage: Stage) -> CheckOutcome:
    column = "solution" if "solution" in frame.columns else "trace"
    count, share = _share(frame, pl.col(column).is_null() | (pl.col("finish_reason") == "length"))
    return _outcome("unusable", count, share, stage.study.limits.max_truncated_rate)


def _truncated(frame: pl.DataFrame, stage: Stage) -> CheckOutcome:
    count, share = _share(frame, (pl.col("finish_reason") == "length") | (pl.col("reasoning") == ""))
    return _outcome("truncated_or_empty", count, share, stage.study.limits.max_truncated_rate)


def _parse_failures(frame: pl.DataFrame, stage: Stage) -> CheckOutcome:
    count, share = _share(frame, pl.col("status") == "unparseable")
    example = frame.filter(pl.col("status") == "unparseable")["failure"].first() if count else None
    return _outcome("unparseable", count, share, stage.study.limits.max_parse_failure_rate, example)


def _failed_judgments(frame: pl.DataFrame, stage: Stage) -> CheckOutcome:
    # A rollout that failed has had its own check, or was imported so: no judge was asked about it.
    failed = (pl.col("status") == "failed") & pl.col("failure").ne_missing("rollout_failed")
    count, share = _share(frame, failed)
    example = frame.filter(failed)["failure"].first() if count else None
    return _outcome("failed", count, share, stage.study.limits.max_failure_rate, example)


def _not_empty(frame: pl.DataFrame, stage: Stage) -> CheckOutcome:
    return CheckOutcome(frame.height > 0, {"rows": frame.height}, "" if frame.height else "no row is left to train on")


NOT_EMPTY = FrameCheck("not_empty", "There is at least one row.", _not_empty)
FAILED_REQUESTS = FrameCheck(
    "failed_requests", "Share of requests that failed for good, against limits.max_failure_rate.", _failed_requests
)
UNUSABLE_TRACES = FrameCheck(
    "truncated_or_empty_traces",
    "Share of replies that were cut off or hold no trace, against limits.max_truncated_rate.",
    _unusable_traces,
)
TRUNCATED_ROLLOUTS = FrameCheck(
    "truncated_or_empty_rollouts",
    "Share of rollouts that were cut off or came without reasoning, against limits.max_truncated_rate.",
    _truncated,
    blocking=False,
)
PARSE_FAILURES = FrameCheck(
    "parse_failures",
    "Share of judge replies that could not be parsed, against limits.max_parse_failure_rate; it warns, or stops what "
    "is made from them where limits.parse_failures_block says so.",
    _parse_failures,
    blocking=lambda study: study.limits.parse_failures_block,
)
FAILED_JUDGMENTS = FrameCheck(
    "failed_judgments", "Share of judgments that failed, against limits.max_failure_rate.", _failed_judgments
)
