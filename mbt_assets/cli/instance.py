"""A Dagster instance that is ready to use: the study's DAGSTER_HOME with its settings."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
from rich.markup import escape

from mbt_assets.cli.common import err
from mbt_assets.instance.settings import NAME, Options, ready_settings
from resources.home import Home


def ready_home(home: Home, options: Options | None = None) -> Path:
    """Bring DAGSTER_HOME and its settings up to date, see that its database answers, and set the variable.

    Args:
        home: of the study.
        options: of the settings; those that the file was made with when None.

    Raises:
        InstanceError: its database cannot be reached, or is not the one that the settings name.
    """
    from mbt_assets.instance.postgres import postgres_url, reach

    if mounted := _on_a_cluster():
        return mounted
    folder = home.dagster
    folder.mkdir(parents=True, exist_ok=True)
    url = postgres_url()
    if url is not None:
        # Before the settings: a mistyped address must not lead away from the records that are there.
        reach(url, home.study)
    notice = ready_settings(folder, url is not None, options)
    if notice:
        err.print(f"[yellow]note:[/] {escape(notice)}", highlight=False, soft_wrap=True)
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def _on_a_cluster() -> Path | None:
    """The DAGSTER_HOME that the Helm chart has set up in this pod; None elsewhere."""
    folder = os.environ.get("DAGSTER_HOME")
    there = folder and os.environ.get("MBT_CLUSTER") and (Path(folder) / NAME).is_file()
    return Path(str(folder)) if there else None


def open_instance(home: Home) -> dg.DagsterInstance:
    """The instance in that DAGSTER_HOME."""
    ready_home(home)
    return dg.DagsterInstance.get()
