"""GPUs, driver, CUDA, disk and clock of this machine."""

from __future__ import annotations

import csv
import importlib.metadata
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import mbt_assets
from mbt_assets.doctor import Finding
from partitions.model_sources import VllmServer
from partitions.study import Study
from resources.gpus import gpus_of_server

GB = 10**9
TIMEOUT_S = 60
QUERY = ("--query-gpu=index,name,memory.total,driver_version", "--format=csv,noheader,nounits")
SKEW_WARNING_S, SKEW_FAULT_S = 30.0, 300.0
"""Signatures of S3 requests are refused when clocks differ by 15 minutes, some tokens by five."""


@dataclass(frozen=True)
class Driver:
    """What `nvidia-smi` tells.

    Attributes:
        gpus: name and memory of each GPU.
        version: of the driver.
        cuda: newest CUDA that the driver serves, as `12.8`; empty where it does not say.
    """

    gpus: list[str]
    version: str
    cuda: str


def ask_driver() -> Driver | str:
    """What the driver tells; why it cannot be asked otherwise."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "no nvidia-smi"
    try:
        listed = _run(program, *QUERY)
        shown = _run(program)
    except subprocess.CalledProcessError as error:
        return f"nvidia-smi fails: {' '.join((error.stdout + error.stderr).split())[:200]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi does not answer: {error}"
    rows = [[field.strip() for field in row] for row in csv.reader(listed.splitlines()) if len(row) == 4]
    cuda = re.search(r"CUDA(?: UMD)? Version: *([0-9.]+)", shown)
    gpus = [f"{name}, {_gigabytes(memory)}" for _, name, memory, _ in rows]
    return Driver(gpus, rows[0][3] if rows else "", cuda[1] if cuda else "")


def _gigabytes(mebibytes: str) -> str:
    # Parts of a GPU have no number here.
    return f"{int(mebibytes) / 1024:.0f} GiB" if mebibytes.isdecimal() else mebibytes


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout


def gpus_needed(study: Study) -> dict[str, int]:
    """How many GPUs each model of the study takes at once, where it takes any."""
    needs = {}
    for name, model in study.models.items():
        served = model.server.options if isinstance(model.server, VllmServer) else None
        count = model.compute.gpus if served is None else gpus_of_server(model.compute.gpus, served)
        if count:
            needs[name] = count
    return needs


def gpus(study: Study, on_cluster: bool) -> list[Finding]:
    """GPUs, driver and CUDA against what the study needs."""
    driver, needs = ask_driver(), gpus_needed(study)
    if on_cluster:
        return [Finding("GPUs", "ok", "those of the cluster; this machine's do not count")]
    most = max(needs.values(), default=0)
    if isinstance(driver, str) or not driver.gpus:
        found = driver if isinstance(driver, str) else "the driver lists no GPU"
        if not needs:
            return [Finding("GPUs", "ok", f"{found}; the study needs none")]
        advice = "use a machine with them and NVIDIA's driver, another study, or a cluster (MBT_CLUSTER)"
        return [Finding("GPUs", "fault", f"{found}; {', '.join(needs)} need up to {most}", advice)]
    shown = f"{len(driver.gpus)}: {'; '.join(dict.fromkeys(driver.gpus))}; driver {driver.version}"
    if len(driver.gpus) < most:
        short = ", ".join(name for name, count in needs.items() if count > len(driver.gpus))
        advice = f"{short} takes up to {most}: lower compute.gpus or the parallel sizes of its server, or use a cluster"
        return [Finding("GPUs", "fault", shown, advice)]
    return [Finding("GPUs", "ok", shown), cuda(driver)]


def cuda(driver: Driver) -> Finding:
    """The driver's CUDA against the one that torch brings."""
    wanted = _cuda_of_torch()
    if wanted == "cpu":
        return Finding("CUDA", "fault", "torch is the build for the CPU", "install the CUDA build of torch")
    if not wanted or not driver.cuda:
        return Finding("CUDA", "ok", f"driver up to {driver.cuda or 'unknown'}; torch brings {wanted or 'none'}")
    if int(driver.cuda.split(".")[0]) < int(wanted):
        advice = f"a newer driver, or a build of torch for CUDA {driver.cuda.split('.')[0]}"
        return Finding("CUDA", "fault", f"driver up to {driver.cuda}; torch brings {wanted}", advice)
    return Finding("CUDA", "ok", f"driver up to {driver.cuda}; torch brings {wanted}")


def _cuda_of_torch() -> str:
    """Major version of the CUDA that torch brings, `cpu` for a build without, empty where nobody says."""
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""
    if build := re.search(r"\+(cpu|cu([0-9]{2}))", version):
        return build[2] or "cpu"
    for name in ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12"):
        try:
            return importlib.metadata.version(name).split(".")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def disk(topic: str, place: Path, warn_gb: float = 20, fault_gb: float = 1) -> Finding:
    """Free space at a place.

    Args:
        topic: what lies there.
        place: need not be there yet.
        warn_gb: less is a warning.
        fault_gb: less is a fault.
    """
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    free = shutil.disk_usage(there).free / GB
    shown = f"{free:.1f} GB free at {there}"
    if free >= warn_gb:
        return Finding(topic, "ok", shown)
    advice = "free some, or move it to a larger disk (MBT_HOME, MBT_LAKE); `mbt instance prune` drops old logs"
    return Finding(topic, "fault" if free < fault_gb else "warning", shown, advice)


def clock(heard: dict[str, float], now: float | None = None) -> Finding:
    """The clock against those of servers, and against the files of this installation.

    Args:
        heard: what servers' clocks showed less what ours did, in seconds, by address.
        now: what ours shows, as seconds since 1970.
    """
    now = time.time() if now is None else now
    advice = "set the clock (NTP): signed requests are refused, and ages of runs and leases are wrong"
    if now < Path(mbt_assets.__file__).stat().st_mtime - SKEW_FAULT_S:
        return Finding("clock", "fault", "it shows a time before this installation was written", advice)
    if not heard:
        return Finding("clock", "ok", "nothing to compare it with: the study names no server that answers")
    where, off = max(heard.items(), key=lambda item: abs(item[1]))
    shown = f"{abs(off):.0f} s {'behind' if off > 0 else 'ahead of'} {where}"
    if abs(off) <= SKEW_WARNING_S:
        return Finding("clock", "ok", f"within {SKEW_WARNING_S:.0f} s of {len(heard)} servers")
    return Finding("clock", "fault" if abs(off) > SKEW_FAULT_S else "warning", shown, advice)
