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

from resources.gpus import GpuError, Gpus, Holder

RESULT_FILE = "result.json"
PAYLOADS = "mbt_assets.payloads"
GRACE_S = 10.0
REDIRECT = ["/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1']
"""Sends a payload's own output to a log file; `exec` keeps its process id, so that signals reach it."""


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
            accelerate: an accelerate config to launch it with; one plain process when None.
            gpus: how many GPUs it has to itself; waits until they are free, and has idle model servers stopped.

        Returns:
            What the payload wrote to `result.json` in its folder.

        Raises:
            PayloadError: it ended with another exit status than 0.
            GpuError: it needs more GPUs than this machine has.
        """
        out_dir = Path(spec["out_dir"])
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        spec_file = out_dir.with_name(out_dir.name + ".spec.json")
        spec_file.write_bytes(orjson.dumps(spec, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        log = self.logs / f"{payload}-{out_dir.name}.log"
        program = [*_launcher(accelerate), f"{PAYLOADS}.{payload}", "--spec", str(spec_file)]
        command = [*REDIRECT, str(log), *_guarded(out_dir), *program]
        holder = Holder(f"{payload} of {out_dir.name} (process {os.getpid()})")
        try:
            with Gpus.of_machine().reserved(gpus, holder, context.log.info) as visible:
                dg.PipesSubprocessClient(env={**_environment(), **visible}).run(context=context, command=command)
        except (dg.DagsterExecutionInterruptedError, GpuError):
            raise
        except Exception as error:
            raise PayloadError(f"payload {payload} failed ({error}); {log} ends with:\n{_tail(log)}") from error
        return orjson.loads((out_dir / RESULT_FILE).read_bytes())


def _guarded(out_dir: Path) -> list[str]:
    # Dagster waits 20 s for an interrupted payload: the guard has ended it by then. The lock is for a payload that
    # still ends while the next one on the same folder starts.
    lock = out_dir.with_name(out_dir.name + ".lock")
    options = ["--parent", str(os.getpid()), "--grace", str(GRACE_S), "--lock", str(lock)]
    return [sys.executable, "-m", "resources.guard", *options, "--"]


def _launcher(accelerate: str | None) -> list[str]:
    if accelerate is None:
        return [sys.executable, "-m"]
    return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", accelerate, "-m"]


def _environment() -> dict[str, str]:
    # With both cores busy, two torch threads are several times slower than one.
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "TOKENIZERS_PARALLELISM": "false"}


def _tail(log: Path, lines: int = 15) -> str:
    if not log.is_file():
        return "(it printed nothing)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
