"""A graph that loads quickly, whose runs and steps have pods of their own: each partition is a fault to be met.

Its steps run by the executor that the project uses on a cluster, and write as its lake does.
"""

import json
import os
import time
from pathlib import Path

import dagster as dg
import polars as pl
from upath import UPath

from resources.k8s.cluster import load_cluster
from resources.k8s.execution import executor_of, step_tags
from resources.lake_files import put

FOLDER = "MBT_FAULTS"
ABSENT = "mbt-assets-control:absent"
IMAGELESS = {"container_config": {"image": ABSENT}}
NEVER_AGAIN = {"dagster/max_retries": "0"}
K8S = "dagster-k8s/config"
HOLD_S = 900
RUN_FAULTS = ["run-evicted", "run-lost"]
STEP_FAULTS = ["step-evicted", "step-lost", "step-oom"]
PLAIN = ["plain-0", "plain-1"]
CLUSTER = load_cluster()


def attempts(folder, key):
    """How often the step of a partition began."""
    return len(list(Path(folder).glob(f"{key}.begun.*")))


def let_go(folder, key):
    """Let the step of a partition go on."""
    (Path(folder) / f"{key}.go").touch()


def written(folder, key):
    """Where a partition's rows go."""
    return UPath(folder) / "lake" / key / "rows.parquet"


def _work(context: dg.AssetExecutionContext):
    folder, key = Path(os.environ[FOLDER]), context.partition_key
    first = attempts(folder, key) == 0
    (folder / f"{key}.begun.{time.time_ns()}").touch()
    deadline = time.monotonic() + HOLD_S
    # The first attempt at something that is to be killed waits for it.
    while first and key not in PLAIN and not (folder / f"{key}.go").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    put(written(folder, key), pl.DataFrame({"key": [key] * 1000}), {})


@dg.asset(
    partitions_def=dg.StaticPartitionsDefinition([*RUN_FAULTS, *STEP_FAULTS, *PLAIN]),
    pool="gpu",
    op_tags=step_tags(CLUSTER, "worked") if CLUSTER else None,
)
def worked(context: dg.AssetExecutionContext):
    _work(context)


@dg.asset(op_tags={K8S: IMAGELESS}, pool="gpu")
def imageless(context: dg.AssetExecutionContext): ...


@dg.asset(pool="gpu")
def never(context: dg.AssetExecutionContext): ...


defs = dg.Definitions(
    assets=[worked, imageless, never],
    jobs=[
        dg.define_asset_job("step_without_image", [imageless], tags=NEVER_AGAIN),
        dg.define_asset_job("run_without_image", [never], tags={K8S: json.dumps(IMAGELESS), **NEVER_AGAIN}),
    ],
    executor=executor_of(CLUSTER, "faults") if CLUSTER else None,
)
