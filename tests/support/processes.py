"""Looking at real processes: whether they live, which ones a test left, and waiting for either with a deadline."""

import contextlib
import os
import signal
import stat
import sys
import textwrap
import time
from pathlib import Path

STAND_IN = """
    #!{python}
    # Answers /health after a moment, as a server that loads weights does, and has children as vLLM has workers: one in
    # its own process group, one in a session of its own. Writes down how it was called.
    import http.server, os, pathlib, subprocess, sys, time
    folder = pathlib.Path({folder!r})
    sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
    aside = folder / f"pids.{{os.getpid()}}"
    aside.write_text(" ".join(str(pid) for pid in (os.getpid(), *(child.pid for child in children))))
    aside.replace(folder / "pids")
    (folder / "arguments").write_text("\\n".join(sys.argv[1:]))
    (folder / "devices").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
    if (folder / "broken").exists():
        print("\\n".join(f"line {{i}}" for i in range(30)))
        print("no such model", flush=True)
        sys.exit(3)
    time.sleep(0.2)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


class StandIn:
    """A program called `vllm` in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.program = folder / "vllm"
        text = textwrap.dedent(STAND_IN).lstrip()
        self.program.write_text(text.format(python=sys.executable, folder=str(folder)))
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)

    def pids(self):
        """Of the last one started: itself, its child, and its child in another session."""
        return [int(word) for word in (self.folder / "pids").read_text().split()]


def lives(pid):
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds=60.0):
    """Wait for a condition; whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def marked(mark):
    """Living processes that inherited an environment variable with this value, by id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (entry / "environ").read_bytes() and lives(entry.name):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def kill(pid):
    """Kill a process in the way that it cannot do anything about."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def parent(pid):
    """The process that started another, or that took it over."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
