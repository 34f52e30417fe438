"""deploy/helm/values.yaml: keys that the chart has, settings that Dagster takes, pods that Kubernetes lets in."""

import copy
import importlib

import dagster as dg
import kubernetes
import pytest
import yaml
from cluster import StandIn
from dagster._config import validate_config
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.storage.dagster_run import DagsterRun
from dagster_chart import container_context, dagster_yaml, pods
from dagster_chart_keys import faults
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from manifests import DEPLOY, KUSTOMIZE, by_name, loose_ends, rendered, validate

from mbt_assets.cli.instance import ready_home
from resources.home import Home
from resources.k8s import execution
from resources.k8s.cluster import load_cluster
from resources.k8s.run_launcher import RunLauncher

VALUES = yaml.safe_load((DEPLOY / "helm/values.yaml").read_text())
LAUNCHER = VALUES["runLauncher"]["config"]["customRunLauncher"]
SETTINGS = ("runLauncher", "config", "customRunLauncher", "config")
IMAGE = "mbt-assets-control:0.1.0"


def test_every_key_is_one_of_the_chart():
    assert faults(VALUES) == []


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("dagsterDaemon", "runMonitor"), {}, "values.dagsterDaemon has no key runMonitor"),
        (("dagsterDaemon", "runRetries", "maxRetries"), "2", "values.dagsterDaemon.runRetries.maxRetries is no int"),
        (("runLauncher", "type"), "Launcher", "values.runLauncher.type is none of ['CustomRunLauncher']"),
        ((*SETTINGS, "jobNamespace"), "mbt", "config has no key jobNamespace"),
        ((*SETTINGS, "security_context"), {"privilege": True}, "is no SecurityContext"),
        ((*SETTINGS, "volumes"), [{"name": "study", "configMaps": {}}], "is no Volume"),
        (("dagsterWebserver", "securityContext"), {"capability": {}}, "is no SecurityContext"),
        (("dagsterWebserver", "startupProbe"), {"enabled": True, "delay": 1}, "is no Probe"),
    ],
)
def test_a_key_that_the_chart_has_not_would_be_found(place, value, said):
    values = copy.deepcopy(VALUES)
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    (fault,) = faults(values)
    assert said in fault


def test_no_secret_is_in_it_and_the_password_is_named_only():
    text = (DEPLOY / "helm/values.yaml").read_text()
    assert VALUES["postgresql"]["postgresqlPassword"] == "" and not VALUES["generatePostgresqlPasswordSecret"]
    assert VALUES["global"]["postgresqlSecretName"] == "mbt-postgres"
    assert "sk-" not in text and "hf_" not in text


def test_nothing_is_offered_outside_the_cluster():
    assert VALUES["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    assert VALUES["ingress"] == {"enabled": False}


def test_it_names_objects_that_the_manifests_make():
    objects = by_name(rendered(KUSTOMIZE / "overlays/trial"))
    code = VALUES["dagster-user-deployments"]
    run_account = LAUNCHER["config"]["service_account_name"]
    for account in (VALUES["serviceAccount"]["name"], code["serviceAccount"]["name"], run_account):
        assert ("ServiceAccount", account) in objects
    assert ("Service", VALUES["postgresql"]["postgresqlHost"]) in objects
    claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in code["deployments"][0]["volumes"]]
    maps = [volume.get("configMap", {}).get("name") for volume in code["deployments"][0]["volumes"]]
    assert {("PersistentVolumeClaim", name) for name in claims if name} <= set(objects)
    # The chart itself makes the other one.
    assert {name for name in maps if name} == {"mbt-study", "dagster-instance"}


@pytest.mark.parametrize("name", ["webserver", "daemon", "code"])
def test_no_pod_of_the_chart_is_loose(name):
    spec = pods(VALUES)[name]
    assert loose_ends(spec) == []
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


@pytest.mark.parametrize("name", ["run_storage", "event_log_storage", "schedule_storage"])
def test_dagster_takes_the_settings_of_its_database(name):
    storage = dagster_yaml(VALUES)[name]
    taken = getattr(importlib.import_module(storage["module"]), storage["class"]).config_type()
    assert validate_config(taken, storage["config"]).success


def test_the_launcher_names_what_the_chart_makes_for_this_release_and_namespace():
    (namespace,) = {one["metadata"]["name"] for one in rendered(KUSTOMIZE / "base") if one["kind"] == "Namespace"}
    assert LAUNCHER["config"]["job_namespace"] == namespace
    assert LAUNCHER["config"]["instance_config_map"] == "dagster-instance"
    assert LAUNCHER["config"]["dagster_home"] == VALUES["global"]["dagsterHome"]
    assert LAUNCHER["config"]["postgres_password_secret"] == VALUES["global"]["postgresqlSecretName"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with StandIn(tmp_path_factory.mktemp("cluster")) as cluster:
        # What pods would do is of no interest here.
        cluster.missing_images.add(IMAGE)
        yield cluster


@pytest.fixture(scope="module")
def instance(cluster, tmp_path_factory):
    """The instance that the values describe, but for its database and for the way to the cluster."""
    settings = dagster_yaml(VALUES)
    settings = {name: part for name, part in settings.items() if not name.endswith("_storage")}
    settings["run_launcher"]["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(cluster.kubeconfig)}
    home = tmp_path_factory.mktemp("home")
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def test_dagster_loads_the_launcher_and_takes_it_for_its_own(instance):
    assert type(instance.run_launcher) is RunLauncher
    # Only with such a one does `k8s_job_executor` give steps the volumes and variables of runs.
    assert isinstance(instance.run_launcher, K8sRunLauncher)
    assert instance.run_launcher.supports_check_run_worker_health and instance.run_launcher.supports_resume_run


def test_the_settings_mean_what_they_say(instance):
    concurrency = instance.get_concurrency_config()
    assert concurrency.pool_config.default_pool_limit == 8
    assert concurrency.pool_config.pool_granularity.value == "run"
    assert concurrency.run_queue_config.max_concurrent_runs == 20
    assert instance.run_monitoring_enabled and instance.run_monitoring_max_resume_run_attempts == 3
    assert instance.run_retries_enabled and instance.run_retries_max_retries == 2
    assert not instance.telemetry_enabled
    log = instance.compute_log_manager.get_captured_local_path(["run", "compute_logs", "step"], "err")
    assert log == "/mbt/step-logs/run/compute_logs/step.err"


@pytest.fixture(scope="module")
def launched(cluster, instance):
    """The Jobs of a run and of its step, as the launcher and the executor make them."""
    run = DagsterRun(job_name="score_cell", job_code_origin=origin_of_a_job())
    instance.add_run(run)
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    (job,) = [one for one in cluster.created if one["kind"] == "Job"]
    return {"run": job, "step": step_job(instance.run_launcher, run)}


def origin_of_a_job():
    """Where the code of a run comes from, as the code server says it."""
    repository = RepositoryPythonOrigin(
        executable_path="/opt/venv/bin/python",
        code_pointer=ModuleCodePointer("mbt_assets.definitions", "defs", None),
        container_image=IMAGE,
        container_context=container_context(VALUES),
    )
    return JobPythonOrigin(job_name="score_cell", repository_origin=repository)


def step_job(launcher, run):
    """The Job of a step, put together in the order of `K8sStepHandler`: run, executor, tags of the op."""
    cluster = load_cluster(KUSTOMIZE / "base/cluster.yaml")
    settings = execution.executor_of(cluster, "embedded").config_schema.resolve_config({"config": {}}).value["config"]
    tags = execution.step_tags(cluster, "validation_rollouts")[execution.K8S_CONFIG]
    context = K8sContainerContext.create_for_run(run, launcher, include_run_tags=False)
    for config in (settings["step_k8s_config"], tags):
        context = context.merge(K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(config)))
    job = construct_dagster_k8s_job(
        job_config=context.get_k8s_job_config(IMAGE, launcher),
        args=["dagster", "api", "execute_step"],
        job_name="dagster-step-1",
        component="step_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    return kubernetes.client.ApiClient().sanitize_for_serialization(job)


@pytest.mark.parametrize("which", ["run", "step"])
def test_the_pods_of_runs_and_steps_are_let_in(launched, which):
    job = launched[which]
    validate(job)
    spec = job["spec"]["template"]["spec"]
    assert loose_ends(spec) == []
    names = [volume["name"] for volume in spec["volumes"]]
    assert sorted(names) == ["dagster-home", "dagster-instance", "home", "models", "study", "tmp"]
    mounts = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    assert sorted(mounts) == sorted(set(mounts)) and "/etc/mbt" in mounts


@pytest.mark.parametrize("which", ["run", "step"])
def test_runs_and_steps_know_study_cluster_and_their_own_name_and_may_make_pods(launched, which):
    spec = launched[which]["spec"]["template"]["spec"]
    container = spec["containers"][0]
    env = {one["name"]: one.get("value") or one["valueFrom"] for one in container["env"]}
    assert env["MBT_CLUSTER"] == "/etc/mbt/cluster.yaml" and env["MBT_STUDY"] == "/etc/mbt/study.yaml"
    assert env["POD_UID"] == {"fieldRef": {"fieldPath": "metadata.uid"}}
    assert {"name": "mbt-keys", "optional": True} in [one.get("secretRef") for one in container["envFrom"]]
    assert spec["serviceAccountName"] == "mbt-dagster"
    assert container["image"] == IMAGE


def test_a_step_gets_the_memory_of_the_cluster_file_and_a_run_that_of_the_values(launched):
    limits = {
        which: job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
        for which, job in launched.items()
    }
    assert limits == {"run": "4Gi", "step": "2Gi"}


def test_the_network_policies_know_the_pods_of_runs_and_steps(launched):
    policy = by_name(rendered(KUSTOMIZE / "base"))["NetworkPolicy", "mbt-servers"]
    (peer,) = policy["spec"]["ingress"][0]["from"]
    (term,) = peer["podSelector"]["matchExpressions"]
    for job in launched.values():
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "mbt" and labels[term["key"]] in term["values"]


def test_the_command_line_in_a_pod_takes_the_instance_that_the_chart_has_mounted(tmp_path, monkeypatch):
    home = Home(tmp_path / "mbt", "embedded")
    mounted = tmp_path / "dagster_home"
    mounted.mkdir()
    (mounted / "dagster.yaml").write_text("telemetry: {enabled: false}")
    monkeypatch.setenv("DAGSTER_HOME", str(mounted))
    monkeypatch.delenv("MBT_POSTGRES", raising=False)
    assert ready_home(home) == home.dagster
    monkeypatch.setenv("DAGSTER_HOME", str(mounted))
    monkeypatch.setenv("MBT_CLUSTER", "/etc/mbt/cluster.yaml")
    assert ready_home(home) == mounted
