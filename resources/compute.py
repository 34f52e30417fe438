"""The compute seam: runs a payload program and streams what it reports to Dagster.

A payload gets one JSON file and writes one folder. Here it runs as a subprocess on this machine, through Dagster
Pipes, below a guard: when the run that started it is gone, so are the payload and all that it started.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import yaml

from resources.accelerate_configs import ComputeError, config_file
from resources.gpus import GpuError, Gpus, Holder

RESULT_FILE = "result.json"
PAYLOADS = "mbt_assets.payloads"
GRACE_S = 10.0
REDIRECT = ["/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1']
"""Sends a payload's own output to a log file; `exec` keeps its process id, so that signals reach it."""
LAUNCHER_GAVE_UP = "torch/distributed/elastic/multiprocessing/api.py"
"""In the first line that the launcher of several processes prints when one of them has failed."""


class PayloadError(RuntimeError):
    """A payload that failed; the message ends with the last lines it printed."""


class LocalCompute:
    """Runs payloads as subprocesses.

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
        gpus: int = 0,
    ) -> dict[str, Any]:
        """Run `mbt_assets.payloads.<payload>` on a spec and wait for it.

        Args:
            context: the asset's context; what the payload reports goes to its log.
            payload: module name below `mbt_assets.payloads`.
            spec: written to `<out_dir>.spec.json`; must hold `out_dir`.
            accelerate: an accelerate config to launch it with, a packaged one's name or a file: one process per GPU
                where it gets GPUs, otherwise as many as the file says; one plain process when None.
            gpus: how many GPUs it has to itself; waits until they are free, and has idle model servers stopped.

        Returns:
            What the payload wrote to `result.json` in its folder.

        Raises:
            PayloadError: it ended with another exit status than 0.
            GpuError: it needs more GPUs than this machine has.
            ComputeError: there is no such accelerate config, or it is for one process and there are more GPUs.
        """
        launcher = _launcher(accelerate, gpus)
        out_dir = Path(spec["out_dir"])
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        spec_file = out_dir.with_name(out_dir.name + ".spec.json")
        spec_file.write_bytes(orjson.dumps(spec, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        log = self.logs / f"{payload}-{out_dir.name}.log"
        before = log.stat().st_size if log.is_file() else 0
        program = [*launcher, f"{PAYLOADS}.{payload}", "--spec", str(spec_file)]
        command = [*REDIRECT, str(log), *_guarded(out_dir), *program]
        holder = Holder(f"{payload} of {out_dir.name} (process {os.getpid()})")
        try:
            with Gpus.of_machine().reserved(gpus, holder, context.log.info) as visible:
                dg.PipesSubprocessClient(env={**_environment(), **visible}).run(context=context, command=command)
        except (dg.DagsterExecutionInterruptedError, GpuError):
            raise
        except Exception as error:
            raise PayloadError(f"payload {payload} failed ({error}); {log} ends with:\n{_tail(log, before)}") from error
        return orjson.loads((out_dir / RESULT_FILE).read_bytes())


def _guarded(out_dir: Path) -> list[str]:
    # Dagster waits 20 s for an interrupted payload: the guard has ended it by then. The lock is for a payload that
    # still ends while the next one on the same folder starts.
    lock = out_dir.with_name(out_dir.name + ".lock")
    options = ["--parent", str(os.getpid()), "--grace", str(GRACE_S), "--lock", str(lock)]
    return [sys.executable, "-m", "resources.guard", *options, "--"]


def _launcher(accelerate: str | None, gpus: int) -> list[str]:
    if accelerate is None:
        return [sys.executable, "-m"]
    file = config_file(accelerate)
    if gpus > 1 and _is_for_one_process(file):
        raise ComputeError(f"accelerate: {file} is for one process, and there are {gpus} GPUs; take multi_gpu or fsdp")
    # Port 0 has the launcher take a free one: several may run at once.
    options = ["--config_file", str(file), "--num_machines", "1", "--main_process_port", "0", "--quiet"]
    if gpus:
        options += ["--num_processes", str(gpus)]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, "-m"]


def _is_for_one_process(file: Path) -> bool:
    # YAML reads a bare NO as false.
    settings = yaml.safe_load(file.read_text())
    return isinstance(settings, dict) and settings.get("distributed_type") in ("NO", False)


def _environment() -> dict[str, str]:
    # With both cores busy, two torch threads are several times slower than one.
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "TOKENIZERS_PARALLELISM": "false"}


def _tail(log: Path, before: int, lines: int = 15) -> str:
    """The last lines that were added to a log after so many bytes."""
    if not log.is_file():
        return "(it printed nothing)"
    with log.open("rb") as file:
        file.seek(before)
        said = file.read().decode(errors="replace").splitlines()
    # What the launcher prints is long, and says nothing about why.
    gave_up = next((place for place, line in enumerate(said) if LAUNCHER_GAVE_UP in line), None)
    return "\n".join(said[:gave_up][-lines:])
