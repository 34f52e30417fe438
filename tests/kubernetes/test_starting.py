"""Pods that have trouble with their start: what passes is waited for, what does not is told."""

import dagster as dg
import pytest
from kubernetes.client import CoreV1Api
from processes import until

from resources.k8s.client import connect
from resources.k8s.cluster import Cluster, ClusterError
from resources.k8s.run_launcher import RunLauncher
from resources.k8s.starting import PodNeverRan, wait_until_started
from resources.run_tags import MADE_BY_TAG


@pytest.fixture
def here(cluster):
    settings = Cluster(kubeconfig=str(cluster.kubeconfig), poll_s=0.05, patience_s=30)
    connect(settings)
    return settings, CoreV1Api(cluster.client())


def make_pod(core, image):
    main = {"name": "main", "image": image, "command": ["sleep", "600"]}
    core.create_namespaced_pod("mbt", {"metadata": {"name": "one"}, "spec": {"containers": [main]}})


def test_an_image_that_cannot_be_pulled_for_a_moment_is_waited_for(cluster, here):
    settings, core = here
    cluster.missing_images.add("slow:1")
    make_pod(core, "slow:1")
    told = []

    def say(line):
        told.append(line)
        if "ImagePullBackOff" in line:
            cluster.missing_images.clear()

    wait_until_started(core, settings, "one", say)
    assert any("cannot be pulled" in line for line in told)
    assert cluster.pod("one")["status"]["phase"] == "Running"


def test_one_that_stays_away_is_told(cluster, here):
    settings, core = here
    cluster.missing_images.add("absent:1")
    make_pod(core, "absent:1")
    with pytest.raises(PodNeverRan, match=r"pod one: the image absent:1 cannot be pulled"):
        wait_until_started(core, settings.model_copy(update={"patience_s": 0.3}), "one", print)


def test_a_pod_that_works_for_another_namespace_than_its_own_is_refused(cluster, here, tmp_path, monkeypatch):
    settings, _ = here
    (tmp_path / "namespace").write_text("elsewhere\n")
    monkeypatch.setattr("resources.k8s.client.OWN_NAMESPACE", tmp_path / "namespace")
    with pytest.raises(ClusterError, match="the cluster file says namespace mbt, and this pod is in elsewhere"):
        connect(settings)


@pytest.fixture
def launcher(cluster):
    """An instance with the project's run launcher, and the launcher."""
    config = {
        "service_account_name": "mbt-dagster",
        "job_image": "control:1",
        "instance_config_map": "dagster-instance",
        "dagster_home": str(cluster.folder),
        "load_incluster_config": False,
        "kubeconfig_file": str(cluster.kubeconfig),
        "job_namespace": "mbt",
    }
    settings = {"module": "resources.k8s.run_launcher", "class": "RunLauncher", "config": config}
    with dg.DagsterInstance.local_temp(str(cluster.folder), overrides={"run_launcher": settings}) as instance:
        assert isinstance(instance.run_launcher, RunLauncher)
        yield instance


def under_way(instance, **tags):
    return instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)


@dg.op
def nothing():
    pass


@dg.job
def job():
    nothing()


def test_a_run_in_a_pod_of_another_runs_step_is_well_as_long_as_that_one_goes_on(launcher):
    maker = under_way(launcher)
    part = under_way(launcher, **{MADE_BY_TAG: maker.run_id})
    assert launcher.run_launcher.check_run_worker_health(part).status.value == "RUNNING"
    # One that should have a pod of its own, and has none.
    assert launcher.run_launcher.check_run_worker_health(maker).status.value == "UNKNOWN"


def test_to_end_it_one_ends_the_run_that_makes_it(launcher):
    maker = under_way(launcher)
    part = under_way(launcher, **{MADE_BY_TAG: maker.run_id})
    assert launcher.run_launcher.terminate(part.run_id) is False
    assert launcher.get_run_by_id(part.run_id).status == dg.DagsterRunStatus.STARTED
    said = [str(entry) for entry in launcher.all_logs(part.run_id)]
    assert any(f"end run {maker.run_id}, which makes it" in line for line in said)


def test_it_has_failed_with_that_one_and_is_not_given_a_pod(cluster, launcher):
    maker = under_way(launcher)
    part = under_way(launcher, **{MADE_BY_TAG: maker.run_id})
    launcher.report_run_failed(maker)
    assert launcher.run_launcher.check_run_worker_health(part).status.value == "FAILED"
    launcher.resume_run(part.run_id, None, 1)
    assert launcher.get_run_by_id(part.run_id).status == dg.DagsterRunStatus.FAILURE
    assert until(lambda: cluster.objects("jobs") == [], 1)
