"""What Dagster's Helm chart makes of deploy/helm/values.yaml: settings of the instance, context of runs, its pods.

Read from the chart's templates in github.com/dagster-io/dagster, helm/dagster: `configmap-instance.yaml`, its helpers
(commits 835892b45a, a07d616f8a, 99dc34fc9b) and `deployment-user.yaml` (042cec9605). Written anew, for values in use.
"""

import copy


def snake(name):
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def snaked(content):
    return {snake(key): value for key, value in content.items()}


def dagster_yaml(values):
    """The instance's settings that the chart makes of its values."""
    database = {
        "postgres_db": {
            "username": values["postgresql"]["postgresqlUsername"],
            "password": {"env": "DAGSTER_PG_PASSWORD"},
            "hostname": values["postgresql"]["postgresqlHost"],
            "db_name": values["postgresql"]["postgresqlDatabase"],
            "port": values["postgresql"]["service"]["port"],
            "params": {},
        }
    }
    storages = {
        "run_storage": ("dagster_postgres.run_storage", "PostgresRunStorage"),
        "event_log_storage": ("dagster_postgres.event_log", "PostgresEventLogStorage"),
        "schedule_storage": ("dagster_postgres.schedule_storage", "PostgresScheduleStorage"),
    }
    daemon = values["dagsterDaemon"]
    queue = snaked(daemon["runCoordinator"]["config"]["queuedRunCoordinator"])
    pools, runs = values["concurrency"]["pools"], values["concurrency"]["runs"]
    ticks = {snake(kind): days for kind, days in values["retention"].items() if kind != "enabled"}
    return {
        "scheduler": {"module": "dagster.core.scheduler", "class": "DagsterDaemonScheduler"},
        **{name: {"module": module, "class": cls, "config": database} for name, (module, cls) in storages.items()},
        # Handed on as it stands; of the other templates none asks for the type of launcher, but for Celery's.
        "run_launcher": copy.deepcopy(values["runLauncher"]["config"]["customRunLauncher"]),
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": queue,
        },
        "compute_logs": values["computeLogManager"]["config"]["customComputeLogManager"],
        "run_monitoring": snaked(daemon["runMonitoring"]),
        "run_retries": snaked(daemon["runRetries"]),
        "sensors": snaked(daemon["sensors"]),
        "schedules": snaked(daemon["schedules"]),
        "telemetry": values["telemetry"],
        "concurrency": {"pools": snaked(pools), "runs": snaked(runs)},
        "retention": {kind: {"purge_after_days": days["purgeAfterDays"]} for kind, days in ticks.items()},
    }


def container_context(values, namespace="mbt"):
    """What the code location hands to the runs that are launched from it."""
    code = values["dagster-user-deployments"]
    (one,) = code["deployments"]
    if not one["includeConfigInLaunchedRuns"]["enabled"]:
        return {}
    return {
        "k8s": {
            "image_pull_policy": one["image"]["pullPolicy"],
            "env_config_maps": [f"dagster-{one['name']}-user-env"],
            "env_secrets": [secret["name"] for secret in one["envSecrets"]],
            "env": one["env"],
            "volumes": one["volumes"],
            "volume_mounts": one["volumeMounts"],
            "labels": one["labels"],
            "resources": one["resources"],
            "namespace": namespace,
            "service_account_name": values["global"]["serviceAccountName"] or code["serviceAccount"]["name"],
        }
    }


def pods(values):
    """The spec of each pod that the chart itself makes, by its part, as far as its values decide."""
    parts = {"webserver": values["dagsterWebserver"], "daemon": values["dagsterDaemon"]}
    parts["code"] = values["dagster-user-deployments"]["deployments"][0]
    specs = {}
    for name, part in parts.items():
        container = {"name": name, "image": "x", "securityContext": part["securityContext"]}
        spec = {
            "securityContext": part["podSecurityContext"],
            "containers": [{**container, "resources": part["resources"], "volumeMounts": part["volumeMounts"]}],
            "volumes": part["volumes"],
        }
        if "initContainerResources" in part:
            spec["initContainers"] = [{**container, "name": "waits", "resources": part["initContainerResources"]}]
        specs[name] = spec
    return specs
