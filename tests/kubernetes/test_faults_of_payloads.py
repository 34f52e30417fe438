"""What becomes of a payload whose pod meets a fault: called from a real run, through Dagster's own Pipes client."""

import threading

import dagster as dg
import pytest
from cluster import REPO, StandIn
from dagster_on_cluster import cluster_file
from kubernetes import client
from processes import until

from partitions.study import Compute
from resources.k8s.cluster import load_cluster
from resources.k8s.compute import K8sCompute
from resources.launching import PayloadError

PAYLOAD = """
import argparse, json, os, sys, time
from pathlib import Path
from dagster_pipes import open_dagster_pipes
parser = argparse.ArgumentParser()
parser.add_argument("--spec")
spec = json.loads(Path(parser.parse_args().spec).read_text())
out = Path(spec["out_dir"])
out.mkdir(exist_ok=True)
if spec.get("dies_with"):
    sys.exit(spec["dies_with"])
with open_dagster_pipes() as pipes:
    (out / "checkpoint").open("a").write(os.environ["POD_NAME"] + "\\n")
    pipes.log.info("half way")
    starts = (out / "checkpoint").read_text().split()
    if len(starts) <= spec.get("waits", 0):
        time.sleep(600)
    pipes.log.info("goes on from a checkpoint of " + starts[0])
    (out / "result.json").write_text(json.dumps({"starts": starts}))
"""
CUDA = "RuntimeError: CUDA error: an illegal memory access was encountered"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("payloads")


@pytest.fixture(scope="module")
def shared(folder):
    """A stand-in cluster whose pods can run a payload of this file."""
    (folder / "payload_room").mkdir()
    (folder / "payload_room" / "work.py").write_text(PAYLOAD)
    with StandIn(folder, env={"PYTHONPATH": f"{folder}:{REPO}"}) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setattr("resources.k8s.compute.PAYLOADS", "payload_room")
        patch.setenv("MBT_CLUSTER", str(cluster_file(cluster, folder, env_secrets=[], start_timeout_s=60)))
        yield cluster


@pytest.fixture
def cluster(shared):
    """The same for all, with nothing left in it by any."""
    yield shared
    shared.missing_images.clear()
    shared.unavailable(0)
    assert until(lambda: not [one for kind in ("pods", "jobs", "leases") for one in shared.objects(kind)])
    assert shared.all_processes_gone()


@pytest.fixture
def run(folder, request):
    """Runs the payload from a real run: what it returned, and what the run's log says."""

    def run(spec=None, **needs):
        results = []

        @dg.asset
        def made(context: dg.AssetExecutionContext):
            out = folder / "out" / str(abs(hash(request.node.name)))
            compute = K8sCompute(load_cluster(), "small")
            results.append(compute.run(context, "work", {"out_dir": str(out), **(spec or {})}, needs=Compute(**needs)))
            return dg.MaterializeResult()

        with dg.DagsterInstance.ephemeral() as instance:
            run_id = dg.materialize([made], instance=instance).run_id
            return results[0], "\n".join(entry.user_message for entry in instance.all_logs(run_id))

    return run


def strike_half_way(cluster, strike, times=1):
    """Strike the next payload pods once they have said how far they are."""

    def struck(pod):
        name = pod["metadata"]["name"]
        if times > 1:
            strike_half_way(cluster, strike, times - 1)
        if until(lambda: "half way" in cluster.log(name)):
            strike(name)

    cluster.once(lambda pod: True, struck)


@pytest.mark.parametrize(
    ("fault", "said"),
    [("evict", "was taken away (Evicted: The node was low on resource: memory.)"), ("lose_node", "its pod is gone")],
)
def test_a_payload_that_is_taken_away_is_started_again_and_goes_on(cluster, run, fault, said):
    strike_half_way(cluster, getattr(cluster, fault))
    result, log = run({"waits": 1})
    assert len(set(result["starts"])) == 2
    assert said in log and "work is started again (2 of 4)" in log
    assert f"goes on from a checkpoint of {result['starts'][0]}" in log


def test_a_payload_that_is_taken_away_each_time_fails_in_the_end(cluster, run):
    strike_half_way(cluster, cluster.evict, times=4)
    with pytest.raises(PayloadError, match=r"pod \S+ on node stand-in-node was taken away"):
        run({"waits": 4})


def test_a_payload_that_needs_more_memory_is_not_started_again(cluster, run):
    strike_half_way(cluster, cluster.oom)
    with pytest.raises(PayloadError, match=r"for want of memory \(limit 7Gi\): raise compute.memory of its model"):
        run({"waits": 1}, memory="7Gi")


def test_a_missing_image_is_one_clear_error_at_once(cluster, run):
    cluster.missing_images.add("mbt-assets-train:absent")
    with pytest.raises(PayloadError, match=r"(?s)the image mbt-assets-train:absent cannot be pulled"):
        run(image="mbt-assets-train:absent")


def test_a_pod_that_the_cluster_refuses_is_one_clear_error_at_once(cluster, run):
    cluster.denied.add(("create", "pods"))
    before = len(cluster.requests)
    try:
        with pytest.raises(PayloadError, match=r"the cluster makes no pod of it \(403 Forbidden: pods is forbidden"):
            run()
    finally:
        cluster.denied.clear()
    assert [(one.verb, one.resource) for one in cluster.requests[before:]].count(("create", "pods")) == 1


def test_a_gpu_error_names_pod_and_node(cluster, run):
    said = r"(?s)pod \S+ on node stand-in-node ended with exit status 1; it met a GPU error.*CUDA error: an il"
    with pytest.raises(PayloadError, match=said):
        run({"dies_with": CUDA})


@pytest.mark.parametrize("what", ["", r"GET \S+/pods$"])
def test_an_api_server_that_is_away_for_a_moment_is_not_noticed(cluster, run, what):
    cluster.once(lambda pod: True, lambda pod: cluster.unavailable(3, what))
    result, log = run()
    assert len(result["starts"]) == 1
    assert "half way" in log


def test_a_step_that_is_killed_takes_its_payload_along(cluster, run, monkeypatch):
    # The pod of the step: what it makes belongs to it.
    core = client.CoreV1Api(cluster.client())
    container = {"name": "main", "image": "any", "command": ["sleep", "600"]}
    step = core.create_namespaced_pod("mbt", {"metadata": {"name": "step"}, "spec": {"containers": [container]}})
    monkeypatch.setenv("POD_NAME", "step")
    monkeypatch.setenv("POD_UID", step.metadata.uid)
    payload = threading.Event()

    def delete_step(pod):
        payload.set()
        core.delete_namespaced_pod("step", "mbt", grace_period_seconds=0)

    cluster.once(lambda pod: pod["metadata"]["name"] != "step", delete_step)
    with pytest.raises(PayloadError):
        run({"waits": 9})
    assert payload.is_set()
