"""Python and packages: whether they are those that the project is written for."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mbt_assets.doctor import Finding
from partitions.model_sources import VllmServer
from partitions.study import Study

PROJECT = "mbt-assets"
USED_EXTRAS = ("train", "plots", "quantize", "tensorboard", "s3", "postgres", "gpu")
"""Extras whose packages the project imports itself; vllm stands in an environment of its own."""
OPTIONAL = {
    "torch": "training and the embedded server need it: pip install -e .[train]",
    "flash-attn": "training works without it, in more time and memory: pip install -e .[gpu] on a machine with CUDA",
    "liger-kernel": "training works without it, in more memory: pip install -e .[gpu] on a machine with CUDA",
}


def python_version(running: str | None = None) -> Finding:
    """The interpreter against what the project asks for.

    Args:
        running: its version; that of this process when None.
    """
    running = running or platform.python_version()
    asked = importlib.metadata.metadata(PROJECT)["Requires-Python"]
    if running in SpecifierSet(asked):
        return Finding("Python", "ok", running)
    return Finding("Python", "fault", running, f"use Python {asked}")


def packages(requirements: list[str] | None = None) -> list[Finding]:
    """Installed packages against the project's pins.

    Args:
        requirements: as in the metadata of a distribution; those of the project when None.
    """
    wanted = requirements if requirements is not None else importlib.metadata.requires(PROJECT) or []
    faults = [fault for line in wanted for fault in _mismatch(Requirement(line))]
    return faults or [Finding("packages", "ok", f"{len(wanted)} requirements looked at")]


def _mismatch(wanted: Requirement) -> Iterator[Finding]:
    needed = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
    used = needed or any(wanted.marker.evaluate({"extra": extra}) for extra in USED_EXTRAS if wanted.marker)
    if not used:
        return
    advice = f"pip install '{wanted.name}{wanted.specifier}', or ./mbt, which installs all of it"
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        if needed:
            yield Finding(wanted.name, "fault", "not installed", advice)
        return
    if not wanted.specifier.contains(version, prereleases=True):
        yield Finding(wanted.name, "fault", f"{version}, and {wanted.specifier} is asked for", advice)


def optional_packages(names: dict[str, str] | None = None) -> list[Finding]:
    """Which packages that one can do without are there, and what it means that they are not.

    Args:
        names: what it means, by distribution.
    """
    findings = []
    for name, meaning in (names or OPTIONAL).items():
        try:
            findings.append(Finding(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            state = "warning" if name == "torch" else "ok"
            findings.append(Finding(name, state, "not installed", meaning))  # type: ignore[arg-type]
    return findings


def vllm_program(study: Study, on_cluster: bool) -> Finding:
    """Whether `vllm` is on the PATH where the study has models that this machine serves by it."""
    served = [name for name, model in study.models.items() if isinstance(model.server, VllmServer)]
    found = shutil.which("vllm")
    if found:
        return Finding("vllm", "ok", found)
    if on_cluster or not served:
        return Finding(
            "vllm", "ok", "not on the PATH; pods serve" if on_cluster else "not installed; no model needs it"
        )
    advice = "install .[vllm] into an environment of its own and put its `vllm` on the PATH"
    return Finding("vllm", "fault", f"not on the PATH; it serves {', '.join(served)}", advice)
