"""`mbt servers` over real servers, as a user meets it."""

import json
import os
import subprocess
import sys

import pytest
from processes import StandIn, lives, until

from resources.home import Home
from resources.keeper import PORT
from resources.leases import Lease, ServerSpec
from resources.server_files import kept_servers


def mbt_servers(home, *arguments):
    env = {**os.environ, "MBT_HOME": str(home.root)}
    command = [sys.executable, "-m", "mbt_assets.cli.main", "servers", "--study", "paper", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)


@pytest.fixture
def running(tmp_path, monkeypatch):
    """A home with a used and an unused server."""
    monkeypatch.setenv("MBT_GPU_LOCKS", str(tmp_path / "gpus"))
    monkeypatch.setenv("MBT_GPUS", "2")
    home = Home(tmp_path, "paper")
    program = str(StandIn(tmp_path / "bin").program)
    leases = [
        Lease(
            home.servers,
            ServerSpec(name, (program, "--port", PORT), home.logs / name, (name,), idle_timeout_s=600, gpus=1),
        )
        for name in ("qwen3-4b", "gemma")
    ]
    for lease in leases:
        lease.url(print)
    leases[1].release()
    [(idle, _)] = [pair for pair in kept_servers(home.servers) if pair[1].name == "gemma"]
    assert until(lambda: idle.read().idle_since is not None)
    yield home
    leases[0].release()
    mbt_servers(home, "--stop")


def test_a_home_without_servers(tmp_path):
    result = mbt_servers(Home(tmp_path, "paper"))
    assert result.returncode == 0
    assert "study paper: 0 model servers" in result.stdout
    assert mbt_servers(Home(tmp_path, "paper"), "--json").stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_what_runs_is_shown_and_stopped(running):
    rows = {row["name"]: row for row in json.loads(mbt_servers(running, "--json").stdout)}
    assert [rows[name]["leases"] for name in ("qwen3-4b", "gemma")] == [1, 0]
    assert rows["qwen3-4b"]["idle_seconds"] is None
    assert 0 <= rows["gemma"]["idle_seconds"] < 300
    assert sorted(rows["qwen3-4b"]["gpus"] + rows["gemma"]["gpus"]) == ["0", "1"]
    shown = mbt_servers(running).stdout
    for row in rows.values():
        assert row["url"] in shown
        assert str(row["pid"]) in shown
    result = mbt_servers(running, "--stop")
    assert (result.returncode, result.stderr.strip()) == (0, "2 model servers stopped")
    assert not any(lives(row["pid"]) for row in rows.values())
    assert kept_servers(running.servers) == []
