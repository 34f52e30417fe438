"""Reading deploy/kustomize as kustomize does, as far as those files need it, and looking into the objects there."""

import copy
from pathlib import Path

import kubernetes_validate
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
KUSTOMIZE = DEPLOY / "kustomize"
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
"""Kubernetes versions that everything is validated against."""
PART_OF = "app.kubernetes.io/part-of"
TEMPLATES = {"Deployment", "StatefulSet", "Job"}


def rendered(folder):
    """The objects of a kustomization: its resources and components, config maps from files, namespace and labels.

    Patches and names of images are left out; `kubectl kustomize` does the same with all of it.
    """
    settings = yaml.safe_load((folder / "kustomization.yaml").read_text())
    objects = [one for name in settings.get("resources", []) for one in _resource(folder / name)]
    for generator in settings.get("configMapGenerator", []):
        data = {name: (folder / name).read_text() for name in generator["files"]}
        known = [one for one in objects if _key(one) == ("ConfigMap", generator["name"])]
        if known:
            known[0]["data"] |= data
        else:
            objects.append(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}
            )
    for name in settings.get("components", []):
        objects += rendered(folder / name)
    for one in objects:
        _place(one, settings)
    return objects


def _resource(path):
    if path.is_dir():
        return rendered(path)
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def _place(one, settings):
    if "namespace" in settings and one["kind"] != "Namespace":
        one["metadata"]["namespace"] = settings["namespace"]
        if one["kind"] == "RoleBinding":
            for subject in one["subjects"]:
                subject["namespace"] = settings["namespace"]
    for labels in settings.get("labels", []):
        one["metadata"]["labels"] = {**one["metadata"].get("labels", {}), **labels["pairs"]}


def _key(one):
    return one["kind"], one["metadata"]["name"]


def by_name(objects):
    """The objects by kind and name."""
    return {_key(one): one for one in objects}


def validate(one):
    """Raise unless an object is one of Kubernetes, in the oldest and the newest version."""
    for version in (OLDEST, NEWEST):
        kubernetes_validate.validate(copy.deepcopy(one), version, strict=True)


def pod_specs(objects):
    """(what it is of, spec) of every pod that the objects make."""
    for one in objects:
        spec = one.get("spec", {})
        if one["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if one["kind"] in TEMPLATES | {"CronJob"}:
            yield f"{one['kind']} {one['metadata']['name']}", spec["template"]["spec"]
        elif one["kind"] == "Pod":
            yield f"Pod {one['metadata']['name']}", spec


def loose_ends(spec):
    """What a pod's spec leaves open that the pod security standard `restricted`, or this project, wants shut."""
    pod = spec.get("securityContext") or {}
    ends = []
    if pod.get("runAsNonRoot") is not True or not pod.get("runAsUser"):
        ends.append("may run as root")
    if (pod.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        ends.append("has no seccomp profile")
    ends += [f"{name} is shared with the node" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    ends += [f"volume {volume['name']} is the node's" for volume in spec.get("volumes") or [] if "hostPath" in volume]
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        ends += [f"container {container['name']} {end}" for end in _loose_ends(container)]
    return ends


def _loose_ends(container):
    security = container.get("securityContext") or {}
    if security.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "may write its root file system"
    if (security.get("capabilities") or {}).get("drop") != ["ALL"] or security["capabilities"].get("add"):
        yield "keeps capabilities"
    if security.get("privileged") or security.get("runAsNonRoot") is False or security.get("runAsUser") == 0:
        yield "has privileges"
    resources = container.get("resources") or {}
    if not {"cpu", "memory"} <= set(resources.get("requests") or {}) or "memory" not in (resources.get("limits") or {}):
        yield "does not say what it needs"


def rules_of(role, folder=KUSTOMIZE / "base"):
    """The rules of a role of deploy/kustomize/base."""
    return by_name(rendered(folder))["Role", role]["rules"]


def allowed(rules, verb, group, resource):
    """Whether rules of RBAC allow something; `resource` is `pods/log` for a part of an object."""
    return any(group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"] for rule in rules)


def refused(rules, requests):
    """What was asked of the stand-in cluster that the rules do not allow, each once."""
    asked = {(request.verb, request.group, request.resource) for request in requests}
    return sorted(one for one in asked if not allowed(rules, *one))
