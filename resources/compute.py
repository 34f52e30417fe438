"""Payloads on this machine: runs a program and streams what it reports to Dagster.

A payload gets one JSON file and writes one folder. Here it runs as a subprocess, through Dagster Pipes, below a guard:
when the run that started it is gone, so are the payload and all that it started. `resources.k8s.compute` runs the same
program in a pod.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import dagster as dg

from partitions.study import Compute
from resources.accelerate_configs import config_file
from resources.gpus import GpuError, Gpus, Holder
from resources.launching import (
    PAYLOADS,
    PayloadError,
    end_of,
    guarded,
    launcher,
    refuse_one_process,
    result_of,
    write_spec,
)

REDIRECT = ["/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1']
"""Sends a payload's own output to a log file; `exec` keeps its process id, so that signals reach it."""


class LocalCompute:
    """Runs payloads as subprocesses; see `resources.launching.PayloadRunner`.

    Args:
        logs: folder for what payloads print.
    """

    def __init__(self, logs: Path):
        self.logs = logs

    def run(
        self,
        context: dg.AssetExecutionContext,
        payload: str,
        spec: dict[str, Any],
        *,
        accelerate: str | None = None,
        needs: Compute = Compute(),  # noqa: B008  it never changes
    ) -> dict[str, Any]:
        """Run a payload and wait for it, and for its GPUs; idle model servers that have them are stopped.

        Raises:
            PayloadError: it ended with another exit status than 0, or took too long.
            GpuError: it needs more GPUs than this machine has.
            ComputeError: there is no such accelerate config, or it is for one process and there are more GPUs.
        """
        config = config_file(accelerate) if accelerate else None
        if config:
            refuse_one_process(config, needs.gpus)
        program = [*launcher(sys.executable, config, needs.gpus), f"{PAYLOADS}.{payload}"]
        spec_file = write_spec(spec)
        self.logs.mkdir(parents=True, exist_ok=True)
        name = Path(spec["out_dir"]).name
        log = self.logs / f"{payload}-{name}.log"
        before = log.stat().st_size if log.is_file() else 0
        guard = guarded(sys.executable, spec, needs, os.getpid())
        command = [*REDIRECT, str(log), *guard, *program, "--spec", str(spec_file)]
        holder = Holder(f"{payload} of {name} (process {os.getpid()})")
        try:
            with Gpus.of_machine().reserved(needs.gpus, holder, context.log.info) as visible:
                dg.PipesSubprocessClient(env={**_environment(), **visible}).run(context=context, command=command)
        except (dg.DagsterExecutionInterruptedError, GpuError):
            raise
        except Exception as error:
            ends = end_of(_added(log, before))
            raise PayloadError(f"payload {payload} failed ({error}); {log} ends with:\n{ends}") from error
        return result_of(spec)


def _environment() -> dict[str, str]:
    # With both cores busy, two torch threads are several times slower than one.
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "TOKENIZERS_PARALLELISM": "false"}


def _added(log: Path, before: int) -> list[str]:
    """The lines that were added to a log after so many bytes."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(before)
        return file.read().decode(errors="replace").splitlines()
