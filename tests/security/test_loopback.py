"""Who can reach what the project starts: this machine, unless somebody says otherwise."""

import subprocess
import sys
import time

import psutil
import pytest

from partitions.study import Study
from partitions.study_file import load_study, packaged_studies
from resources.servers import vllm_command


def listening(process):
    """Addresses at which a process takes connections, as soon as there is one."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None
        found = psutil.Process(process.pid).net_connections("tcp")
        if addresses := {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}:
            return addresses
        time.sleep(0.05)
    raise AssertionError("it never listened")


@pytest.mark.parametrize("server", ["serve_rules", "serve_student"])
def test_a_model_server_listens_on_loopback_alone(server, tmp_path):
    command = [sys.executable, "-m", f"mbt_assets.payloads.{server}"]
    command += ["--root", str(tmp_path)] if server == "serve_student" else []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert listening(process) == {"127.0.0.1"}
    finally:
        process.kill()
        process.wait()


def vllm_models():
    """Models of the packaged studies that vLLM serves."""
    for name in packaged_studies():
        for key, model in load_study(name).models.items():
            if getattr(model.server, "kind", "") == "vllm":
                yield pytest.param(model, id=f"{name}:{key}")


@pytest.mark.parametrize("model", list(vllm_models()))
def test_vllm_is_told_to_listen_on_loopback_and_to_run_no_code_of_a_checkpoint(model):
    command = vllm_command("m", "hub://some/model@abc", model.server, 8000)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "--trust-remote-code" not in command


@pytest.mark.parametrize("name", packaged_studies())
def test_no_packaged_study_runs_code_of_a_checkpoint(name):
    study: Study = load_study(name)
    assert [key for key, model in study.models.items() if model.trust_remote_code] == []
