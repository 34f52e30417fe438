"""A Dagster instance whose runs go to a stand-in cluster: dagster.yaml as there, and launching by the CLI."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import yaml
from kubernetes.client import CoreV1Api

from partitions.grid import split_key
from resources.k8s.cluster import Cluster
from resources.k8s.pods import own_name_env

IMAGE = "mbt-assets-control:test"
ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def cluster_file(cluster, folder, **settings):
    """A cluster file for the stand-in: quick to look, no volumes, since all its pods see the same files."""
    path = Path(folder) / "cluster.yaml"
    content = {
        "namespace": cluster.namespace,
        "kubeconfig": str(cluster.kubeconfig),
        "storage": {"home_claim": None, "models_claim": None},
        "poll_s": 0.2,
        "patience_s": 0.5,
        **settings,
    }
    Cluster.model_validate(content)
    path.write_text(yaml.safe_dump(content))
    return path


def make_secret(cluster, name, values):
    """A Kubernetes secret."""
    body = {"metadata": {"name": name}, "stringData": values}
    CoreV1Api(cluster.client()).create_namespaced_secret(cluster.namespace, body)


def launcher_settings(cluster, dagster_home, env):
    """`run_launcher` of dagster.yaml."""
    config = {
        "service_account_name": "mbt-dagster",
        "job_image": IMAGE,
        "image_pull_policy": "IfNotPresent",
        "instance_config_map": "dagster-instance",
        "dagster_home": str(dagster_home),
        "load_incluster_config": False,
        "kubeconfig_file": str(cluster.kubeconfig),
        "job_namespace": cluster.namespace,
        "env_vars": [f"{name}={value}" for name, value in env.items()],
        "env_secrets": ["mbt-keys"],
        "run_k8s_config": {"container_config": {"env": own_name_env()}},
        "fail_pod_on_run_failure": False,
    }
    return {"module": "resources.k8s.run_launcher", "class": "RunLauncher", "config": config}


def write_instance(cluster, dagster_home, env, **settings):
    """Write a dagster.yaml that launches runs on the stand-in."""
    dagster_home.mkdir(parents=True, exist_ok=True)
    content = {
        "telemetry": {"enabled": False},
        # Without the daemon that a queue of runs needs.
        "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
        "run_launcher": launcher_settings(cluster, dagster_home, env),
        **settings,
    }
    (dagster_home / "dagster.yaml").write_text(yaml.safe_dump(content))


def partition_tags(key):
    """The tags by which Dagster knows the partition of a run."""
    tags = {"dagster/partition": key}
    if "|" in key:
        dataset, variant = split_key(key)
        tags |= {"dagster/partition/dataset": dataset, "dagster/partition/variant": variant}
    return tags


def launch(job, key, module="mbt_assets.definitions", **tags):
    """Launch a job for one partition as a person would, from the command line; its run id."""
    command = [sys.executable, "-m", "dagster", "job", "launch", "-m", module, "-j", job]
    told = json.dumps({**(partition_tags(key) if key else {}), **tags})
    before = {run.run_id for run in runs()}
    done = subprocess.run([*command, "--tags", told], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-3000:]
    return next(run.run_id for run in runs() if run.run_id not in before)


def runs():
    with dg.DagsterInstance.get() as instance:
        return instance.get_runs()


def ended(run_id, cluster, seconds=600):
    """A run once it has ended."""
    deadline = time.monotonic() + seconds
    with dg.DagsterInstance.get() as instance:
        while time.monotonic() < deadline:
            run = instance.get_run_by_id(run_id)
            if run.status in ENDED:
                return run
            time.sleep(0.2)
    pods = {pod["metadata"]["name"]: pod["status"] for pod in cluster.pods()}
    said = "\n".join(events_of(run_id)[-5:])
    raise AssertionError(f"{run.job_name} is {run.status} after {seconds} s\n{said}\n{pods}\n{cluster.logs[-3000:]}")


def events_of(run_id):
    """What a run said, as text."""
    with dg.DagsterInstance.get() as instance:
        return [entry.user_message or entry.message for entry in instance.all_logs(run_id)]
