"""A backfill of every cell of one layer through Dagster's daemon: `python bench/backfill.py [--sqlite] [--runs 4]`.

The paper's study, 138 cells, one run each, with rollouts that are made up: what is left is what Dagster takes. A real
PostgreSQL server, web server, daemon and code server; several runs at once. Meanwhile the pages that somebody would
look at are asked for, and before and after, when nothing runs.
"""

import argparse
import contextlib
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from postgres import serving_postgres  # noqa: E402
from web import Ui, wait_for  # noqa: E402

from bench import backfill_graph  # noqa: E402
from mbt_assets.cli.instance import open_instance, ready_home  # noqa: E402
from mbt_assets.instance.pools import set_pools  # noqa: E402
from mbt_assets.instance.postgres import VARIABLE  # noqa: E402
from mbt_assets.instance.settings import Options  # noqa: E402
from mbt_assets.instance.sizes import sizes  # noqa: E402

LAUNCH = """
mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
BACKFILL = "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
RUNS = """{ runsOrError(limit: 25) { ... on Runs { results {
  id status startTime endTime tags { key value } assetSelection { path }
} } } }"""
ASSET = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetMaterializations(limit: 25) { timestamp runId metadataEntries { label } }
  partitionStats { numMaterialized numFailed numMaterializing }
  assetPartitionStatuses { __typename }
} } }"""
PAGES = {"runs": (RUNS, {}), "asset": (ASSET, {"key": {"path": [backfill_graph.ASSET]}})}
LOCKS = re.compile(
    r"database is locked|deadlock|could not obtain lock|lock timeout|too many (clients|connections)", re.I
)
PAUSE_S = 2.0


def ask_pages(ui, times):
    """Ask for every page once; adds the seconds that each took."""
    for page, (query, variables) in PAGES.items():
        started = time.perf_counter()
        ui.ask(query, **variables)
        times.setdefault(page, []).append(time.perf_counter() - started)


def idle(ui):
    """What the pages take while nothing runs."""
    times = {}
    for _ in range(10):
        ask_pages(ui, times)
    return times


@contextlib.contextmanager
def dagster(home, log):
    """Web server, daemon and code server of the graph."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dagster", "dev", "-m", "bench.backfill_graph", "-h", "127.0.0.1", "-p", str(port)]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
    ui = Ui(f"http://127.0.0.1:{port}")

    def is_up():
        if process.poll() is not None:
            sys.exit(f"dagster dev ended:\n{log.read_text()[-3000:]}")
        with contextlib.suppress(OSError):
            return ui.repository()

    try:
        wait_for(is_up, 180, "dagster dev")
        yield ui
    finally:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def backfill(ui, keys):
    """Make all cells; gives the seconds it took and what the pages took meanwhile."""
    params = {"assetSelection": [{"path": [backfill_graph.ASSET]}], "partitionNames": keys}
    launched = ui.ask(LAUNCH, params=params)["launchPartitionBackfill"]
    if launched["__typename"] != "LaunchBackfillSuccess":
        sys.exit(f"the backfill was refused: {launched}")
    started, times = time.monotonic(), {}
    while True:
        ask_pages(ui, times)
        state = ui.ask(BACKFILL, id=launched["backfillId"])["partitionBackfillOrError"]["status"]
        if state.startswith(("COMPLETED", "FAIL")):
            return time.monotonic() - started, times, state
        time.sleep(PAUSE_S)


def measure(folder, runs, cells, postgres):
    """One backfill on fresh records."""
    os.environ.update(MBT_STUDY="paper", MBT_HOME=str(folder))
    platform = backfill_graph.graph()
    keys = platform.axes.grid.keys(backfill_graph.ASSET)[:cells]
    backfill_graph.prepare(platform)
    ready_home(platform.home, Options(runs))
    with open_instance(platform.home) as instance:
        set_pools(instance, {}, {"gpu": runs, "judge": runs})
    log = folder / "dagster.log"
    with dagster(platform.home, log) as ui:
        before = idle(ui)
        with open_instance(platform.home) as instance:
            empty = sizes(instance, platform.home)
        seconds, busy, state = backfill(ui, keys)
        after = idle(ui)
    with open_instance(platform.home) as instance:
        full = sizes(instance, platform.home)
        failed = [run for run in instance.get_runs() if not run.is_success]
    if failed:
        print(f"runs failed; the log: {log.read_text()[-3000:]}", file=sys.stderr)
    lines = log.read_text().splitlines() + (postgres.log.splitlines() if postgres else [])
    locks = [line for line in lines if LOCKS.search(line)]
    stored = len(platform.artifacts.lake.keys(backfill_graph.ASSET))
    partitions = len(platform.axes.grid.nodes)
    return Result(state, len(keys), stored, len(failed), seconds, before, busy, after, empty, full, locks, partitions)


class Result:
    """What one backfill took."""

    def __init__(self, *values):
        names = "state cells stored failed seconds before busy after empty full locks partitions"
        self.__dict__.update(zip(names.split(), values, strict=True))

    def print(self, where, runs):
        """Print it as rows of a table."""
        rate = self.cells / self.seconds * 60
        growth = (self.full.database_bytes - self.empty.database_bytes) / self.cells
        logs = self.full.compute_log_bytes / self.cells
        print(f"\n{where}, {runs} runs at once: {self.state}, {self.stored} of {self.cells} cells stored, ", end="")
        print(f"{self.failed} runs not successful, {len(self.locks)} lock errors in the logs")
        for line in self.locks[:3]:
            print(f"  {line[:160]}")
        print(f"| runs a minute | {rate:.1f} ({self.seconds:.0f} s) |")
        print(f"| database | {self.full.database_bytes / 1e6:.1f} MB, {growth / 1e3:.0f} kB a run |")
        print(f"| events a run | {self.full.events / self.cells:.0f} |")
        print(f"| logs of steps | {logs / 1e3:.0f} kB a run |")
        for page in PAGES:
            shown = " / ".join(middle_and_worst(times[page]) for times in (self.before, self.busy, self.after))
            print(f"| page {page}, before / during / after, ms | {shown} |")
        hours, size = self.partitions / rate / 60, (self.empty.database_bytes + growth * self.partitions) / 1e6
        print(f"| all {self.partitions} partitions, a run each | {hours:.1f} h, {size:.0f} MB |")


def middle_and_worst(times):
    return f"{statistics.median(times) * 1000:.0f} (max {max(times) * 1000:.0f}, n={len(times)})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sqlite", action="store_true", help="the same on SQLite too")
    parser.add_argument("--runs", type=int, default=4, help="runs at once")
    parser.add_argument("--cells", type=int, default=138, help="the first so many cells")
    options = parser.parse_args()
    with serving_postgres(fsync=True) as server, tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = server.database("mbt")
        measure(Path(folder), options.runs, options.cells, server).print("PostgreSQL", options.runs)
    if options.sqlite:
        os.environ.pop(VARIABLE)
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), options.runs, options.cells, None).print("SQLite", options.runs)


if __name__ == "__main__":
    main()
