"""The cluster that `MBT_CLUSTER` names: its API, what this process may do there, and what has to be there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mbt_assets.doctor import Finding
from resources.k8s.cluster import Cluster, ClusterError, load_cluster

RIGHTS = (
    ("", "pods", ("create", "get", "list", "delete")),
    ("", "pods/log", ("get",)),
    ("", "events", ("list",)),
    ("", "services", ("create", "delete")),
    ("batch", "jobs", ("create", "get", "list", "delete")),
    ("apps", "deployments", ("create", "get", "list", "patch")),
    ("apps", "statefulsets", ("create", "get", "list", "patch")),
    ("coordination.k8s.io", "leases", ("create", "list", "patch", "delete")),
)
"""What runs and steps ask of the API (deploy/kustomize/base/rbac.yaml)."""
TIMEOUT_S = 10


def cluster() -> list[Finding]:
    """The cluster, if there is one."""
    try:
        found = load_cluster()
        if found is None:
            return [Finding("cluster", "ok", "none: everything runs on this machine")]
        # The client is slow to import, and needed nowhere without a cluster.
        from resources.k8s.client import connect

        connect(found)
    except ClusterError as error:
        return [Finding("cluster", "fault", str(error), "mend the cluster file, or unset MBT_CLUSTER")]
    return _look(found)


def _look(cluster: Cluster) -> list[Finding]:
    import kubernetes
    from urllib3.exceptions import HTTPError

    # A look, not a wait: no second tries.
    settings = kubernetes.client.Configuration.get_default_copy()
    settings.retries = False
    with kubernetes.client.ApiClient(settings) as api:
        try:
            version = kubernetes.client.VersionApi(api).get_code(_request_timeout=TIMEOUT_S).git_version
        except (kubernetes.client.ApiException, HTTPError, OSError) as error:
            why = " ".join(str(error).split())[:200]
            advice = "check kubeconfig in the cluster file, and the network"
            return [Finding("cluster", "fault", f"{settings.host} does not answer: {why}", advice)]
        where = Finding("cluster", "ok", f"Kubernetes {version} at {settings.host}, namespace {cluster.namespace}")
        try:
            return [where, _rights(api, cluster), *_objects(api, cluster)]
        except (kubernetes.client.ApiException, HTTPError, OSError) as error:
            why = " ".join(str(error).split())[:200]
            return [where, Finding("rights on the cluster", "fault", f"cannot be asked for: {why}", "try again")]


def _rights(api: Any, cluster: Cluster) -> Finding:
    import kubernetes

    reviews = kubernetes.client.AuthorizationV1Api(api)
    missing = []
    for group, resource, verbs in RIGHTS:
        name, _, part = resource.partition("/")
        for verb in verbs:
            asked = {"namespace": cluster.namespace, "group": group, "resource": name, "verb": verb}
            if part:
                asked["subresource"] = part
            body = {"spec": {"resourceAttributes": asked}}
            review = reviews.create_self_subject_access_review(body, _request_timeout=TIMEOUT_S)
            if not review.status.allowed:
                missing.append(f"{verb} {resource}")
    if missing:
        advice = "bind this account to the role mbt-dagster (deploy/kustomize/base/rbac.yaml)"
        return Finding("rights on the cluster", "fault", f"may not {', '.join(missing)}", advice)
    return Finding("rights on the cluster", "ok", "all that runs and steps ask for")


def _objects(api: Any, cluster: Cluster) -> list[Finding]:
    """The claims and secrets that pods are given. Of a secret nothing but its being there is looked at."""
    import kubernetes

    core = kubernetes.client.CoreV1Api(api)
    claims = filter(None, (cluster.storage.home_claim, cluster.storage.models_claim))
    found = [_there("claim", name, core.read_namespaced_persistent_volume_claim, cluster) for name in claims]
    return found + [_there("secret", name, core.read_namespaced_secret, cluster) for name in cluster.env_secrets]


def _there(kind: str, name: str, read: Callable[..., Any], cluster: Cluster) -> Finding:
    import kubernetes

    topic = f"{kind} {name}"
    try:
        read(name, cluster.namespace, _request_timeout=TIMEOUT_S)
    except kubernetes.client.ApiException as error:
        if error.status == 403:
            return Finding(topic, "ok", "this account may not look, and need not")
        # Pods start without their secrets, which hold keys that a study may not need.
        state = "fault" if kind == "claim" else "warning"
        advice = f"make it in namespace {cluster.namespace}, or take it out of the cluster file"
        return Finding(topic, state, f"not there ({error.status})", advice)  # type: ignore[arg-type]
    return Finding(topic, "ok", "there")
