"""What a cell costs before any model works: `python bench/orchestration.py [cells]`.

Cells of one question each, answered and judged by rules: what is left is Dagster, the lake and the engine's start and
end. The first cell, which imports and starts the server, is left out.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from jobs.plan import slice_of, units
from jobs.runner import make, prepare_instance
from mbt_assets.cli.instance import ready_home
from mbt_assets.definitions import build_platform
from partitions.grid import CELL_ASSETS
from partitions.study_file import load_study
from resources.home import Home


def study_of(cells):
    """The embedded study with so many data sets of one question."""
    study = load_study("embedded")
    one = study.datasets["trails"].validation.model_copy(update={"limit": 1})
    dataset = study.datasets["trails"].model_copy(update={"validation": one, "train": one})
    datasets = {"trails": dataset} | {f"d{i}": dataset for i in range(cells)}
    return study.model_copy(update={"datasets": datasets, "training_datasets": ["trails"]})


def main():
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    study = study_of(cells)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), study.name)
        ready_home(home)
        prepare_instance()
        platform = build_platform(study, home)
        grid = platform.axes.grid
        times = []
        for unit in units(grid, slice_of(grid, variants={"rule-teacher__base"})):
            made = make(build_platform, study.model_dump_json(), home, unit.nodes, {})
            if not made.success:
                sys.exit(f"{unit.name}: {made.failure}")
            if unit.name.startswith("cell["):
                times.append(made.seconds)
        times = times[1:]
        low, middle, high = min(times), statistics.median(times), max(times)
        print(f"{len(times)} cells of one question, {len(CELL_ASSETS)} assets with their checks each")
        print(f"seconds per cell: {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
