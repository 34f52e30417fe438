"""How a payload is called, here or in a pod: its spec file, the words that launch it, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
import orjson
import yaml

from partitions.study import Compute
from resources.accelerate_configs import ComputeError

RESULT_FILE = "result.json"
PAYLOADS = "mbt_assets.payloads"
GRACE_S = 10.0
"""Dagster waits 20 s for an interrupted payload, Kubernetes 30 s: the guard has ended it by then."""
LAUNCHER_GAVE_UP = "torch/distributed/elastic/multiprocessing/api.py"
"""In the first line that the launcher of several processes prints when one of them has failed."""


class PayloadError(RuntimeError):
    """A payload that failed; the message ends with the last lines it printed."""


class PayloadRunner(Protocol):
    """What runs payloads: this machine, or a cluster."""

    def run(
        self,
        context: dg.AssetExecutionContext,
        payload: str,
        spec: dict[str, Any],
        *,
        accelerate: str | None = None,
        needs: Compute = Compute(),  # noqa: B008  it never changes
    ) -> dict[str, Any]:
        """Run `mbt_assets.payloads.<payload>` on a spec and wait for it.

        Args:
            context: the asset's context; what the payload reports goes to its log.
            payload: module name below `mbt_assets.payloads`.
            spec: written to `<out_dir>.spec.json`; must hold `out_dir`.
            accelerate: an accelerate config to launch it with, a packaged one's name or a file: one process per GPU
                where it gets GPUs, otherwise as many as the file says; one plain process when None.
            needs: GPUs and the time that it may take; on a cluster, all that its pod is made of.

        Returns:
            What the payload wrote to `result.json` in its folder.

        Raises:
            PayloadError: it ended with another exit status than 0.
            ComputeError: there is no such accelerate config, or it is for one process and there are more GPUs.
        """
        ...


@dataclass(frozen=True)
class Rendezvous:
    """Where the processes of several machines find each other.

    Attributes:
        machines: how many.
        rank: of this machine, as the command line gets it.
        host: name of the first machine.
        port: on it.
    """

    machines: int = 1
    rank: str = "0"
    host: str = ""
    port: int = 0


ALONE = Rendezvous()


def write_spec(spec: dict[str, Any]) -> Path:
    """Write a payload's spec beside its folder, `<out_dir>.spec.json`."""
    out_dir = Path(spec["out_dir"])
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    file = out_dir.with_name(out_dir.name + ".spec.json")
    file.write_bytes(orjson.dumps(spec, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    return file


def result_of(spec: dict[str, Any]) -> dict[str, Any]:
    """What a payload wrote to `result.json` in its folder."""
    return orjson.loads((Path(spec["out_dir"]) / RESULT_FILE).read_bytes())


def guarded(
    python: str, spec: dict[str, Any], needs: Compute, parent: int | None = None, *, alone: bool = True
) -> list[str]:
    """The words before a program that end it with all that it started, and let one at a time work on its folder.

    Args:
        python: the interpreter.
        spec: the payload's.
        needs: says how long it may take.
        parent: the process whose end ends it; None where it is the first of a container.
        alone: whether it has the folder to itself; not where several machines work on it.
    """
    out_dir = Path(spec["out_dir"])
    # For a payload that still ends while the next one on the same folder starts.
    lock = out_dir.with_name(out_dir.name + ".lock")
    watched = [] if parent is None else ["--parent", str(parent)]
    locked = ["--lock", str(lock)] if alone else []
    options = [*watched, "--grace", str(GRACE_S), *locked, "--limit", str(needs.timeout_s)]
    return [python, "-m", "resources.guard", *options, "--"]


def launcher(python: str, config: Path | None, gpus: int, rendezvous: Rendezvous = ALONE) -> list[str]:
    """The words that launch a module, up to its name.

    Args:
        python: the interpreter.
        config: an accelerate config; None for one plain process.
        gpus: of one machine; one process each.
        rendezvous: where several machines meet.

    Raises:
        ComputeError: several machines without a config.
    """
    if config is None:
        if rendezvous.machines > 1:
            raise ComputeError("training on several nodes needs `accelerate: multi_gpu` or `fsdp` in its settings")
        return [python, "-m"]
    # Port 0 has the launcher take a free one: several may run at once.
    options = ["--config_file", str(config), "--num_machines", str(rendezvous.machines)]
    options += ["--main_process_port", str(rendezvous.port), "--quiet"]
    if rendezvous.machines > 1:
        options += ["--machine_rank", rendezvous.rank, "--main_process_ip", rendezvous.host, "--rdzv_backend", "static"]
    if gpus:
        options += ["--num_processes", str(gpus * rendezvous.machines)]
    return [python, "-m", "accelerate.commands.launch", *options, "-m"]


def refuse_one_process(config: Path, processes: int) -> None:
    """See that a config is for several processes where there are several GPUs.

    Raises:
        ComputeError: it is not.
    """
    settings = yaml.safe_load(config.read_text())
    # YAML reads a bare NO as false.
    if processes > 1 and isinstance(settings, dict) and settings.get("distributed_type") in ("NO", False):
        raise ComputeError(
            f"accelerate: {config} is for one process, and there are {processes} GPUs; take multi_gpu or fsdp"
        )


def end_of(said: Sequence[str], lines: int = 15) -> str:
    """The last lines that a payload printed, without what its launcher adds."""
    # What the launcher prints is long, and says nothing about why.
    gave_up = next((place for place, line in enumerate(said) if LAUNCHER_GAVE_UP in line), None)
    return "\n".join(said[:gave_up][-lines:]) or "(it printed nothing)"
