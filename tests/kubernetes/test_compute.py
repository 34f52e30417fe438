"""Payloads as pods of the stand-in cluster, called from a real run, by Dagster's own Pipes client."""

import contextlib
import json
import threading

import dagster as dg
import pytest
from cluster import REPO, StandIn
from dagster_on_cluster import cluster_file
from kubernetes.client import CoreV1Api
from processes import until

from partitions.study import Compute
from resources.accelerate_configs import ComputeError
from resources.k8s.cluster import load_cluster
from resources.k8s.compute import K8sCompute
from resources.k8s.orphans import remove_ownerless
from resources.launching import PayloadError

PAYLOAD = """
import argparse, json, os, sys, time
from pathlib import Path
from dagster_pipes import open_dagster_pipes
parser = argparse.ArgumentParser()
parser.add_argument("--spec")
spec = json.loads(Path(parser.parse_args().spec).read_text())
print("hello from the payload", flush=True)
if spec.get("print"):
    print(spec["print"], flush=True)
rank = os.environ.get("JOB_COMPLETION_INDEX", "0")
if rank == spec.get("bad_rank"):
    sys.exit("rank " + rank + " fell over")
if spec.get("status"):
    sys.exit(spec["status"])
if spec.get("sleep") and not Path(spec["sleep"]).exists():
    Path(spec["sleep"]).touch()
    time.sleep(600)
if spec.get("bad_rank"):
    time.sleep(600)
out = Path(spec["out_dir"])
out.mkdir(exist_ok=True)
with open_dagster_pipes() as pipes:
    pipes.log.info("reported by rank " + rank)
(out / f"rank-{rank}.json").write_text(json.dumps(sys.argv))
if rank == "0":
    (out / "result.json").write_text(json.dumps({"pod": os.environ["POD_NAME"], "cwd": os.getcwd()}))
"""
LAUNCH = """
import json, os, sys
from pathlib import Path
said = Path(os.environ["SAID"] + "-" + os.environ.get("JOB_COMPLETION_INDEX", "0"))
said.write_text(json.dumps(sys.argv[1:]))
module = sys.argv.index("-m") + 1
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[module:]])
"""


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A stand-in cluster whose pods can run a payload module of this test."""
    (tmp_path / "payload_room").mkdir()
    (tmp_path / "payload_room" / "work.py").write_text(PAYLOAD)
    monkeypatch.setattr("resources.k8s.compute.PAYLOADS", "payload_room")
    # Stands for accelerate's launcher: what it was told is looked at, and the module runs without torch.
    (tmp_path / "accelerate" / "commands").mkdir(parents=True)
    (tmp_path / "accelerate" / "__init__.py").touch()
    (tmp_path / "accelerate" / "commands" / "launch.py").write_text(LAUNCH)
    env = {"PYTHONPATH": f"{tmp_path}:{REPO}", "SAID": str(tmp_path / "said")}
    with StandIn(tmp_path, env=env) as cluster:
        monkeypatch.setenv("MBT_CLUSTER", str(cluster_file(cluster, tmp_path, env_secrets=[])))
        yield cluster, tmp_path


def run(room, accelerate=None, spec=None, **needs):
    """What the payload returns, called from a real run, and the lines of the run's log."""
    _, folder = room
    results = []

    @dg.asset
    def made(context: dg.AssetExecutionContext):
        compute = K8sCompute(load_cluster(), "small")
        made_of = {"out_dir": str(folder / "out"), **(spec or {})}
        results.append(compute.run(context, "work", made_of, accelerate=accelerate, needs=Compute(**needs)))
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        run_id = dg.materialize([made], instance=instance).run_id
        return results[0], [entry.user_message for entry in instance.all_logs(run_id)]


def left(cluster):
    return [item["metadata"]["name"] for kind in ("pods", "jobs", "services") for item in cluster.objects(kind)]


def test_a_payload_runs_in_a_pod_and_reports_to_the_run(room):
    cluster, _ = room
    result, log = run(room)
    [pod] = [item for item in cluster.created if item["kind"] == "Pod"]
    assert result["pod"] == pod["metadata"]["name"]
    assert any("reported by rank 0" in line for line in log)
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "payload"
    assert left(cluster) == []


def test_a_payload_that_fails_is_told_with_pod_node_and_the_end_of_its_log(room):
    cluster, _ = room
    with pytest.raises(PayloadError, match=r"(?s)pod dagster-\S+ on node \S+ ended with exit status 3.*hello from"):
        run(room, spec={"status": 3})
    assert left(cluster) == []


def test_a_payload_that_takes_longer_than_its_model_allows_is_ended(room):
    cluster, folder = room
    with pytest.raises(PayloadError, match=r"took too long: raise compute\.timeout_s of its model"):
        run(room, spec={"sleep": str(folder / "there")}, timeout_s=4)
    assert left(cluster) == []
    assert cluster.all_processes_gone()


def test_a_payload_left_over_from_a_killed_step_makes_way_for_the_next(room):
    cluster, folder = room
    there = folder / "there"
    with pytest.MonkeyPatch.context() as patch:
        # The first step dies without a word: what removes its pod never runs.
        patch.setattr("resources.k8s.compute.remove", lambda core, pod: None)
        threading.Thread(target=lambda: _quietly(room, there), daemon=True).start()
        assert until(there.exists, 60)
        [left_over] = cluster.pods()
    result, log = run(room, spec={"sleep": str(there)})
    assert result["pod"] != left_over["metadata"]["name"]
    assert any("for a step that is gone: it is removed" in line for line in log)
    assert until(lambda: left(cluster) == [], 30)


def _quietly(room, there):
    with contextlib.suppress(Exception):
        run(room, spec={"sleep": str(there)})


def test_the_pods_of_steps_that_have_ended_are_removed(room):
    cluster, _ = room
    core = CoreV1Api(cluster.client())

    def pod(name, command, **meta):
        main = {"name": "main", "image": "x", "command": command}
        labels = {"app.kubernetes.io/part-of": "mbt", "app.kubernetes.io/component": "payload"}
        body = {"metadata": {"name": name, "labels": labels, **meta}, "spec": {"containers": [main]}}
        return core.create_namespaced_pod("mbt", body | {"spec": {**body["spec"], "restartPolicy": "Never"}})

    steps = {name: pod(name, command) for name, command in (("dead", ["false"]), ("alive", ["sleep", "600"]))}
    for name, step in steps.items():
        owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": step.metadata.uid}
        pod(f"of-{name}", ["sleep", "600"], ownerReferences=[owner])
    assert until(lambda: cluster.pod("dead")["status"]["phase"] == "Failed", 30)
    assert remove_ownerless(core, load_cluster()) == ["of-dead"]
    assert until(lambda: sorted(left(cluster)) == ["alive", "dead", "of-alive"], 30)


def test_training_on_several_nodes_is_a_job_whose_pods_meet_at_the_first(room):
    cluster, folder = room
    _, log = run(room, accelerate="multi_gpu", nodes=2, gpus=4)
    [job] = [item for item in cluster.created if item["kind"] == "Job"]
    name = job["metadata"]["name"]
    for rank in ("0", "1"):
        words = json.loads((folder / f"said-{rank}").read_text())
        told = {word: words[place + 1] for place, word in enumerate(words[:-1]) if word.startswith("--")}
        assert told["--machine_rank"] == rank
        assert (told["--num_machines"], told["--num_processes"]) == ("2", "8")
        assert told["--main_process_ip"] == f"{name}-0.{name}.mbt.svc"
    assert [line for line in log if "reported by rank" in line] == ["reported by rank 0"]
    assert left(cluster) == []


def test_when_one_node_fails_all_are_ended_and_that_one_is_told(room):
    cluster, _ = room
    with pytest.raises(PayloadError, match=r"(?s)-1\S* on node \S+ ended with exit status 1.*rank 1 fell over"):
        run(room, accelerate="multi_gpu", nodes=2, gpus=1, spec={"bad_rank": "1"})
    assert until(lambda: left(cluster) == [], 30)
    assert cluster.all_processes_gone()


@pytest.mark.parametrize(
    ("resource", "needs"),
    [("pods", {}), *((one, {"accelerate": "multi_gpu", "nodes": 2, "gpus": 1}) for one in ("services", "jobs"))],
)
def test_an_object_that_was_made_and_not_answered_for_is_no_failure(room, resource, needs):
    cluster, _ = room
    cluster.lose_answer(resource)
    run(room, **needs)
    assert until(lambda: left(cluster) == [], 30)


def test_several_nodes_need_a_config_that_spreads_training(room):
    with pytest.raises(ComputeError, match="training on several nodes needs `accelerate: multi_gpu`"):
        run(room, nodes=2)
    with pytest.raises(ComputeError, match="is for one process, and there are 2 GPUs"):
        run(room, accelerate="single_gpu", nodes=2, gpus=1)
