"""Which keys Dagster's Helm chart takes, as far as deploy/helm/values.yaml uses them.

Read from the chart's sources in github.com/dagster-io/dagster, helm/dagster: `schema/schema/charts` (from which its
values.schema.json is generated). The newest versions that could be read: 0f2d9d8ee1 of values.py and concurrency.py; of
the others the commits could not be told. Written anew and cut down to the keys in use: no copy of the chart.

A type stands for its values; a dict is an object with these keys and no others; a list's one entry is the type of all
its entries; a set holds the words allowed; `K8s` is a definition of Kubernetes' own schema.
"""

import functools
import json
from dataclasses import dataclass
from importlib.resources import files

import jsonschema
from manifests import NEWEST


@dataclass(frozen=True)
class K8s:
    """A definition of the core API, such as `SecurityContext`."""

    name: str

    def fault(self, value):
        """What is wrong with a value; empty when nothing is."""
        schema = {"$ref": f"#/$defs/io.k8s.api.core.v1.{self.name}", "$defs": definitions()}
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(value))
        return f"is no {self.name}: {error.message}" if error else ""


@functools.cache
def definitions():
    """Every definition of Kubernetes' schema."""
    schemas = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{NEWEST}-local-strict"
    return json.loads((schemas / "_definitions.json").read_text())["$defs"]


PULL = {"Always", "IfNotPresent", "Never"}
IMAGE = {"repository": str, "tag": str, "pullPolicy": PULL}
STARTUP = {"enabled": bool, "probe": K8s("Probe")}
DAYS = {"purgeAfterDays": {"skipped": int, "started": int, "success": int, "failure": int}}
THREADS = {"useThreads": bool, "numWorkers": int, "numSubmitWorkers": int}
POD = {
    "image": IMAGE,
    "envSecrets": [K8s("SecretEnvSource")],
    "envConfigMaps": [K8s("ConfigMapEnvSource")],
    "env": [K8s("EnvVar")],
    "labels": {str: str},
    "podSecurityContext": K8s("PodSecurityContext"),
    "securityContext": K8s("SecurityContext"),
    "resources": K8s("ResourceRequirements"),
    "volumes": [K8s("Volume")],
    "volumeMounts": [K8s("VolumeMount")],
    "readinessProbe": K8s("Probe"),
    "livenessProbe": K8s("Probe"),
    "startupProbe": STARTUP,
}
CODE = {
    **POD,
    "name": str,
    "port": int,
    "replicaCount": int,
    "dagsterApiGrpcArgs": [str],
    "codeServerArgs": [str],
    "includeConfigInLaunchedRuns": {"enabled": bool},
    # The chart takes `enabled` beside a probe's own keys.
    "readinessProbe": STARTUP,
}
# The chart lets anything pass; these are the keys of Dagster's own launcher.
LAUNCHER = {
    "load_incluster_config": bool,
    "job_namespace": str,
    "instance_config_map": str,
    "dagster_home": str,
    "postgres_password_secret": str,
    "service_account_name": str,
    "image_pull_policy": PULL,
    "env_config_maps": [str],
    "env_secrets": [str],
    "env_vars": [str],
    "volumes": [K8s("Volume")],
    "volume_mounts": [K8s("VolumeMount")],
    "labels": {str: str},
    "fail_pod_on_run_failure": bool,
    "resources": K8s("ResourceRequirements"),
    "security_context": K8s("SecurityContext"),
    "run_k8s_config": {
        "container_config": dict,
        "pod_spec_config": dict,
        "pod_template_spec_metadata": dict,
        "job_spec_config": dict,
        "job_metadata": dict,
    },
}
MONITORING = {
    "enabled": bool,
    "startTimeoutSeconds": int,
    "cancelTimeoutSeconds": int,
    "maxResumeRunAttempts": int,
    "pollIntervalSeconds": int,
    "freeSlotsAfterRunEndSeconds": int,
}
QUEUE = {"maxConcurrentRuns": int, "dequeueIntervalSeconds": int, "dequeueNumWorkers": int, "dequeueUseThreads": bool}
VALUES = {
    "x-mbt": dict,
    "global": {"dagsterHome": str, "postgresqlSecretName": str, "serviceAccountName": str},
    "rbacEnabled": bool,
    "serviceAccount": {"create": bool, "name": str, "annotations": {str: str}},
    "imagePullSecrets": [K8s("LocalObjectReference")],
    "dagster-user-deployments": {
        "enabled": bool,
        "enableSubchart": bool,
        "imagePullSecrets": [K8s("LocalObjectReference")],
        "serviceAccount": {"create": bool, "name": str, "annotations": {str: str}},
        "deployments": [CODE],
    },
    "runLauncher": {
        "type": {"CustomRunLauncher"},
        "config": {"customRunLauncher": {"module": str, "class": str, "config": LAUNCHER}},
    },
    "dagsterWebserver": {
        **POD,
        "nameOverride": str,
        "service": {"type": {"ClusterIP", "NodePort", "LoadBalancer"}, "port": int},
        "enableReadOnly": bool,
        "initContainerResources": K8s("ResourceRequirements"),
    },
    "dagsterDaemon": {
        **POD,
        "enabled": bool,
        "initContainerResources": K8s("ResourceRequirements"),
        "runCoordinator": {
            "enabled": bool,
            "type": {"QueuedRunCoordinator"},
            "config": {"queuedRunCoordinator": QUEUE},
        },
        "runMonitoring": MONITORING,
        "runRetries": {"enabled": bool, "maxRetries": int, "retryOnAssetOrOpFailure": bool},
        "sensors": THREADS,
        "schedules": THREADS,
    },
    "concurrency": {
        "enabled": bool,
        "pools": {"defaultLimit": int, "granularity": {"run", "op"}, "opGranularityRunBuffer": int},
        "runs": {"maxConcurrentRuns": int, "tagConcurrencyLimits": list},
    },
    "postgresql": {
        "enabled": bool,
        "image": IMAGE,
        "postgresqlHost": str,
        "postgresqlUsername": str,
        "postgresqlPassword": str,
        "postgresqlDatabase": str,
        "service": {"port": int},
    },
    "generatePostgresqlPasswordSecret": bool,
    "computeLogManager": {
        "type": {"CustomComputeLogManager"},
        "config": {"customComputeLogManager": {"module": str, "class": str, "config": dict}},
    },
    "retention": {"enabled": bool, "sensor": DAYS, "schedule": DAYS, "autoMaterialize": DAYS},
    "telemetry": {"enabled": bool},
    "ingress": {"enabled": bool},
    "migrate": {"enabled": bool},
}


def faults(value, schema=VALUES, path="values"):
    """What does not fit, each with its place."""
    if schema is STARTUP:
        probe = {key: part for key, part in value.items() if key != "enabled"}
        return [] if "enabled" in value and not K8s("Probe").fault(probe) else [f"{path} {K8s('Probe').fault(probe)}"]
    if isinstance(schema, K8s):
        fault = schema.fault(value)
        return [f"{path} {fault}"] if fault else []
    if isinstance(schema, list):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [fault for place, one in enumerate(value) for fault in faults(one, schema[0], f"{path}[{place}]")]
    if isinstance(schema, dict):
        return _faults_of_object(value, schema, path)
    if isinstance(schema, set):
        return [] if value in schema else [f"{path} is none of {sorted(schema)}"]
    return [] if type(value) is schema else [f"{path} is no {schema.__name__}"]


def _faults_of_object(value, schema, path):
    if not isinstance(value, dict):
        return [f"{path} is no object"]
    if str in schema:
        return [fault for key, one in value.items() for fault in faults(one, schema[str], f"{path}.{key}")]
    found = [f"{path} has no key {key}" for key in sorted(set(value) - set(schema))]
    known = [key for key in value if key in schema]
    return found + [fault for key in known for fault in faults(value[key], schema[key], f"{path}.{key}")]
