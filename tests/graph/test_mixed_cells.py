"""A re-score that was cut off: which cells show figures of one checkpoint, and which do not."""

from __future__ import annotations

import polars as pl
import pytest

from mbt_assets.registry import mixed_cells, scored_from
from partitions.grid import CELL_FIGURES, CELL_SQL, RETESTS, SCORES, Grid, Node
from partitions.study_file import load_study
from resources.lake import Lake, Provenance
from resources.tables import TABLES

OLD, NEW = "a" * 64, "b" * 64
TEXTS = {"status": "failed", "tier": "easy", "kind": "retest"}
CONSTANTS = {pl.String: "x", pl.Int64: 1, pl.Float64: 0.5, pl.Boolean: False}


class Cell:
    """One cell of the embedded study, whose tables are written one by one."""

    def __init__(self, folder):
        self.lake = Lake(folder)
        self.grid = Grid(load_study("embedded"))
        self.key = self.grid.keys("cell_metrics")[0]

    def put(self, tables, digest):
        """Make tables, of what lies in the lake now."""
        for table in tables:
            node = Node(table, self.key)
            parents = {parent: self.lake.stored(parent) for parent in self.grid.parents(node)}
            inputs = {str(parent): stored.data_version for parent, stored in parents.items() if stored}
            rows = scores_of(table, digest) if table in TABLES else pl.DataFrame({"made_of": [str(inputs)]})
            self.lake.write(node, rows, Provenance("made", {"scorer": "1"}, inputs))

    @property
    def digest(self):
        return scored_from(self.lake, self.key).digest

    @property
    def is_mixed(self):
        return mixed_cells(self.lake, [self.key]) == [self.key]


def scores_of(table, digest):
    columns = {}
    for name, column in TABLES[table].columns().items():
        usual = None if column.nullable else CONSTANTS[column.dtype.base_type()]
        value = digest if name.endswith("_digest") and not column.nullable else TEXTS.get(name, usual)
        columns[name] = pl.Series([value], dtype=column.dtype)
    return pl.DataFrame(columns)


@pytest.fixture
def cell(tmp_path):
    made = Cell(tmp_path)
    made.put(CELL_FIGURES, OLD)
    return made


def test_a_cell_that_is_done_is_of_its_checkpoint(cell):
    assert (cell.digest, cell.is_mixed) == (OLD, False)
    assert scored_from(cell.lake, cell.key).current


def test_new_scores_under_old_figures_are_mixed_until_the_last_figure_is_made(cell):
    cell.put([*SCORES, RETESTS], NEW)
    assert (cell.digest, cell.is_mixed) == (None, True)
    for table in CELL_SQL[:-1]:
        cell.put([table], NEW)
        assert cell.is_mixed, f"cell_metrics is old, {table} is new"
    cell.put(CELL_SQL[-1:], NEW)
    assert (cell.digest, cell.is_mixed) == (NEW, False)


def test_scores_of_two_checkpoints_are_mixed(cell):
    cell.put(["rrp_scores"], NEW)
    assert cell.is_mixed


def test_a_score_made_again_of_the_same_checkpoint_mixes_nothing_but_is_not_current(cell):
    again = scores_of("answer_scores", OLD).with_columns(predicted_answer=pl.lit("another"))
    cell.lake.write(Node("answer_scores", cell.key), again, Provenance("made", {"scorer": "2"}, {}))
    assert (cell.digest, cell.is_mixed) == (OLD, False)
    assert not scored_from(cell.lake, cell.key).current
