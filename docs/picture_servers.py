"""What the pictures are taken of: `mbt`'s web pages over a copy of a home, started and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

STARTS_WITHIN_S = 180
ENDS_WITHIN_S = 30


def environment(home: Path) -> dict[str, str]:
    """Of the programs that show the copy, without what would lead them elsewhere."""
    elsewhere = ("MBT_LAKE", "MBT_ENGINE", "MBT_POSTGRES", "MBT_CLUSTER", "DAGSTER_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in elsewhere}
    return {**kept, "MBT_HOME": str(home), "MBT_STUDY": "embedded"}


@contextlib.contextmanager
def serving(command: str, home: Path) -> Iterator[str]:
    """A command of `mbt` that serves pages, on a free port; ended with all that it started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = [sys.executable, "-m", "mbt_assets.cli.main", command, "--port", str(port)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            program, env=environment(home), start_new_session=True, stdout=said, stderr=subprocess.STDOUT
        )
        address = f"http://127.0.0.1:{port}"
        try:
            if not _answers(process, address):
                said.seek(0)
                print(f"mbt {command} did not start:\n{said.read().decode()[-2000:]}", file=sys.stderr)
            yield address
        finally:
            _end(process)


def _answers(process: subprocess.Popen[bytes], address: str) -> bool:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.HTTPError, OSError), urllib.request.urlopen(address, timeout=10):
            return True
        time.sleep(0.5)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def asked(home: Path, query: str) -> str:
    """The one value that a query gives."""
    command = [sys.executable, "-m", "mbt_assets.cli.main", "sql", query, "--format", "csv", "--study", "embedded"]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def bring_up_to_date(home: Path) -> None:
    """Make what is stale in the copy: marts and report, where their code is newer than the home."""
    subprocess.run([sys.executable, "-m", "mbt_assets.cli.main", "demo"], env=environment(home), check=True)
