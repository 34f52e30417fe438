import pytest
from cluster import StandIn
from cluster_vllm import cluster_settings, vllm_on_path

from resources.home import Home


@pytest.fixture
def cluster(tmp_path):
    """A stand-in Kubernetes cluster of this test's own."""
    with StandIn(tmp_path) as cluster:
        yield cluster
    assert cluster.all_processes_gone()


@pytest.fixture
def gpu_cluster(tmp_path):
    """One with four GPUs, whose node has a program called `vllm`; this process is connected to it."""
    from resources.k8s.client import connect

    with StandIn(tmp_path, env=vllm_on_path(tmp_path / "bin"), gpus=4) as cluster:
        connect(cluster_settings(cluster))
        yield cluster
    assert cluster.all_processes_gone()


@pytest.fixture
def settings(gpu_cluster):
    """The cluster file of `gpu_cluster`."""
    return cluster_settings(gpu_cluster)


@pytest.fixture
def servers(settings, tmp_path):
    """The model servers of the paper study there."""
    from resources.k8s.serving import K8sServers

    return K8sServers(settings, Home(tmp_path / "home", "paper"))
