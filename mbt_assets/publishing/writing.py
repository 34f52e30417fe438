"""Writing a folder in the Hub's layout: built beside its place, and put there when it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

import mbt_assets
from mbt_assets.exporting.aside import aside
from mbt_assets.publishing.card import card
from mbt_assets.publishing.choice import SPLITS, Part, PublishingError, Selection
from mbt_assets.publishing.columns import arrow_schema, columns_of
from mbt_assets.publishing.folders import CARD, check_folder, put_in_place, sealed, write_manifest
from mbt_assets.publishing.licences import LICENSE_FILE, card_licence, licence_file, terms_of
from mbt_assets.publishing.made import Config, Made
from mbt_assets.publishing.origins import origins, shown, told
from mbt_assets.publishing.rows import Reader
from mbt_assets.publishing.shards import SHARD_BYTES, Sharded, write_shards
from mbt_assets.training_notes import git_commit
from partitions.grid import Grid, Node
from partitions.study import Study
from resources.home import Home
from resources.lake import Lake, Stored

Progress = Callable[[str, int, int], None]


def publish(
    target: Path,
    study: Study,
    lake: Lake,
    home: Home,
    selection: Selection,
    *,
    documents: bool = False,
    allow_stale: bool = False,
    force: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = lambda name, done, total: None,
    in_place: Callable[[], None] = lambda: None,
) -> Made:
    """Write chosen partitions as a data set in the Hub's layout: Parquet files, a card and a manifest.

    Args:
        target: the folder.
        study: whose partitions.
        lake: where they are.
        home: of the study.
        selection: what goes into it.
        documents: rollouts come with what their questions are asked about.
        allow_stale: what does not fit together any more is left out with a note, rather than an error.
        force: a folder that `mbt publish` wrote is replaced (see `check_folder`).
        shard_bytes: a file that has reached this size gets no further rows.
        progress: told which partition is written, how many rows were and how many there are.
        in_place: called once the folder stands under its name; what comes after takes nothing of it away.

    Returns:
        What it holds.

    Raises:
        PublishingError: the folder cannot be written; whatever stood there stays.
        LakeError: a partition is damaged.
    """
    target = target.absolute()
    check_folder(target, home, force)
    try:
        with aside(target) as beside:
            folder = beside / "new"
            folder.mkdir()
            reader = Reader(lake, study, documents, allow_stale)
            made = _fill(folder, reader, selection, shard_bytes, progress)
            check_folder(target, home, force)
            put_in_place(folder, target)
            in_place()
    except (OSError, pa.ArrowException) as error:
        raise PublishingError(
            f"cannot write {target}: {error}; nothing of it was left there: free space or choose another place"
        ) from error
    return made


def _fill(folder: Path, reader: Reader, selection: Selection, shard_bytes: int, progress: Progress) -> Made:
    columns = columns_of(selection.kind, documents=reader.documents)
    schema, split = arrow_schema(columns), SPLITS[selection.kind]
    read: dict[Node, Stored] = {}
    configs: list[Config] = []
    for number, part in enumerate(selection.parts):
        progress(str(part.node), number, len(selection.parts))
        nodes, notes, frames = reader.read(part)
        seen = _Seen(frames)
        written = write_shards(folder / part.config, split, schema, seen.frames(), shard_bytes)
        configs.append(_config(folder, part, notes, written, seen))
        read |= nodes
    progress("card", len(selection.parts), len(selection.parts))
    found = origins(Grid(reader.study), reader.lake, read)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    version = mbt_assets.__version__
    made = Made(reader.study, selection, columns, tuple(configs), found, now, version, git_commit())
    (folder / CARD).write_text(sealed(card(made)), encoding="utf-8")
    if card_licence(terms_of(made.study, made.datasets)).get("license_link"):
        (folder / LICENSE_FILE).write_text(licence_file(made), encoding="utf-8")
    write_manifest(folder, _manifest(made))
    return made


class _Seen:
    """Rows on their way to a file: which questions and weights were among them."""

    def __init__(self, frames: Iterator[pl.DataFrame]):
        self._frames = frames
        self.questions: set[str] = set()
        self.checkpoints: set[str] = set()

    def frames(self) -> Iterator[pl.DataFrame]:
        for frame in self._frames:
            self.questions.update(frame["question_id"].unique())
            if "checkpoint_digest" in frame.columns:
                self.checkpoints.update(frame["checkpoint_digest"].unique())
            yield frame


def _config(folder: Path, part: Part, notes: tuple[str, ...], written: Sharded, seen: _Seen) -> Config:
    files = tuple(file.relative_to(folder).as_posix() for file in written.files)
    known = tuple(dict.fromkeys((*part.notes, *notes)))
    sizes = (len(seen.questions), written.data_bytes, written.file_bytes)
    return Config(part, files, written.rows, *sizes, known, frozenset(seen.checkpoints))


def _manifest(made: Made) -> dict[str, Any]:
    """What the manifest says beside the list of files."""
    return {
        "kind": made.selection.kind,
        "study": made.study.name,
        "settings": shown(made.study.model_dump(mode="json")),
        "created_at": made.created_at,
        "mbt_assets_version": made.version,
        "git_commit": made.git_commit,
        "configurations": {
            config.name: {
                "partition": str(config.part.node),
                "rows": config.rows,
                "questions": config.questions,
                "notes": list(config.notes),
            }
            for config in made.configs
        },
        "left_out": made.selection.left_out,
        "partitions": [told(node, stored) for node, stored in made.origins.items()],
    }
