"""The stand-in cluster itself, asked by the real client: what the other tests here take for granted."""

import re
import time

import pytest
from cluster import StandIn
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException
from processes import until

STAMPED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (.*)")


def pod_spec(script, **more):
    container = {"name": "main", "image": "any:1", "command": ["python", "-c", script], **more.pop("container", {})}
    return {"restartPolicy": "Never", "containers": [container], **more}


def pod(name, script, labels=None, **more):
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": pod_spec(script, **more)}


def job(name, script, **spec):
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(script)}
    return {"metadata": {"name": name}, "spec": {"backoffLimit": 0, **spec, "template": template}}


SERVER = """
import http.server, os
http.server.HTTPServer((os.environ["POD_IP"], 8000), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def deployment(name, replicas):
    env = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    probe = {"httpGet": {"path": "/", "port": 8000}}
    spec = pod_spec(SERVER, container={"env": env, "readinessProbe": probe}, restartPolicy="Always")
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    selector = {"matchLabels": {"app": name}}
    return {"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": selector, "template": template}}


@pytest.fixture
def core(cluster):
    return client.CoreV1Api(cluster.client())


@pytest.fixture
def batch(cluster):
    return client.BatchV1Api(cluster.client())


@pytest.fixture
def apps(cluster):
    return client.AppsV1Api(cluster.client())


def phase(core, name):
    return core.read_namespaced_pod(name, "mbt").status.phase


def ended(core, name):
    assert until(lambda: phase(core, name) in ("Succeeded", "Failed"))
    return core.read_namespaced_pod(name, "mbt").status


def last_phase(core, name, since):
    """The phase of a pod as the watch told it when the pod was taken away."""
    options = {"resource_version": since, "timeout_seconds": 120}
    for event in watch.Watch().stream(core.list_namespaced_pod, "mbt", **options):
        if (event["type"], event["object"].metadata.name) == ("DELETED", name):
            return event["object"].status.phase
    return None


def log(core, name, **options):
    return core.read_namespaced_pod_log(name, "mbt", _preload_content=False, **options).data.decode()


def test_a_pod_runs_as_a_process_and_its_log_carries_times(cluster, core):
    script = "import sys; print('to one'); print('to the other', file=sys.stderr); print('é' * 100_000)"
    core.create_namespaced_pod("mbt", pod("one", script))
    followed = log(core, "one", follow=True, timestamps=True) if until(lambda: phase(core, "one") != "Pending") else ""
    assert ended(core, "one").container_statuses[0].state.terminated.exit_code == 0
    lines = [STAMPED.fullmatch(line)[1] for line in followed.splitlines()]
    assert lines == ["to one", "to the other", "é" * 100_000]
    assert log(core, "one", tail_lines=1) == "é" * 100_000 + "\n"


def test_a_pods_environment_comes_from_values_fields_secrets_and_config_maps(cluster, core):
    core.create_namespaced_secret("mbt", {"metadata": {"name": "keys"}, "stringData": {"KEY": "s3cret"}})
    core.create_namespaced_config_map("mbt", {"metadata": {"name": "plain"}, "data": {"STUDY": "paper"}})
    env = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "ONE", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "KEY"}}},
        {"name": "URL", "value": "http://$(POD_IP):80/$(ABSENT)"},
    ]
    sources = [{"secretRef": {"name": "keys"}}, {"configMapRef": {"name": "plain"}}]
    script = "import os, sys; e = os.environ; print(*map(e.get, 'KEY ONE STUDY URL HOSTNAME'.split()), sys.argv[1])"
    container = {"env": env, "envFrom": sources, "args": ["at $(POD_IP)"]}
    core.create_namespaced_pod("mbt", pod("one", script, container=container))
    address = ended(core, "one").pod_ip
    assert log(core, "one") == f"s3cret s3cret paper http://{address}:80/$(ABSENT) one at {address}\n"
    core.create_namespaced_pod("mbt", pod("two", "", container={"envFrom": [{"secretRef": {"name": "none"}}]}))
    assert until(lambda: _waits_for(core, "two") == "CreateContainerConfigError")


def _waits_for(core, name):
    statuses = core.read_namespaced_pod(name, "mbt").status.container_statuses
    return statuses and statuses[0].state.waiting and statuses[0].state.waiting.reason


def test_what_the_api_refuses(cluster, core):
    core.create_namespaced_pod("mbt", pod("one", ""))
    for refused, status in (
        (lambda: core.create_namespaced_pod("mbt", pod("one", "")), 409),
        (lambda: core.read_namespaced_pod("two", "mbt"), 404),
        (lambda: core.create_namespaced_pod("mbt", pod("Not_a_name", "")), 422),
        (lambda: core.create_namespaced_pod("mbt", pod("x", "", labels={"app": "x" * 64})), 422),
    ):
        with pytest.raises(ApiException) as caught:
            refused()
        assert caught.value.status == status
    cluster.unavailable(1)
    with pytest.raises(ApiException, match="503"):
        core.list_namespaced_pod("mbt")
    cluster.denied.add(("delete", "pods"))
    with pytest.raises(ApiException, match="forbidden"):
        core.delete_namespaced_pod("one", "mbt")
    assert core.list_namespaced_pod("mbt").items


def test_a_version_that_is_not_the_newest_is_not_replaced(cluster, core):
    core.create_namespaced_config_map("mbt", {"metadata": {"name": "one"}, "data": {"a": "1", "b": "1"}})
    old = core.read_namespaced_config_map("one", "mbt")
    patched = core.patch_namespaced_config_map("one", "mbt", {"data": {"a": "2", "b": None}})
    assert patched.data == {"a": "2"}
    with pytest.raises(ApiException) as caught:
        core.replace_namespaced_config_map("one", "mbt", old)
    assert caught.value.status == 409
    core.replace_namespaced_config_map("one", "mbt", {**patched.to_dict(), "data": {"a": "3"}})


def test_a_job_fails_with_its_pod_as_often_as_it_may(cluster, core, batch):
    batch.create_namespaced_job("mbt", job("twice", "raise SystemExit(3)", backoffLimit=1))
    assert until(lambda: batch.read_namespaced_job_status("twice", "mbt").status.conditions)
    status = batch.read_namespaced_job_status("twice", "mbt").status
    assert (status.failed, status.succeeded, status.conditions[0].reason) == (2, None, "BackoffLimitExceeded")
    codes = [one.status.container_statuses[0].state.terminated.exit_code for one in _of_job(core, "twice")]
    assert codes == [3, 3]


def _of_job(core, name):
    return core.list_namespaced_pod("mbt", label_selector=f"job-name in ({name})").items


def test_an_indexed_job_tells_each_pod_its_index(cluster, core, batch):
    script = "import os; print('I am', os.environ['JOB_COMPLETION_INDEX'], os.environ['HOSTNAME'])"
    spec = {"completionMode": "Indexed", "completions": 3, "parallelism": 2}
    batch.create_namespaced_job("mbt", job("many", script, **spec))
    assert until(lambda: batch.read_namespaced_job_status("many", "mbt").status.succeeded == 3)
    said = sorted(log(core, one.metadata.name).strip() for one in _of_job(core, "many"))
    assert said == [f"I am {index} many-{index}" for index in range(3)]


def test_a_job_has_a_deadline(cluster, batch):
    batch.create_namespaced_job("mbt", job("slow", "import time; time.sleep(60)", activeDeadlineSeconds=1))
    assert until(lambda: batch.read_namespaced_job_status("slow", "mbt").status.conditions)
    assert batch.read_namespaced_job_status("slow", "mbt").status.conditions[0].reason == "DeadlineExceeded"
    assert cluster.all_processes_gone()


def test_a_deployment_gets_ready_replaces_the_evicted_and_is_scaled_to_zero(cluster, core, apps):
    apps.create_namespaced_deployment("mbt", deployment("server", 2))
    assert until(lambda: apps.read_namespaced_deployment("server", "mbt").status.ready_replicas == 2)
    pods = cluster.pods(app="server")
    assert len({one["status"]["podIP"] for one in pods}) == 2
    cluster.evict(pods[0]["metadata"]["name"])
    assert until(lambda: len(cluster.pods("app=server")) == 3)
    assert until(lambda: apps.read_namespaced_deployment("server", "mbt").status.ready_replicas == 2)
    apps.patch_namespaced_deployment_scale("server", "mbt", {"spec": {"replicas": 0}})
    assert cluster.all_processes_gone()
    assert until(lambda: apps.read_namespaced_deployment("server", "mbt").status.ready_replicas is None)


def test_a_stateful_sets_pods_have_ordinal_names(cluster, apps):
    body = deployment("node", 2)
    apps.create_namespaced_stateful_set("mbt", {**body, "spec": {**body["spec"], "serviceName": "node"}})
    assert until(lambda: apps.read_namespaced_stateful_set("node", "mbt").status.ready_replicas == 2)
    assert sorted(one["metadata"]["name"] for one in cluster.pods(app="node")) == ["node-0", "node-1"]


def test_deletion_takes_processes_and_dependents(cluster, core, batch):
    slow = "import subprocess, sys; subprocess.run(['sleep', '60'], start_new_session=True)"
    core.create_namespaced_pod("mbt", pod("owner", slow))
    assert until(lambda: phase(core, "owner") == "Running")
    uid = core.read_namespaced_pod("owner", "mbt").metadata.uid
    dependent = job("dependent", slow)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "owner", "uid": uid}
    dependent["metadata"]["ownerReferences"] = [owner]
    batch.create_namespaced_job("mbt", dependent)
    assert until(lambda: len(cluster.processes()) == 4)
    core.delete_namespaced_pod("owner", "mbt", grace_period_seconds=1)
    assert until(lambda: not cluster.pods()), (cluster.pods(), cluster.objects("jobs"))
    assert not cluster.objects("jobs") and cluster.all_processes_gone()


def test_a_job_deleted_without_a_word_on_it_leaves_its_pods(cluster, batch):
    batch.create_namespaced_job("mbt", job("left", "import time; time.sleep(60)"))
    assert until(lambda: len(cluster.processes()) == 1)
    batch.delete_namespaced_job("left", "mbt")
    time.sleep(0.3)
    assert len(cluster.pods(app="left")) == 1


def test_a_watch_tells_of_every_change(cluster, core):
    core.create_namespaced_pod("mbt", pod("other", "", labels={"app": "other"}))
    started, seen = [], []
    cluster.once(lambda pod: pod["metadata"]["name"] == "one", lambda pod: started.append(pod["metadata"]["name"]))
    since = core.list_namespaced_pod("mbt").metadata.resource_version
    core.create_namespaced_pod("mbt", pod("one", "", labels={"app": "one"}))
    options = {"label_selector": "app=one", "resource_version": since, "timeout_seconds": 120}
    for event in watch.Watch().stream(core.list_namespaced_pod, "mbt", **options):
        change = (event["type"], event["object"].status.phase)
        if change == ("MODIFIED", "Succeeded") and change not in seen:
            core.delete_namespaced_pod("one", "mbt")
        if change not in seen:
            seen.append(change)
        if change[0] == "DELETED":
            break
    phases = [("MODIFIED", phase) for phase in ("Pending", "Running", "Succeeded")]
    assert seen == [("ADDED", "Pending"), *phases, ("DELETED", "Succeeded")]
    assert started == ["one"]


def test_the_ways_in_which_pods_fail(cluster, core):
    cluster.missing_images.add("absent:1")
    slow = "import time; time.sleep(60)"
    core.create_namespaced_pod("mbt", pod("absent", slow, container={"image": "absent:1"}))
    for name in ("evicted", "lost", "oom"):
        core.create_namespaced_pod("mbt", pod(name, slow))
        assert until(lambda name=name: phase(core, name) == "Running")
    cluster.evict("evicted")
    cluster.oom("oom")
    since = core.list_namespaced_pod("mbt").metadata.resource_version
    cluster.lose_node("lost")
    status = ended(core, "evicted")
    assert (status.reason, status.container_statuses[0].state.terminated.exit_code) == ("Evicted", 137)
    assert ended(core, "oom").container_statuses[0].state.terminated.reason == "OOMKilled"
    assert until(lambda: cluster.pod("lost") is None)
    assert last_phase(core, "lost", since) == "Running"
    assert until(lambda: _waits_for(core, "absent") == "ImagePullBackOff")
    cluster.missing_images.clear()
    assert until(lambda: phase(core, "absent") == "Running")


def test_pods_wait_for_gpus(tmp_path):
    with StandIn(tmp_path, gpus=4) as cluster:
        core = client.CoreV1Api(cluster.client())
        wants = {"container": {"resources": {"limits": {"nvidia.com/gpu": "4"}}}}
        core.create_namespaced_pod("mbt", pod("first", "import time; time.sleep(60)", **wants))
        assert until(lambda: phase(core, "first") == "Running")
        core.create_namespaced_pod("mbt", pod("second", "", **wants))
        assert until(lambda: core.read_namespaced_pod("second", "mbt").status.conditions)
        assert core.read_namespaced_pod("second", "mbt").status.conditions[0].reason == "Unschedulable"
        core.delete_namespaced_pod("first", "mbt", grace_period_seconds=0)
        ended(core, "second")
    assert not cluster.processes()
