"""What pods look like: pure functions of the cluster file and a model's entry."""

import pytest
from pydantic import ValidationError

from partitions.study import Compute
from partitions.study_file import load_study
from resources.k8s.cluster import Cluster, ClusterError, load_cluster
from resources.k8s.pods import label_value, labels, object_name, owner, pod_spec, selector, together

CLUSTER = Cluster()


def main_of(pod):
    return pod["containers"][0]


def spec(gpus=0, cluster=CLUSTER, **needs):
    return pod_spec(cluster, Compute(**needs), image="train:1", command=["python", "-m", "work"], gpus=gpus)


def test_a_pod_with_gpus_gets_them_with_memory_and_a_shared_memory_of_its_own():
    pod = spec(gpus=4, memory="512Gi", shm="32Gi", cpu="48")
    assert main_of(pod)["resources"] == {
        "requests": {"cpu": "48", "memory": "512Gi", "nvidia.com/gpu": "4"},
        "limits": {"memory": "512Gi", "nvidia.com/gpu": "4"},
    }
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "32Gi"}} in pod["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in main_of(pod)["volumeMounts"]
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_a_pod_without_gpus_has_neither_shared_memory_nor_tolerations():
    pod = spec()
    assert main_of(pod)["resources"]["limits"] == {"memory": "4Gi"}
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp", "home", "models"]
    assert pod["tolerations"] == []


def test_type_of_node_priority_and_image_come_from_the_models_entry():
    taint = {"key": "spot", "operator": "Exists"}
    pod = spec(
        gpus=1,
        node_selector={"nvidia.com/gpu.product": "NVIDIA-H200"},
        tolerations=[taint],
        priority_class="research",
        image="mine:2",
    )
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H200"}
    assert pod["priorityClassName"] == "research"
    assert taint in pod["tolerations"]
    assert main_of(pod)["image"] == "mine:2"


def test_no_pod_has_rights():
    pod = spec(gpus=8)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 1000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert main_of(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_keys_come_from_secrets_by_reference():
    pod = spec()
    assert main_of(pod)["envFrom"] == [{"secretRef": {"name": "mbt-keys", "optional": True}}]


def test_homes_volume_is_mounted_where_every_pod_looks_for_it():
    container = main_of(spec())
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert (values["MBT_HOME"], values["HF_HOME"], values["HOME"]) == ("/mbt", "/models", "/tmp")
    assert {"name": "home", "mountPath": "/mbt"} in container["volumeMounts"]


def test_what_is_spread_over_nodes_stays_in_one_topology_domain():
    [term] = together(Compute(topology_key="rack"), {"a": "b"})["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term == {"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "rack"}
    assert together(Compute(), {"a": "b"}) == {}


def test_names_are_legal_and_do_not_collide():
    assert object_name("mbt", "paper", "qwen3-4b") == "mbt-paper-qwen3-4b"
    odd = {object_name("mbt", "qwen3-0.6b"), object_name("mbt", "qwen3-0-6b"), object_name("mbt", "Qwen3-0.6B")}
    assert len(odd) == 3
    assert len(object_name("mbt", "x" * 100)) <= 63
    assert label_value("trails|tiny__base") == "trails-tiny__base"
    assert len(label_value("x" * 100)) <= 63


def test_objects_are_found_by_what_they_are_labelled_with():
    found = labels(CLUSTER, "paper", "payload", mbt__call="c1")
    assert all(f"{name}={found[name]}" for name in found)
    wanted = set(selector(component="payload", study="paper", mbt__call="c1").split(","))
    assert wanted <= {f"{name}={value}" for name, value in found.items()}


def test_a_pod_that_knows_itself_owns_what_it_makes(monkeypatch):
    monkeypatch.delenv("POD_NAME", raising=False)
    assert owner() == []
    monkeypatch.setenv("POD_NAME", "step-1")
    monkeypatch.setenv("POD_UID", "u-1")
    assert owner() == [{"apiVersion": "v1", "kind": "Pod", "name": "step-1", "uid": "u-1"}]


def test_without_a_cluster_file_everything_runs_here(monkeypatch):
    monkeypatch.delenv("MBT_CLUSTER", raising=False)
    assert load_cluster() is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("namespase: x", "namespase: Extra inputs are not permitted"),
        ("steps: {memory: a lot}", "steps.memory: String should match pattern"),
        ("{", "is no YAML"),
    ],
)
def test_a_wrong_cluster_file_is_told(tmp_path, monkeypatch, text, told):
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    monkeypatch.setenv("MBT_CLUSTER", str(file))
    with pytest.raises(ClusterError, match=told) as error:
        load_cluster()
    assert str(file) in str(error.value)


def test_a_cluster_file_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MBT_CLUSTER", str(tmp_path / "none.yaml"))
    with pytest.raises(ClusterError, match=r"MBT_CLUSTER: .*none.yaml cannot be read"):
        load_cluster()


@pytest.mark.parametrize("amount", ["16", "0.5", "500m", "2k", "1.5G", "64Ki", "64Gi"])
def test_an_amount_is_written_as_kubernetes_does(amount):
    assert Compute(memory=amount).memory == amount


@pytest.mark.parametrize("amount", ["", "Gi", "64ki", "64gb", "64 Gi", "-1"])
def test_an_amount_that_kubernetes_would_refuse_is_refused(amount):
    with pytest.raises(ValidationError, match="memory"):
        Compute(memory=amount)


def test_what_a_model_needs_of_a_cluster_changes_none_of_its_rows():
    from mbt_assets.recipes import recipe
    from partitions.grid import Grid

    study = load_study("paper")
    needs = {"memory": "1Ti", "replicas": 3, "image": "x:1", "node_selector": {"gpu": "h200"}}
    models = {
        name: model.model_copy(update={"compute": model.compute.model_copy(update=needs)})
        for name, model in study.models.items()
    }
    changed = study.model_copy(update={"models": models})
    assert all(recipe(study, node) == recipe(changed, node) for node in Grid(study).nodes)
