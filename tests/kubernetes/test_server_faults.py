"""What goes wrong with model servers on the stand-in cluster: one clear error, or work that goes on."""

import threading

import pytest
from cluster_vllm import QUICK, cluster_settings, living, requests, served, use
from processes import until

from resources import engine
from resources.home import Home
from resources.k8s.reaper import standings
from resources.k8s.serving import K8sServers
from resources.leases import ServerError


def test_a_missing_image_is_one_clear_error_and_the_next_try_begins_anew(gpu_cluster, settings, servers):
    gpu_cluster.missing_images.add(settings.images.serve)
    said = r"mbt-paper-teacher-\w+ does not come up: pod .*: the image mbt-assets-serve:latest cannot be pulled"
    with pytest.raises(ServerError, match=said), use(servers):
        pass
    # Nothing is left that holds GPUs or tries for ever.
    assert standings(settings)[0].replicas == 0
    assert gpu_cluster.objects("leases") == []
    gpu_cluster.missing_images.clear()
    with use(servers) as endpoints:
        assert len(endpoints) == 1


def test_a_server_that_crashes_is_one_error_with_the_end_of_its_log(gpu_cluster, settings, servers):
    said = r"(?s)CrashLoopBackOff.*exit status 3.*log ends with:.*\nValueError: the weights cannot be read$"
    with pytest.raises(ServerError, match=said), use(servers, uri="broken"):
        pass
    assert standings(settings)[0].replicas == 0


def test_a_server_that_never_answers_is_given_up_at_its_time_out(gpu_cluster, settings, servers):
    model = served(server={"startup_timeout_s": 1})
    with pytest.raises(ServerError, match="it did not answer within 1 s"), use(servers, model, uri="slow"):
        pass
    assert until(lambda: not gpu_cluster.pods())


def test_a_server_that_finds_no_gpus_says_so(gpu_cluster, tmp_path):
    settings = cluster_settings(gpu_cluster, start_timeout_s=0.5)
    servers = K8sServers(settings, Home(tmp_path / "home", "paper"))
    said = r"did not start in 0.5 s: no node has room for it .*nvidia.com/gpu"
    with pytest.raises(ServerError, match=said), use(servers, served(gpus=5)):
        pass


def test_a_copy_that_finds_no_gpus_does_not_hold_up_the_others(servers, caplog):
    with use(servers, served(gpus=3, replicas=2)) as endpoints:
        assert len(endpoints) == 1
    assert "1 of 2 pods answer and are used, without the others: no node has room for it" in caplog.text


def test_a_server_that_dies_while_it_is_asked_fails_the_step_and_a_retry_asks_the_rest(gpu_cluster, servers, tmp_path):
    with pytest.raises(engine.EndpointDownError, match="What was done is kept"), use(servers) as endpoints:
        engine.generate(requests(20), endpoints, tmp_path / "journal", QUICK)
        gpu_cluster.evict(living(gpu_cluster)[0])
        engine.generate(requests(40), endpoints, tmp_path / "journal", QUICK)
    with use(servers) as endpoints:
        summary = engine.generate(requests(40), endpoints, tmp_path / "journal", QUICK)
    assert (summary.ok, summary.reused) == (40, 20)


def test_one_of_two_copies_dies_and_the_other_goes_on(gpu_cluster, servers, tmp_path):
    with use(servers, served(replicas=2)) as endpoints:
        gpu_cluster.evict(living(gpu_cluster)[0])
        assert engine.generate(requests(30), endpoints, tmp_path / "journal", QUICK).ok == 30


def test_a_container_that_is_killed_comes_back_under_its_address_and_the_engine_goes_on(gpu_cluster, servers, tmp_path):
    def strike():
        (name,) = living(gpu_cluster)
        if until(lambda: gpu_cluster.log(name).count("asked") > 20):
            gpu_cluster.oom(name)

    with use(servers) as endpoints:
        thread = threading.Thread(target=strike)
        thread.start()
        options = engine.EngineOptions(concurrency=4, give_up_seconds=30, outage_failures=2, backoff_base=0.05)
        summary = engine.generate(requests(200), endpoints, tmp_path / "journal", options)
        thread.join()
    assert summary.ok == 200
    assert gpu_cluster.pods()[0]["status"]["containerStatuses"][0]["restartCount"] == 1


def test_a_refusal_and_an_outage_of_the_api(gpu_cluster, settings, servers):
    gpu_cluster.unavailable(2)
    with use(servers):
        pass
    gpu_cluster.denied.add(("create", "leases"))
    with pytest.raises(ServerError, match=r"taking a lease .* the cluster refuses \(403.*lacks a right"), use(servers):
        pass
