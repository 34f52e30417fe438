"""Payloads as subprocesses of a real run: result, log, GPUs, and what is left when the run's process is killed."""

import json
import os
import subprocess
import sys
import time

import dagster as dg
import pytest
from processes import kill, marked, until

from partitions.study import Compute
from resources.accelerate_configs import ComputeError, config_file, packaged
from resources.compute import LocalCompute
from resources.gpus import GpuError, Gpus, Holder
from resources.launching import PayloadError, launcher

PAYLOAD = """
import argparse, json, os, subprocess, sys, time
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--spec")
spec = json.loads(Path(parser.parse_args().spec).read_text())
print("hello from the payload", flush=True)
if spec.get("status"):
    sys.exit(spec["status"])
if spec.get("sleep"):
    subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
    Path(spec["sleep"]).touch()
    time.sleep(600)
out = Path(spec["out_dir"])
out.mkdir()
(out / "result.json").write_text(json.dumps({"devices": os.environ.get("CUDA_VISIBLE_DEVICES")}))
"""
RUN = """
import json, sys
from pathlib import Path
import dagster as dg
import resources.compute
resources.compute.PAYLOADS = "payload_room"
folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
@dg.asset
def made(context: dg.AssetExecutionContext):
    resources.compute.LocalCompute(folder / "logs").run(context, "work", {"out_dir": str(folder / "out"), **options})
dg.materialize([made])
"""


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A folder from which payloads can be run."""
    (tmp_path / "payload_room").mkdir()
    (tmp_path / "payload_room" / "work.py").write_text(PAYLOAD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("resources.compute.PAYLOADS", "payload_room")
    return tmp_path


def run(room, gpus=0, accelerate=None, timeout_s=600, **spec):
    """What the payload returns, called from a real run."""
    results = []

    @dg.asset
    def made(context: dg.AssetExecutionContext):
        compute = LocalCompute(room / "logs")
        options = {"needs": Compute(gpus=gpus, timeout_s=timeout_s), "accelerate": accelerate}
        results.append(compute.run(context, "work", {"out_dir": str(room / "out"), **spec}, **options))
        return dg.MaterializeResult()

    dg.materialize([made], instance=dg.DagsterInstance.ephemeral())
    return results[0]


def test_a_payload_gets_gpus_to_itself_and_gives_them_back(room):
    with Gpus.of_machine().reserved(1, Holder("another"), print):
        assert run(room, gpus=2) == {"devices": "1,2"}
    Gpus.of_machine().take(4, Holder("all"), print).close()


def test_without_gpus_the_environment_stays(room):
    assert run(room) == {"devices": None}


def test_more_gpus_than_there_are_is_told(room):
    with pytest.raises(GpuError, match=r"work of out \(process \d+\) needs 5 GPUs and this machine has 4"):
        run(room, gpus=5)


def test_a_payload_that_fails_is_told_with_the_end_of_its_log(room):
    with pytest.raises(PayloadError, match=r"failed with code 3.*work-out\.log ends with:\nhello from the payload"):
        run(room, status=3)


def test_a_payload_that_takes_longer_than_its_model_allows_is_ended(room):
    there = room / "there"
    with pytest.raises(PayloadError, match=r"(?s)code 124.*ended: it took longer than 3 s"):
        run(room, sleep=str(there), timeout_s=3)


def test_a_failure_is_told_by_what_this_run_printed(room):
    (room / "logs").mkdir()
    (room / "logs" / "work-out.log").write_text("of another run\n")
    with pytest.raises(PayloadError) as failed:
        run(room, status=3)
    assert "of another run" not in str(failed.value)


@pytest.mark.parametrize("name", ["cpu", "single_gpu", "multi_gpu", "fsdp", "fsdp_qlora"])
def test_a_packaged_accelerate_config_is_one_that_accelerate_reads(name):
    pytest.importorskip("accelerate", reason="needs the train extra")
    from accelerate.commands.config.config_args import load_config_from_file

    assert name in packaged()
    assert load_config_from_file(str(config_file(name))).num_machines == 1


def test_an_accelerate_config_is_a_name_or_a_file(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("num_processes: 2\n")
    monkeypatch.chdir(tmp_path)
    assert config_file("mine.yaml") == config_file(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"
    with pytest.raises(ComputeError, match=r"'multi-gpu' is neither a packaged config \(cpu, fsdp, .*\) nor a file"):
        config_file("multi-gpu")


def test_an_unknown_accelerate_config_stops_before_anything_is_written(room):
    with pytest.raises(ComputeError, match="neither a packaged config"):
        run(room, accelerate="many_gpus")
    assert not (room / "out.spec.json").exists()


@pytest.mark.parametrize(("gpus", "processes"), [(0, None), (4, "4"), (1, "1")])
def test_the_launcher_is_told_how_many_processes_there_are(gpus, processes):
    words = launcher("python", config_file("multi_gpu"), gpus)
    assert words[words.index("--config_file") + 1] == str(config_file("multi_gpu"))
    assert words[words.index("--main_process_port") + 1] == "0"
    assert words[words.index("--num_machines") + 1] == "1"
    assert ("--num_processes" in words) == (processes is not None)
    assert processes is None or words[words.index("--num_processes") + 1] == processes
    assert words[-1] == "-m"


@pytest.mark.parametrize("name", ["cpu", "single_gpu"])
def test_a_config_for_one_process_and_several_gpus_do_not_go_together(room, name):
    with pytest.raises(ComputeError, match="is for one process, and there are 2 GPUs; take multi_gpu or fsdp"):
        run(room, gpus=2, accelerate=name)


def test_a_killed_run_leaves_no_payload(room, monkeypatch):
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("MBT_TEST_MARK", mark)
    there = room / "there"
    process = subprocess.Popen([sys.executable, "-c", RUN, str(room), json.dumps({"sleep": str(there)})])
    assert until(there.exists, 120)
    assert len(marked(mark)) >= 4
    kill(process.pid)
    process.wait()
    assert until(lambda: marked(mark) == {}), marked(mark)
