"""Trainings as objects of Kubernetes: what the paper study's look like, on one node and on two; all are valid.

`MBT_RENEW=1 python -m pytest tests/kubernetes/test_payload_pods.py` writes the snapshot anew; look at its diff then.
"""

import os
from pathlib import Path

import pytest
import yaml
from manifests import validate

from partitions.study import Compute
from partitions.study_file import load_study
from resources.k8s.cluster import Cluster
from resources.k8s.study_objects import payload_pods

SNAPSHOT = Path(__file__).parent / "snapshots" / "trainings.yaml"


@pytest.fixture(scope="module")
def paper():
    return load_study("paper")


def on_two_nodes(study, name):
    """The study with one model that trains on two nodes of one rack."""
    spread = study.models[name].compute.model_copy(
        update={"nodes": 2, "topology_key": "topology.kubernetes.io/rack", "priority_class": "research"}
    )
    model = study.models[name].model_copy(update={"compute": spread})
    return study.model_copy(update={"models": {**study.models, name: model}})


def test_the_pods_of_a_long_named_study_have_legal_host_names(paper):
    long = on_two_nodes(paper, "qwen3-0.6b").model_copy(update={"name": "x" * 43})
    service, job, *_ = payload_pods(Cluster(), long, ["qwen3-0.6b"])
    assert service["metadata"]["name"] == job["metadata"]["name"]
    assert len(f"{job['metadata']['name']}-1") <= 63


def test_every_training_of_the_paper_is_a_valid_pod_with_four_gpus(paper):
    objects = payload_pods(Cluster(), paper, list(paper.models))
    assert [item["metadata"]["name"].split("-paper-")[0] for item in objects] == ["mbt-sft", "mbt-grpo"] * 3
    for item in objects:
        validate(item)
        container = item["spec"]["containers"][0]
        assert container["resources"]["limits"] == {"memory": "192Gi", "nvidia.com/gpu": "4"}
        assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
        words = container["command"]
        assert words[words.index("--num_processes") + 1] == "4"


def test_on_two_nodes_it_is_an_indexed_job_whose_pods_stay_in_one_rack(paper):
    objects = payload_pods(Cluster(), on_two_nodes(paper, "qwen3-4b"), ["qwen3-4b"])
    assert [item["kind"] for item in objects] == ["Service", "Job", "Service", "Job"]
    for item in objects:
        validate(item)
    job = objects[1]["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"], job["backoffLimit"]) == ("Indexed", 2, 2, 0)
    words = job["template"]["spec"]["containers"][0]["command"]
    assert words[words.index("--num_processes") + 1] == "8"
    assert words[words.index("--machine_rank") + 1] == "$(JOB_COMPLETION_INDEX)"


def test_the_papers_trainings_are_what_they_were(paper):
    objects = payload_pods(Cluster(), paper, ["qwen3-4b"])[:1]
    objects += payload_pods(Cluster(), on_two_nodes(paper, "qwen3-4b"), ["qwen3-4b"])[:2]
    text = yaml.safe_dump_all(objects, sort_keys=False)
    if os.environ.get("MBT_RENEW"):
        SNAPSHOT.write_text(text)
    assert list(yaml.safe_load_all(text)) == list(yaml.safe_load_all(SNAPSHOT.read_text()))


def test_a_model_that_is_not_trained_has_none(paper):
    assert payload_pods(Cluster(), paper, ["gpt-oss-120b", "gemma-4-31b-it"]) == []


def test_an_amount_that_kubernetes_would_refuse_is_refused_in_the_study():
    with pytest.raises(ValueError, match="memory"):
        Compute(memory="64 GB")
