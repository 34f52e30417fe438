"""Imported rollouts into the lake, with a record of where they came from; and out of it again."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

import dagster as dg
import polars as pl

import mbt_assets
from mbt_assets.benchmarks import BENCHMARKS
from mbt_assets.identities import digest_of
from mbt_assets.importing import ImportingError
from mbt_assets.importing.files import BATCH, RowFile
from mbt_assets.importing.matching import Questions
from mbt_assets.importing.rows import Counts, Reading
from mbt_assets.recipes import fingerprint, imported_recipe
from mbt_assets.registry import in_place
from partitions.grid import Node, split_key
from partitions.study import Study
from resources.home import Home
from resources.lake import IMPORTED, Lake, LakeError, Provenance, Stored, rows_digest
from resources.lake_io import PROVENANCE_METADATA
from resources.tables import TABLES

TABLE = "validation_rollouts"
DATA_VERSION = "dagster/data_version"
"""Tag by which Dagster knows a materialization's data version."""


@dataclass(frozen=True)
class Order:
    """What is to be imported, and how.

    Attributes:
        file: the rows.
        cell: key of the cell that they are of.
        columns: our name of a column → theirs; nothing for one that is to be ignored.
        checkpoint: `current` where the rows are known to be of the checkpoint that is registered.
        allow_unmatched: leave out rows of no question, rather than stop.
        replace: put them in the place of rows that are there.
    """

    file: RowFile
    cell: str
    columns: Mapping[str, str] = field(default_factory=dict)
    checkpoint: Literal["unknown", "current"] = "unknown"
    allow_unmatched: bool = False
    replace: bool = False

    @property
    def node(self) -> Node:
        """The partition that they become."""
        return Node(TABLE, self.cell)


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
        stored: what lies in the lake now.
        counts: what was seen in the file.
        n_questions: questions of the dataset.
    """

    stored: Stored
    counts: Counts
    n_questions: int


def check_free(lake: Lake, order: Order) -> None:
    """See that the import would overwrite nothing that was not meant.

    Raises:
        ImportingError: rows are there, and `replace` was not said.
    """
    if order.replace or not lake.exists(order.node):
        return
    stored = lake.stored(order.node)
    whence = f"imported ({stored.provenance.source})" if stored and stored.provenance.imported else "made here"
    raise ImportingError(f"{order.node} is there already, {whence}: say --replace to put these rows in its place")


def import_rollouts(study: Study, lake: Lake, home: Home, order: Order) -> Imported:
    """Check a file's rows and put them into the lake as the rollouts of a cell; nothing changes there on any error.

    Args:
        study: the study.
        lake: holds the dataset's `validation_questions`.
        home: of the study.
        order: what is to be imported.

    Raises:
        ImportingError: the file cannot be read, or rows do not fit the questions.
        CheckpointError: the registered checkpoint, if it was claimed, is not what lies there.
        LakeError: the questions, or the claimed checkpoint, were never made; or the lake cannot be written.
    """
    check_free(lake, order)
    dataset, slug = split_key(order.cell)
    questions = Node("validation_questions", dataset)
    asked = lake.stored(questions)
    if asked is None:
        raise LakeError(f"{order.node} needs {questions}, which is not in the lake: materialize that first")
    claimed = _registered(lake, home, slug) if order.checkpoint == "current" else None
    benchmark = BENCHMARKS.get(study.datasets[dataset].benchmark)
    by_text = benchmark is None or not benchmark.facts_in_documents
    known = Questions(lake.read(questions), by_text=by_text)
    sha256 = order.file.digest()
    reading = Reading(order.file, known, order.columns)
    frame = _frame(reading, order, claimed)
    source = f"{IMPORTED}{order.file.name}:sha256:{sha256}"
    recipe = imported_recipe(_made_with(order, sha256, reading.counts))
    inputs = {str(questions): asked.data_version}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    provenance = Provenance(fingerprint(recipe, inputs), recipe, inputs, "", now, source)
    return Imported(lake.write(order.node, frame, provenance), reading.counts, len(known))


def forget(lake: Lake, node: Node) -> Stored:
    """Take imported rows out of the lake, so that the partition can be made here.

    Raises:
        ImportingError: no imported rows are there.
    """
    stored = lake.imported(node)
    if stored is None:
        raise ImportingError(f"{node} holds no imported rows: there is nothing to forget")
    lake.path(node).unlink(missing_ok=True)
    return stored


def record(instance: dg.DagsterInstance, order: Order, imported: Imported) -> None:
    """Tell Dagster of the partition, so that the UI shows it with what is known of it."""
    dataset, slug = split_key(order.cell)
    counts = imported.counts
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=TABLE,
            partition=dg.MultiPartitionKey({"dataset": dataset, "variant": slug}),
            description="imported from a file",
            metadata={
                "dagster/row_count": imported.stored.rows,
                "source": imported.stored.provenance.source,
                **{name: getattr(counts, name) for name in SHOWN},
                "questions": len(counts.questions),
                PROVENANCE_METADATA: imported.stored.provenance.__dict__,
            },
            tags={DATA_VERSION: imported.stored.data_version},
        )
    )


SHOWN = (
    "unmatched",
    "failed",
    "cut_off",
    "unknown_ending",
    "invalid",
    "answer_in_reasoning",
    "gold_differs",
    "prediction_differs",
    "without_tokens",
)
"""Counts that are shown with a partition, and kept with its rows."""


def _made_with(order: Order, sha256: str, counts: Counts) -> dict[str, Any]:
    return {
        "source": "import",
        "file": order.file.name,
        "sha256": sha256,
        "columns": dict(order.columns),
        "checkpoint": order.checkpoint,
        "tool": f"mbt-assets {mbt_assets.__version__}",
        "rows_read": counts.rows,
        **{name: getattr(counts, name) for name in SHOWN},
    }


def _registered(lake: Lake, home: Home, slug: str) -> str:
    """The digest of a variant's registered checkpoint, as it lies there now."""
    node = Node("checkpoints", slug)
    if not lake.exists(node):
        raise ImportingError(
            f"{node} is not in the lake, so that no rows can be of it: leave --checkpoint out, or materialize it"
        )
    row = lake.read(node).row(0, named=True)
    if in_place(row["uri"], row["digest"], home).digest != row["digest"]:
        raise ImportingError(
            f"the files of {row['uri']} have changed since {node} registered them: materialize it again"
        )
    return str(row["digest"])


def _frame(reading: Reading, order: Order, claimed: str | None) -> pl.DataFrame:
    schema = {name: column.dtype for name, column in TABLES[TABLE].columns().items()}
    batches = _batches(reading.rollouts())
    frames = [pl.DataFrame(batch, schema={name: schema[name] for name in batch[0]}) for batch in batches]
    _check_matched(reading, order)
    frame = pl.concat(frames)
    # Nothing is known of prompt and weights but the rows themselves.
    content = digest_of(["imported", rows_digest(frame)])
    requests = [digest_of([content, *key]) for key in frame.select("question_id", "rollout_id").iter_rows()]
    dataset, slug = split_key(order.cell)
    fixed: dict[str, Any] = {"dataset": dataset, "variant": slug, "checkpoint_digest": claimed or content}
    fixed |= {"prompt_digest": content, "attempts": 0, "length_retries": 0, "discarded_tokens": 0}
    frame = frame.with_columns(request_digest=pl.Series(requests, dtype=pl.String))
    missing = [name for name in schema if name not in frame.columns]
    return _as_read(frame.with_columns(pl.lit(fixed.get(name), dtype=schema[name]).alias(name) for name in missing))


def _as_read(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows as they are once they were read from the lake: a run that gives them again must see no other digest."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    buffer.seek(0)
    return pl.read_parquet(buffer)


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _check_matched(reading: Reading, order: Order) -> None:
    counts = reading.counts
    if not counts.unmatched or (order.allow_unmatched and counts.unmatched < counts.rows):
        return
    examples = "; ".join(counts.examples)
    none = counts.unmatched == counts.rows
    advice = "" if none else " Leave such rows out with --allow-unmatched"
    raise ImportingError(
        f"{order.file.path} cannot be imported: {counts.unmatched} of its {counts.rows} rows are of no question of "
        f"validation_questions[{split_key(order.cell)[0]}] ({len(reading.questions)} questions). {examples}.{advice}"
    )
