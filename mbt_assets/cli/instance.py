"""A Dagster instance that is ready to use: the study's DAGSTER_HOME with its settings."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import yaml

from resources.home import Home

SETTINGS = {
    "telemetry": {"enabled": False},
    "nux": {"enabled": False},
    "concurrency": {
        # No limit on pools: a killed run would keep its slots for ever, and the next would wait for them.
        "runs": {"max_concurrent_runs": 2},
    },
    "run_monitoring": {
        "enabled": True,
        # The last resort, for runs that nothing else can tell to be lost; see `jobs.lost_runs`.
        "max_runtime_seconds": 2 * 86_400,
    },
}


def ready_home(home: Home) -> Path:
    """Create DAGSTER_HOME with its settings where it is not there yet, and set the variable."""
    folder = home.dagster
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if not settings.exists():
        settings.write_text("# Written once; edit it as you like.\n" + yaml.safe_dump(SETTINGS, sort_keys=False))
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def open_instance(home: Home) -> dg.DagsterInstance:
    """The instance in that DAGSTER_HOME."""
    ready_home(home)
    return dg.DagsterInstance.get()
