"""Renews `deploy/images/requirements-*.txt`: exact versions and hashes of all that the images install.

    pip install uv
    python deploy/images/lock.py [build] [control] [train] [serve] [nvcc] [flash-attn]

To be run after `pyproject.toml` or `constraints.txt` has changed. It resolves for the Python and the C library of the
images, whatever it runs on, and asks PyPI and nothing else, whatever mirrors are set up: a mirror's own builds have
other hashes. What is pinned in a file stays, as far as it may; delete the file to have everything chosen anew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import tomllib
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
INDEX = "https://pypi.org/simple"
HEADER = "# Written by deploy/images/lock.py; do not edit.\n"
IMAGE = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_36", "--only-binary", ":all:"]
"""Debian 12, which the base images are, has glibc 2.36."""
OPTIONS = ["--quiet", "--no-config", "--no-header", "--no-annotate", "--generate-hashes", "--default-index", INDEX]
FLASH_ATTN = "2.8.3.post2"
NVCC = "cuda-toolkit[crt,cccl,cudart,nvcc,nvvm]==13.0.3.0"
"""The CUDA compiler of the release that torch's wheels are made with."""
OVERRIDES = ["certifi>=2026.6"]
"""vllm 0.33.0 asks for certifi of 2026-10-19; the newest on PyPI, when this was written, was of the day before."""


def resolved(output: Path, requirements: list[str], *, pinned: bool) -> None:
    """Resolve requirements and write them with the hashes of their files.

    Args:
        output: the file; versions that it has already are kept where they fit.
        requirements: what is asked for.
        pinned: take the versions of constraints.txt.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    with tempfile.TemporaryDirectory() as folder:
        asked, overrides = Path(folder) / "asked.in", Path(folder) / "overrides.txt"
        asked.write_text("\n".join(requirements))
        overrides.write_text("\n".join(OVERRIDES))
        chosen = ["-c", str(ROOT / "constraints.txt")] if pinned else ["--override", str(overrides)]
        command = ["uv", "pip", "compile", *OPTIONS, *IMAGE, *chosen, "-o", str(output), str(asked)]
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    output.write_text(HEADER + output.read_text().removeprefix(HEADER))


def of_source(output: Path, name: str, version: str) -> None:
    """Lock one package that is built from source, which uv would have to build to read what it needs."""
    request = urllib.request.Request(f"{INDEX}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        files = {file["filename"]: file["hashes"]["sha256"] for file in json.load(reply)["files"]}
    digest = files[f"{name.replace('-', '_')}-{version}.tar.gz"]
    output.write_text(f"{HEADER}{name}=={version} \\\n    --hash=sha256:{digest}\n")


def of_project(*extras: str) -> list[str]:
    """What the project requires, with some extras."""
    return read_project()["dependencies"] + [requirement for extra in extras for requirement in of_extra(extra)]


def of_extra(extra: str) -> list[str]:
    """What one extra requires, without the project itself."""
    return read_project()["optional-dependencies"][extra]


def read_project() -> dict:
    """The table `project` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lock(name: str) -> Path:
    """Renew one file."""
    output = HERE / f"requirements-{name}.txt"
    if name == "flash-attn":
        of_source(output, name, FLASH_ATTN)
    elif name == "build":
        resolved(output, ["setuptools>=77", "wheel"], pinned=False)
    elif name == "nvcc":
        resolved(output, [NVCC, "ninja"], pinned=False)
    elif name == "serve":
        resolved(output, of_extra("vllm"), pinned=False)
    elif name == "control":
        resolved(output, of_project("s3", "postgres"), pinned=True)
    else:
        # einops is what flash-attn needs, and Liger is one wheel for every GPU.
        liger = [requirement for requirement in of_extra("gpu") if requirement.startswith("liger")]
        resolved(output, [*of_project("train", "quantize", "s3"), *liger, "einops"], pinned=True)
    return output


def main() -> None:
    """Entry point."""
    names = ["build", "control", "train", "serve", "nvcc", "flash-attn"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(names)}; all when none is named")
    chosen = parser.parse_args().names or names
    if unknown := set(chosen) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    for name in chosen:
        output = lock(name)
        print(f"{output.relative_to(ROOT)}: {output.read_text().count('==')} packages")


if __name__ == "__main__":
    main()
