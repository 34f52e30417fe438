"""A real `dagster-daemon` process for a module of definitions, to be killed and started again."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from processes import kill, marked, until


class DaemonProcess:
    """Runs for the instance of `DAGSTER_HOME`; use it as a context.

    Args:
        module: the definitions.
        log: what it prints is added to this file.
    """

    def __init__(self, module: str, log: Path):
        self.module, self.log = module, log
        self._mark = f"daemon-{os.getpid()}-{id(self)}"

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "dagster._daemon", "run", "-m", self.module]
        with self.log.open("ab") as log:
            environment = {**os.environ, "MBT_DAEMON_MARK": self._mark}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill it and its code server at once."""
        kill(self._process.pid)
        self._process.wait(60)
        until(lambda: not [kill(pid) for pid in marked(self._mark)])
