"""Asking a model for many rows: requests out, response columns back, joined by key.

Every asset of generated rows goes through here, and through here alone to the generation engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from mbt_assets import prompts
from mbt_assets.stage import Stage
from partitions.study import Sampling
from resources import engine

PROGRESS_SECONDS = 10.0
KEY_TYPES: dict[str, Any] = {"question_id": pl.String(), "rollout_id": pl.Int64(), "trace_id": pl.Int64()}
RESPONSE_COLUMNS = (
    "response",
    "reasoning",
    "content",
    "finish_reason",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "error",
    "attempts",
    "length_retries",
    "discarded_tokens",
    "queue_ms",
    "latency_ms",
    "request_digest",
)


class JoinError(RuntimeError):
    """Rows that should meet one to one do not."""


@dataclass(frozen=True)
class Ask:
    """One row to generate.

    Attributes:
        keys: the row's key columns.
        fields: what the prompt template is filled with.
        seed_offset: added to the study's seed; the rollout's or trace's number.
        extra: further fields of the request's body.
    """

    keys: dict[str, Any]
    fields: dict[str, Any]
    seed_offset: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


def ask_model(
    stage: Stage,
    endpoints: Sequence[engine.Endpoint],
    template: str,
    asks: Iterable[Ask],
    sampling: Sampling,
    key_columns: tuple[str, ...],
    part: str = "",
    expected: int | None = None,
) -> pl.DataFrame:
    """Send one request per row and wait for all of them.

    Args:
        stage: the partition that the rows are for; its journal keeps replies until they are in the lake and after.
        endpoints: who answers: one, or several of the same model.
        template: the prompt template.
        asks: the rows, each with unique keys.
        sampling: decoding settings.
        key_columns: names of the keys, in their order; there may be no row to tell them by.
        part: tells apart several journals of one partition.
        expected: how many asks there will be, where it is known; only for the time left.

    Returns:
        One row per ask, in their order: key columns, response columns and `prompt_digest`.
    """
    keys: list[dict[str, Any]] = []
    folder = _journal(stage, part)
    settings = {name: value for name, value in sampling.model_dump(exclude_none=True).items() if name != "extra"}
    settings |= sampling.extra

    def requests() -> Iterator[engine.Request]:
        for ask in asks:
            keys.append(ask.keys)
            seed = stage.study.seed + ask.seed_offset
            messages = prompts.render(template, **ask.fields)
            yield engine.Request(_request_id(ask.keys), messages, {**settings, "seed": seed, **ask.extra})

    limits = stage.study.limits
    options = engine.EngineOptions(
        concurrency=limits.concurrency,
        max_attempts=limits.max_attempts,
        timeout=limits.request_timeout_s,
        progress_seconds=PROGRESS_SECONDS,
        expected=expected,
        force=stage.force,
        length_retries=limits.length_retries,
    )
    summary = engine.generate(requests(), endpoints, folder, options, progress=_progress_log(stage))
    stage.context.log.info(
        "%s: %d rows, %d reused, %d sent, %d failed",
        stage.node,
        summary.total,
        summary.reused,
        summary.sent,
        summary.failed,
    )
    _note_requests(stage, summary)
    wanted = pl.DataFrame(keys, schema={name: KEY_TYPES[name] for name in key_columns})
    return _joined(stage, wanted, engine.responses(folder).collect(), prompts.digest(template))


def forget_replies(stage: Stage) -> None:
    """Throw away what the engine keeps of a partition, where the replies may be of another model than they say."""
    engine.forget(_journal(stage))


def _journal(stage: Stage, part: str = "") -> str:
    return "/".join(filter(None, (stage.home.engine, stage.node.asset, _safe(stage.node.key), part)))


def _joined(stage: Stage, wanted: pl.DataFrame, replies: pl.DataFrame, prompt_digest: str) -> pl.DataFrame:
    ids = [_request_id(key) for key in wanted.iter_rows(named=True)]
    if len(set(ids)) != len(ids) or replies["request_id"].n_unique() != replies.height:
        raise JoinError(f"{stage.node}: two rows share a key; they cannot be joined")
    wanted = wanted.with_columns(request_id=pl.Series(ids, dtype=pl.String))
    rows = wanted.join(
        replies.select("request_id", *RESPONSE_COLUMNS), on="request_id", how="left", maintain_order="left"
    )
    absent = rows.filter(pl.col("request_digest").is_null())
    if absent.height:
        raise JoinError(f"{stage.node}: {absent.height} requests have no row, first {absent['request_id'][0]}")
    return rows.drop("request_id").with_columns(
        pl.col("response", "reasoning", "content").fill_null(""),
        prompt_digest=pl.lit(prompt_digest),
    )


def _note_requests(stage: Stage, summary: engine.Summary) -> None:
    """Show in the UI what was sent and what was used again, over all the models that the partition asks."""
    for name, count in (("requests_sent", summary.sent), ("replies_reused", summary.reused)):
        stage.note(**{name: stage.notes.get(name, 0) + count})


def _progress_log(stage: Stage) -> Callable[[engine.Progress], None]:
    def report(progress: engine.Progress) -> None:
        stage.context.log.info("%s: %s", stage.node, progress.line())

    return report


def _request_id(keys: dict[str, Any]) -> str:
    return "#".join(str(value) for value in keys.values())


def _safe(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "--", key) or "all"
