import os

import pytest
from processes import StandIn, until

from resources.leases import stop
from resources.server_files import kept_servers


@pytest.fixture(autouse=True)
def own_gpus(tmp_path, monkeypatch):
    """Four GPUs that no other test, and nobody else on this machine, has."""
    monkeypatch.setenv("MBT_GPU_LOCKS", str(tmp_path / "gpus"))
    monkeypatch.setenv("MBT_GPUS", "4")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """A stand-in for `vllm`, the first on the PATH."""
    stand_in = StandIn(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{stand_in.folder}{os.pathsep}{os.environ['PATH']}")
    return stand_in


@pytest.fixture
def folder(tmp_path):
    """A `servers` folder whose servers are stopped at the end."""
    folder = tmp_path / "test" / "servers"
    yield folder
    found = kept_servers(folder)
    for files, record in found:
        stop(files, record)
    assert until(lambda: not any(files.is_kept() for files, _ in found), 30)
