"""Model servers as objects of Kubernetes: what the paper study's look like, that all are valid, and their names.

`MBT_RENEW=1 python -m pytest tests/kubernetes/test_server_objects.py` writes the snapshot anew; look at its diff then.
"""

import os
import re
from pathlib import Path

import pytest
import yaml
from manifests import loose_ends, pod_specs, validate
from typer.testing import CliRunner

from mbt_assets.cli.main import app
from partitions.study import split_variant
from partitions.study_file import load_study
from resources.home import Home
from resources.k8s.cluster import Cluster, ClusterError, Images, Storage
from resources.k8s.server_objects import server_of

SNAPSHOT = Path(__file__).parent / "snapshots" / "servers.yaml"
LEGAL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
HUB = "hub://owner/name@0123abc"
NO_CLAIMS = Storage(home_claim=None, models_claim=None)


@pytest.fixture(scope="module")
def paper():
    return load_study("paper")


def changed(model, options=None, **compute):
    """A model of which some options of its server and some of its needs differ."""
    server = model.server.model_copy(update={"options": {**model.server.options, **(options or {})}})
    return model.model_copy(update={"server": server, "compute": model.compute.model_copy(update=compute)})


def rendered(model, name="gpt-oss-120b", cluster=None, uri=HUB, digest="d" * 64, study="paper"):
    cluster = cluster or Cluster()
    return server_of(cluster, Home(Path(cluster.storage.home_path), study), name, model, uri, digest)


def container(server):
    return server.workload["spec"]["template"]["spec"]["containers"][0]


def pod(server):
    return server.workload["spec"]["template"]["spec"]


def test_the_teacher_gets_four_gpus_shared_memory_and_time_to_start(paper):
    model = paper.models["gpt-oss-120b"]
    server = rendered(model)
    one = container(server)
    assert one["resources"]["limits"] == {"memory": "256Gi", "nvidia.com/gpu": "4"}
    assert one["resources"]["requests"]["nvidia.com/gpu"] == "4"
    assert " ".join(one["command"]).endswith("--tensor-parallel-size 4")
    assert {"name": "shm", "mountPath": "/dev/shm"} in one["volumeMounts"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "32Gi"}} in pod(server)["volumes"]
    startup, ready = one["startupProbe"], one["readinessProbe"]
    assert startup["httpGet"] == ready["httpGet"] == {"path": "/health", "port": 8000}
    assert startup["periodSeconds"] * startup["failureThreshold"] == model.server.startup_timeout_s
    assert server.workload["spec"]["replicas"] == server.replicas == server.copies == 1
    # It reads checkpoints, and has no business writing any.
    assert {"name": "home", "mountPath": "/mbt", "readOnly": True} in one["volumeMounts"]


def test_what_the_entry_asks_of_the_cluster_reaches_the_pod(paper):
    asked = {
        "replicas": 3,
        "memory": "200Gi",
        "shm": "32Gi",
        "node_selector": {"gpu": "h200"},
        "priority_class": "soon",
        "tolerations": [{"key": "team", "operator": "Exists"}],
        "image": "payloads:1",
    }
    server = rendered(changed(paper.models["gpt-oss-120b"], **asked))
    assert server.workload["spec"]["replicas"] == server.copies == 3
    assert container(server)["resources"]["limits"]["memory"] == "200Gi"
    assert pod(server)["nodeSelector"] == {"gpu": "h200"}
    assert pod(server)["priorityClassName"] == "soon"
    assert {"key": "team", "operator": "Exists"} in pod(server)["tolerations"]
    # Training and serving need different versions of torch: the entry's image is that of its payloads.
    assert container(server)["image"] == Images().serve
    model = paper.models["gpt-oss-120b"]
    own = model.model_copy(update={"server": model.server.model_copy(update={"image": "vllm:x"})})
    assert container(rendered(own))["image"] == "vllm:x"


def test_a_server_that_takes_the_gpus_of_two_nodes_is_a_stateful_set_whose_first_pod_answers(paper):
    model = changed(paper.models["gpt-oss-120b"], {"pipeline_parallel_size": 2}, topology_key="zone")
    server = rendered(model)
    assert server.kind == "StatefulSet"
    assert (server.replicas, server.copies) == (2, 1)
    assert server.answering["apps.kubernetes.io/pod-index"] == "0"
    assert server.workload["spec"]["podManagementPolicy"] == "Parallel"
    assert container(server)["resources"]["limits"]["nvidia.com/gpu"] == "4"
    words = container(server)["command"]
    assert words[words.index("--nnodes") + 1] == "2"
    assert words[words.index("--master-addr") + 1] == f"{server.name}-0.{server.name}"
    assert server.service["spec"]["clusterIP"] == "None"
    assert server.service["spec"]["publishNotReadyAddresses"] is True
    (term,) = pod(server)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term == {"labelSelector": {"matchLabels": server.pods}, "topologyKey": "zone"}


def test_data_parallel_size_counts_and_gpus_that_do_not_divide_are_refused(paper):
    model = paper.models["gpt-oss-120b"]
    assert rendered(changed(model, {"data_parallel_size": 4}, gpus=8)).replicas == 2
    assert rendered(changed(model, {"pipeline_parallel_size": 2}, gpus=0)).kind == "Deployment"
    assert rendered(changed(model, gpus=8)).kind == "Deployment"
    with pytest.raises(ClusterError, match=r"models.gpt-oss-120b: .* need 4 GPUs, which pods of 3 do not make up"):
        rendered(changed(model, gpus=3))
    with pytest.raises(ClusterError, match=r"compute.replicas is 2, .* data_parallel_size"):
        rendered(changed(model, {"pipeline_parallel_size": 2}, replicas=2))


def test_an_embedded_server_listens_on_its_pod_s_address_and_serves_all_that_ask(small_study):
    teacher = rendered(small_study.models["rule-teacher"], "rule-teacher", digest="a", uri="", study="small")
    judge = rendered(small_study.models["rule-judge"], "rule-judge", digest="b", uri="", study="small")
    assert teacher.workload == judge.workload
    assert (teacher.answers_as, judge.answers_as) == ("rule-teacher", "rule-judge")
    command = container(teacher)["command"]
    assert " ".join(command) == "python -m mbt_assets.payloads.serve_rules --host $(POD_IP) --port 8000"
    assert container(teacher)["image"] == Images().train
    student = rendered(small_study.models["tiny"], "tiny", uri="/mbt/checkpoints/tiny/one", study="small")
    other = rendered(small_study.models["tiny"], "tiny", uri="/mbt/checkpoints/tiny/two", digest="e", study="small")
    assert student.name == other.name
    assert student.answers_as == "tiny/one"


def test_every_object_is_valid_for_kubernetes_and_its_pods_have_no_rights(paper, small_study):
    model = paper.models["gpt-oss-120b"]
    spread = changed(model, {"pipeline_parallel_size": 2}, topology_key="zone")
    full = changed(model, shm="1Gi", node_selector={"a": "b"}, priority_class="p", replicas=2)
    servers = [rendered(one) for one in (model, spread, full)]
    servers += [rendered(one, name) for name, one in paper.models.items()]
    servers += [rendered(model, cluster=Cluster(storage=NO_CLAIMS, images=Images(pull_secrets=["registry"])))]
    servers += [rendered(small_study.models["rule-judge"], "rule-judge", uri="", study="small")]
    for server in servers:
        for manifest in (server.workload, server.service):
            validate(manifest)
        assert [loose_ends(spec) for _, spec in pod_specs([server.workload])] == [[]]


def test_names_are_legal_and_tell_apart_all_checkpoints_of_all_studies(paper):
    names = set()
    for study in ("paper", "Paper study (second try)", "x" * 80):
        for slug in paper.variants:
            model = split_variant(slug)[0]
            names.add(rendered(paper.models[model], model, digest=slug, study=study).name)
    assert len(names) == 3 * len(paper.variants)
    # The pods of a StatefulSet and the leases of a server add to its name.
    assert all(LEGAL.fullmatch(name) and len(name) <= 52 for name in names)


def test_another_flag_image_or_checkpoint_is_another_server_and_more_copies_are_the_same(paper):
    model = paper.models["gpt-oss-120b"]
    name = rendered(model).name
    assert rendered(model).name == name
    assert rendered(model, digest="e" * 64).name != name
    assert rendered(changed(model, {"max_model_len": 1024})).name != name
    assert rendered(model, cluster=Cluster(images=Images(serve="other:1"))).name != name
    assert rendered(changed(model, replicas=2)).name == name


def test_the_servers_of_the_paper_are_as_they_were_reviewed(paper):
    teacher, judge = paper.models["gpt-oss-120b"], paper.models["gemma-4-31b-it"]
    servers = [
        rendered(teacher),
        rendered(judge, "gemma-4-31b-it"),
        rendered(changed(teacher, {"pipeline_parallel_size": 2}, topology_key="topology.kubernetes.io/zone")),
    ]
    manifests = [manifest for server in servers for manifest in (server.workload, server.service)]
    if os.environ.get("MBT_RENEW"):
        SNAPSHOT.write_text(yaml.dump_all(manifests, Dumper=NoAliases, sort_keys=False))
    assert list(yaml.safe_load_all(SNAPSHOT.read_text())) == manifests


class NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def test_render_prints_what_a_study_would_make(monkeypatch, tmp_path):
    monkeypatch.delenv("MBT_CLUSTER", raising=False)
    printed = CliRunner().invoke(app, ["cluster", "render", "--study", "paper", "--model", "gpt-oss-120b"])
    assert printed.exit_code == 0
    assert "&id" not in printed.stdout
    service, deployment = yaml.safe_load_all(printed.stdout)
    assert (service["kind"], deployment["kind"]) == ("Service", "Deployment")
    assert deployment["metadata"]["namespace"] == "mbt"
    (tmp_path / "cluster.yaml").write_text("namespace: research\n")
    monkeypatch.setenv("MBT_CLUSTER", str(tmp_path / "cluster.yaml"))
    everything = CliRunner().invoke(app, ["cluster", "render", "--study", "paper"])
    objects = list(yaml.safe_load_all(everything.stdout))
    # Five servers with a Service each, and two trainings of each of three students.
    assert len(objects) == 16
    assert {one["metadata"]["namespace"] for one in objects} == {"research"}
    missing = CliRunner().invoke(app, ["cluster", "render", "--study", "paper", "--model", "nobody"])
    assert isinstance(missing.exception, ClusterError)
    assert "no model 'nobody' in paper; there are: qwen3-0.6b" in str(missing.exception)
