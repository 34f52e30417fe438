"""All looks at an installation, in the order in which one would mend what they find."""

from __future__ import annotations

import os
from pathlib import Path

from mbt_assets.doctor import Finding, machine, on_cluster, services, software, storage
from partitions.study import Study
from resources.home import Home
from resources.k8s.cluster import VARIABLE as CLUSTER
from resources.lake import Lake
from resources.object_store import is_remote


def examine(study: Study, home: Home) -> list[Finding]:
    """Look at everything that a study needs.

    Args:
        study: the study that is to run here.
        home: where its files lie.
    """
    clustered = bool(os.environ.get(CLUSTER))
    lake = Lake(home.lake)
    answers, clocks = services.endpoints(study)
    spaces = [machine.disk("disk of MBT_HOME", home.folder)]
    if not is_remote(lake.root) and not Path(lake.root.path).is_relative_to(home.folder):
        spaces.append(machine.disk("disk of MBT_LAKE", Path(lake.root.path)))
    return [
        software.python_version(),
        *software.packages(),
        *software.optional_packages(),
        software.vllm_program(study, clustered),
        *machine.gpus(study, clustered),
        *spaces,
        storage.lake(lake),
        storage.duckdb_reads(lake),
        *storage.records(home),
        *services.secrets(study),
        *answers,
        machine.clock(clocks),
        *on_cluster.cluster(),
    ]
