"""deploy/kustomize: it builds, every object is one of Kubernetes, no pod is loose, and accounts have few rights."""

import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from manifests import KUSTOMIZE, PART_OF, allowed, by_name, loose_ends, pod_specs, rendered, rules_of, validate

from partitions.study_file import load_study
from resources.k8s.cluster import load_cluster

FOLDERS = ["base", "overlays/trial", "overlays/proxied"]
COMPONENT = "app.kubernetes.io/component"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_is_one_of_kubernetes(folder):
    objects = rendered(KUSTOMIZE / folder)
    assert len(by_name(objects)) == len(objects) >= 20
    for one in objects:
        validate(one)


def test_a_wrong_object_would_be_found():
    wrong = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}, "automount": False}
    with pytest.raises(kubernetes_validate.ValidationError, match="automount"):
        validate(wrong)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed; the files are read without it")
@pytest.mark.parametrize("folder", FOLDERS)
def test_kubectl_builds_the_same_objects(folder):
    built = subprocess.run(["kubectl", "kustomize", KUSTOMIZE / folder], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    objects = list(yaml.safe_load_all(built.stdout))
    for one in objects:
        validate(one)
    assert set(by_name(objects)) == set(by_name(rendered(KUSTOMIZE / folder)))
    if folder == "base":
        assert by_name(objects) == by_name(rendered(KUSTOMIZE / folder))


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_pod_is_loose(folder):
    specs = dict(pod_specs(rendered(KUSTOMIZE / folder)))
    assert specs
    assert {name: loose_ends(spec) for name, spec in specs.items() if loose_ends(spec)} == {}


def test_the_namespace_refuses_pods_that_are():
    labels = by_name(rendered(KUSTOMIZE / "base"))["Namespace", "mbt"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_says_that_it_is_of_this_project(folder):
    assert {one["metadata"]["labels"][PART_OF] for one in rendered(KUSTOMIZE / folder)} == {"mbt"}


@pytest.mark.parametrize("folder", ["base", "overlays/trial"])
def test_study_and_cluster_file_can_be_loaded_and_fit_the_rest(folder, tmp_path):
    objects = by_name(rendered(KUSTOMIZE / folder))
    for name, text in objects["ConfigMap", "mbt-study"]["data"].items():
        (tmp_path / name).write_text(text)
    study, cluster = load_study(str(tmp_path / "study.yaml")), load_cluster(tmp_path / "cluster.yaml")
    assert study.name == "embedded" and len(study.models) >= 3
    assert ("Namespace", cluster.namespace) in objects
    assert ("ServiceAccount", cluster.service_account) in objects
    for claim in (cluster.storage.home_claim, cluster.storage.models_claim):
        assert objects["PersistentVolumeClaim", claim]["spec"]["accessModes"] == ["ReadWriteMany"]
    ports = objects["NetworkPolicy", "mbt-servers"]["spec"]["ingress"][0]["ports"]
    assert [port["port"] for port in ports] == [cluster.server_port]


def test_what_pods_name_is_there():
    objects = by_name(rendered(KUSTOMIZE / "overlays/proxied"))
    for _, spec in pod_specs(objects.values()):
        assert ("ServiceAccount", spec["serviceAccountName"]) in objects
        for volume in spec.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in objects
            if "configMap" in volume:
                # The chart makes the other one.
                assert volume["configMap"]["name"] in ("mbt-study", "dagster-instance")


def test_no_secret_is_among_them():
    assert "Secret" not in {one["kind"] for one in rendered(KUSTOMIZE / "overlays/proxied")}


def test_rights_are_named_one_by_one_and_end_at_the_namespace():
    objects = rendered(KUSTOMIZE / "overlays/proxied")
    assert not {"ClusterRole", "ClusterRoleBinding"} & {one["kind"] for one in objects}
    for one in objects:
        for rule in one.get("rules", []) if one["kind"] == "Role" else []:
            assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
            assert not {"secrets", "pods/exec", "pods/attach", "serviceaccounts/token"} & set(rule["resources"])
            assert not {"deletecollection", "escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_payloads_and_servers_have_no_rights():
    objects = rendered(KUSTOMIZE / "overlays/proxied")
    bound = {subject["name"] for one in objects for subject in one.get("subjects", [])}
    assert bound == {"mbt-dagster", "mbt-control", "mbt-code", "mbt-idler"}
    payload = by_name(objects)["ServiceAccount", "mbt-payload"]
    assert payload["automountServiceAccountToken"] is False
    with_token = {name for name, spec in pod_specs(objects) if spec["automountServiceAccountToken"]}
    assert with_token == {"CronJob mbt-idle", "CronJob mbt-retention"}


def test_rules_are_read_as_kubernetes_reads_them():
    rules = rules_of("mbt-dagster")
    assert allowed(rules, "create", "", "pods") and allowed(rules, "get", "", "pods/log")
    assert not allowed(rules, "create", "apps", "pods") and not allowed(rules, "get", "", "secrets")
    assert not allowed(rules_of("mbt-control"), "create", "", "pods")


def selected(selector, labels):
    """Whether a label selector takes an object with these labels."""
    terms = selector.get("matchExpressions", [])
    assert {term["operator"] for term in terms} <= {"In"}
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(labels.get(term["key"]) in term["values"] for term in terms)


def reaches(objects, source, target, port):
    """Whether a pod with some labels may open a connection to another one, by the network policies of its namespace."""
    rules = [
        rule
        for one in objects
        if one["kind"] == "NetworkPolicy" and selected(one["spec"]["podSelector"], target)
        for rule in one["spec"].get("ingress", [])
    ]
    return any(
        any("podSelector" in peer and selected(peer["podSelector"], source) for peer in rule["from"])
        and port in [one["port"] for one in rule.get("ports", [{"port": port}])]
        for rule in rules
    )


OURS = {PART_OF: "mbt"}
SERVER, TRAINING, PAYLOAD = ({**OURS, COMPONENT: name} for name in ("server", "training", "payload"))
RUN, STEP = {**OURS, COMPONENT: "run_worker"}, {**OURS, COMPONENT: "step"}
WEBSERVER, DAEMON, CODE = (
    {**OURS, "component": name} for name in ("dagster-webserver", "dagster-daemon", "user-deployments")
)
PROXY, DATABASE = {**OURS, COMPONENT: "proxy"}, {**OURS, COMPONENT: "database"}


def test_only_the_pods_of_the_code_reach_the_model_servers():
    objects = rendered(KUSTOMIZE / "overlays/proxied")
    everyone = [RUN, STEP, SERVER, TRAINING, PAYLOAD, WEBSERVER, DAEMON, CODE, PROXY, DATABASE, {"app": "stranger"}]
    may = [one for one in everyone if reaches(objects, one, SERVER, 8000)]
    assert may == [RUN, STEP, SERVER]
    assert not reaches(objects, RUN, SERVER, 22) and not reaches(objects, {COMPONENT: "step"}, SERVER, 8000)


def test_only_the_proxy_reaches_the_web_server():
    objects = rendered(KUSTOMIZE / "overlays/proxied")
    everyone = [RUN, STEP, SERVER, TRAINING, PAYLOAD, DAEMON, CODE, PROXY, {"app": "stranger"}]
    assert [one for one in everyone if reaches(objects, one, WEBSERVER, 8080)] == [PROXY]


def test_dagster_and_the_trainings_reach_what_they_need():
    objects = rendered(KUSTOMIZE / "overlays/trial")
    assert reaches(objects, WEBSERVER, CODE, 3030) and reaches(objects, DAEMON, CODE, 3030)
    assert reaches(objects, TRAINING, TRAINING, 29500) and not reaches(objects, PAYLOAD, TRAINING, 29500)
    assert all(reaches(objects, one, DATABASE, 5432) for one in (WEBSERVER, DAEMON, CODE, RUN, STEP))
    assert not reaches(objects, PAYLOAD, DATABASE, 5432) and not reaches(objects, SERVER, DATABASE, 5432)
