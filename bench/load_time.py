"""How long the code location takes to load, next to importing Dagster alone.

`python bench/load_time.py [study] [runs]`
"""

import os
import statistics
import subprocess
import sys
import time

DAGSTER = "import dagster"
LOCATION = "import dagster; from mbt_assets.definitions import defs; dagster.Definitions.validate_loadable(defs)"


def seconds(code, study):
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "MBT_STUDY": study})
    return time.perf_counter() - started


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main():
    study = sys.argv[1] if len(sys.argv) > 1 else "paper"
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    seconds(LOCATION, study)
    # In turns, so that a machine that speeds up or slows down does so for both.
    pairs = [(seconds(LOCATION, study), seconds(DAGSTER, study)) for _ in range(runs)]
    print(f"study {study}, {runs} runs, median (min to max)")
    print(f"code location, loaded and validated: {spread([a for a, _ in pairs])} s")
    print(f"import dagster alone:                {spread([b for _, b in pairs])} s")
    print(f"ratio:                               {spread([a / b for a, b in pairs])}")


if __name__ == "__main__":
    main()
