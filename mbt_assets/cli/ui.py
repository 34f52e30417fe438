"""`mbt ui`: the Dagster web server and daemon over the chosen study."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import mbt_assets
from mbt_assets.cli.common import StudyOption, err, listening

WORKSPACE = Path(mbt_assets.__file__).parent.parent / "workspace.yaml"


def ui(
    study: StudyOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web server.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine only.")] = "127.0.0.1",
) -> None:
    """Start the Dagster web server and daemon with a ready DAGSTER_HOME. Ctrl-C ends both."""
    from mbt_assets.cli.instance import ready_home
    from partitions.study_file import load_study, study_path
    from resources.home import Home

    path = study_path(study)
    home = Home.from_environment(load_study(study).name)
    # Dagster would start a second daemon on the same home before it notices that the port is taken.
    listening(host, port).close()
    folder = ready_home(home)
    os.environ.update(MBT_STUDY=str(path.absolute()), MBT_HOME=str(home.root))
    err.print(f"http://{host}:{port}   study {path.stem}   DAGSTER_HOME {folder}", highlight=False)
    where = ["-w", str(WORKSPACE)] if WORKSPACE.is_file() else ["-m", "mbt_assets.definitions"]
    command = [sys.executable, "-m", "dagster", "dev", *where, "-h", host, "-p", str(port)]
    sys.stderr.flush()
    os.execv(sys.executable, command)
