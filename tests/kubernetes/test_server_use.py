"""Model servers on the stand-in cluster: shared, balanced, and stopped when nobody uses them."""

import contextlib
import datetime
import json
import os
import re
import subprocess
import sys
import threading

import pytest
from cluster_vllm import QUICK, cluster_settings, living, requests, served, use
from kubernetes import client
from manifests import refused, rules_of
from processes import kill, until
from typer.testing import CliRunner

from mbt_assets.cli.main import app
from resources import engine
from resources.home import Home
from resources.k8s import reaper
from resources.k8s.leases import UserLease, leases_of, utc_now
from resources.k8s.reaper import reap, standings
from resources.k8s.server_objects import STOPPED_AT, server_of
from resources.k8s.serving import K8sServers
from resources.k8s.workloads import Workloads
from resources.leases import ServerError


def asked(gpu_cluster):
    """How many requests each pod that there ever was has seen, by name."""
    names = {one["metadata"]["name"] for one in gpu_cluster.created if one["kind"] == "Pod"}
    return {name: gpu_cluster.log(name).count("asked") for name in names}


def test_two_users_share_one_server_and_its_copies_share_the_requests(gpu_cluster, settings, servers, tmp_path):
    model = served(replicas=2)
    other = K8sServers(settings, servers.home)
    with use(servers, model) as mine, use(other, model) as theirs:
        assert len(mine) == 2
        assert {one.base_url for one in mine} == {one.base_url for one in theirs}
        assert mine[0].model == "teacher"
        assert mine[0].model_digest == "d"
        assert len(gpu_cluster.objects("deployments")) == len(gpu_cluster.objects("services")) == 1
        (standing,) = standings(settings)
        assert (standing.users, standing.ready, standing.idle_s) == (2, 2, None)
        summary = engine.generate(requests(60), mine, tmp_path / "journal", QUICK)
    assert summary.ok == 60
    assert sorted(asked(gpu_cluster).values())[0] >= 4
    assert gpu_cluster.objects("leases") == []


def test_an_idle_server_is_stopped_and_the_next_user_starts_it_again(gpu_cluster, settings, servers):
    with use(servers) as (before,):
        assert reap(settings) == []
    (done,) = reap(settings)
    assert done.startswith("stopped mbt-paper-teacher-")
    assert until(lambda: not gpu_cluster.pods())
    assert standings(settings)[0].replicas == 0
    with use(servers) as (after,):
        assert after.base_url != before.base_url
        assert standings(settings)[0].replicas == 1
    assert len(gpu_cluster.objects("deployments")) == 1


def test_a_server_is_kept_for_its_idle_time(gpu_cluster, settings, servers):
    with use(servers, served(server={"idle_timeout_s": 300})) as (before,):
        pass
    assert reap(settings) == []
    with use(servers, served(server={"idle_timeout_s": 300})) as (again,):
        assert again == before


@pytest.mark.parametrize("stopped_before", [False, True])
def test_a_user_who_comes_while_the_reaper_decides_keeps_the_server(
    gpu_cluster, settings, servers, monkeypatch, stopped_before
):
    with use(servers):
        pass
    if stopped_before:
        reap(settings)
        monkeypatch.setattr(reaper, "KEPT_S", 0)
    with contextlib.ExitStack() as uses:

        def looked(*about, **chosen):
            found = leases_of(*about, **chosen)
            uses.enter_context(use(servers))
            return found

        monkeypatch.setattr(reaper, "leases_of", looked)
        # It has seen nobody, and would stop or delete the server now.
        assert reap(settings) == []
        monkeypatch.setattr(reaper, "leases_of", leases_of)
        (standing,) = standings(settings)
        assert (standing.replicas, standing.ready, standing.users) == (1, 1, 1)
        assert len(gpu_cluster.objects("services")) == 1


def test_a_user_who_comes_just_after_the_stop_gets_a_new_pod_and_not_the_one_that_ends(gpu_cluster, settings, servers):
    with use(servers) as (before,):
        pass
    reap(settings)
    with use(servers) as (after,):
        assert after.base_url != before.base_url


def test_a_server_that_is_stopped_while_somebody_waits_for_it_is_started_again(gpu_cluster, settings, servers):
    came_up = threading.Event()

    def wait():
        # Refused by its GPUs at first: three of the four are not enough.
        with use(servers, served(gpus=2)):
            came_up.set()

    with use(servers, served(gpus=3), digest="other"):
        thread = threading.Thread(target=wait)
        thread.start()
        assert until(lambda: len(gpu_cluster.objects("deployments")) == 2)
        name = next(one for one in standings(settings) if one.ready == 0).name
        Workloads(settings).scale("Deployment", name, 0)
        assert until(lambda: next(one for one in standings(settings) if one.name == name).replicas == 1)
        assert not came_up.is_set()
    reap(settings)
    thread.join(20)
    assert came_up.is_set()


def user_environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


USER = """
import sys, time
from cluster_vllm import cluster_settings, served
from pathlib import Path
from resources.home import Home
from resources.k8s.serving import K8sServers
from types import SimpleNamespace
settings = cluster_settings(SimpleNamespace(kubeconfig=sys.argv[1]), lease_s=24)
with K8sServers(settings, Home(Path("/nowhere"), "paper")).serving("teacher", served(), "hub://owner/teacher", "d"):
    print("using", flush=True)
    time.sleep(600)
"""


def test_a_user_who_is_killed_counts_as_gone_after_a_while(gpu_cluster, settings, monkeypatch):
    command = [sys.executable, "-c", USER, str(gpu_cluster.kubeconfig)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=user_environment()) as user:
        try:
            assert user.stdout.readline() == "using\n"
            (first,) = gpu_cluster.objects("leases")
            assert until(lambda: gpu_cluster.objects("leases")[0]["spec"]["renewTime"] > first["spec"]["renewTime"])
            assert reap(settings) == []
        finally:
            kill(user.pid)
    assert standings(settings)[0].users == 1
    later = utc_now() + datetime.timedelta(seconds=25)
    monkeypatch.setattr(reaper, "utc_now", lambda: later)
    assert standings(settings)[0].users == 0
    assert [line.split()[0] for line in reap(settings)] == ["stopped", "forgot"]
    assert gpu_cluster.objects("leases") == []
    assert until(lambda: not gpu_cluster.pods())


def test_a_user_who_was_taken_for_gone_by_mistake_says_that_it_is_there(gpu_cluster, tmp_path):
    settings = cluster_settings(gpu_cluster, lease_s=1)
    with use(K8sServers(settings, Home(tmp_path / "home", "paper"))):
        (lease,) = gpu_cluster.objects("leases")
        client.CoordinationV1Api().delete_namespaced_lease(lease["metadata"]["name"], "mbt")
        assert until(lambda: gpu_cluster.objects("leases"))
    assert gpu_cluster.objects("leases") == []


def test_a_lease_that_was_taken_and_not_answered_for_is_no_failure(gpu_cluster, settings):
    gpu_cluster.lose_answer("leases")
    lease = UserLease(settings, "paper", "server")
    lease.take()
    assert [one.metadata.name for one in leases_of(settings)] == [lease.name]
    lease.release()
    assert leases_of(settings) == []


def test_a_server_that_was_stopped_for_a_day_is_deleted_and_made_again_by_the_next_user(gpu_cluster, settings, servers):
    with use(servers):
        pass
    reap(settings)
    (stopped,) = gpu_cluster.objects("deployments")
    long_ago = {"metadata": {"annotations": {STOPPED_AT: "2026-01-01T00:00:00.000000Z"}}}
    client.AppsV1Api().patch_namespaced_deployment(stopped["metadata"]["name"], "mbt", long_ago)
    (done,) = reap(settings)
    assert done.startswith("deleted mbt-paper-teacher-")
    assert gpu_cluster.objects("deployments") == gpu_cluster.objects("services") == []
    with use(servers):
        assert len(gpu_cluster.objects("deployments")) == len(gpu_cluster.objects("services")) == 1


def test_the_roles_of_the_cluster_allow_what_is_asked_of_it(gpu_cluster, settings, servers, monkeypatch):
    with pytest.raises(ServerError), use(servers, uri="broken"):
        pass
    with use(servers):
        pass
    assert refused(rules_of("mbt-dagster"), gpu_cluster.requests) == []
    before = len(gpu_cluster.requests)
    monkeypatch.setattr(reaper, "KEPT_S", 0)
    assert len(reap(settings) + reap(settings)) > 1
    assert refused(rules_of("mbt-idler"), gpu_cluster.requests[before:]) == []


def test_a_server_on_two_nodes_has_one_endpoint_and_its_second_pod_is_headless(gpu_cluster, settings, servers):
    model = served({"pipeline_parallel_size": 2}, gpus=1)
    with use(servers, model) as endpoints:
        assert len(endpoints) == 1
        first, second = sorted(living(gpu_cluster))
        assert until(lambda: "--node-rank 1" in gpu_cluster.log(second) and "--node-rank 0" in gpu_cluster.log(first))
        assert "--headless" in gpu_cluster.log(second)
        assert "--headless" not in gpu_cluster.log(first)
        assert f"--master-addr {first}.{first.removesuffix('-0')}" in gpu_cluster.log(second)
    assert len(reap(settings)) == 1
    assert until(lambda: not gpu_cluster.pods())


def test_the_command_line_shows_servers_and_stops_idle_ones(gpu_cluster, settings, servers, tmp_path, monkeypatch):
    file = tmp_path / "cluster.yaml"
    file.write_text(settings.model_dump_json())
    monkeypatch.setenv("MBT_CLUSTER", str(file))

    def mbt(*words):
        result = CliRunner().invoke(app, ["cluster", *words])
        assert result.exit_code == 0, result.output
        return result

    with contextlib.ExitStack() as uses:
        uses.enter_context(use(servers))
        (row,) = json.loads(mbt("servers", "--json").stdout)
        assert (row["study"], row["model"], row["digest"]) == ("paper", "teacher", "d")
        assert (row["replicas"], row["ready"], row["users"], row["idle_s"]) == (1, 1, 1, None)
        assert mbt("idle").stderr == ""
    assert re.search(r" \d+ of 0 ", mbt("servers").stdout), "how long nobody used it, of the time after which it goes"
    assert json.loads(mbt("servers", "--study", "other", "--json").stdout) == []
    assert mbt("idle", "--study", "other").stderr == ""
    assert "stopped mbt-paper-teacher-" in mbt("idle").stderr


def test_what_a_server_is_called_is_what_render_says(settings, servers):
    with use(servers) as _:
        named = server_of(settings, servers.home, "teacher", served(), "hub://owner/teacher", "d").name
        assert [one.name for one in standings(settings)] == [named]
