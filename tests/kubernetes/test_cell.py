"""A cell on the stand-in cluster: run launcher → run pod → step pods → the pods of the payload and of the servers."""

import dagster as dg
import pytest
from cluster import StandIn
from dagster_on_cluster import cluster_file, ended, events_of, launch, make_secret, write_instance
from manifests import refused, rules_of
from processes import until
from small import SMALL, run
from small_training import QUICK

from jobs.plan import units
from mbt_assets.definitions import build_platform
from partitions.grid import CELL_ASSETS, Node
from partitions.study_file import parse_study
from resources.home import Home
from resources.lake import Lake

CELL = "trails|tiny__base"
STUDY = SMALL.replace("source: {kind: embedded}", QUICK).replace("limit: 12", "limit: 4")
MARKS = {"OPENAI_API_KEY": "sk-marked-0001", "HF_TOKEN": "hf_marked_0002"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The stand-in after a base model and its cell were made there; what needs neither model nor pod was made here."""
    pytest.importorskip("torch", reason="the payload needs the train extra")
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "small.yaml").write_text(STUDY)
    platform = build_platform(parse_study(STUDY), Home(folder / "home", "small"))
    home = platform.home
    run(platform, units(platform.axes.grid, [Node("validation_questions", "trails")]))
    with StandIn(folder) as cluster, pytest.MonkeyPatch.context() as patch:
        make_secret(cluster, "mbt-keys", MARKS)
        env = {
            "MBT_STUDY": str(folder / "small.yaml"),
            "MBT_HOME": str(home.root),
            "MBT_CLUSTER": str(cluster_file(cluster, folder, steps={"memory_by_asset": {"cell_metrics": "3Gi"}})),
        }
        write_instance(cluster, home.dagster, env)
        for name, value in {**env, "DAGSTER_HOME": str(home.dagster)}.items():
            patch.setenv(name, value)
        runs = {}
        for job, key in (("register_base", "tiny__base"), ("score_cell", CELL)):
            runs[job] = ended(launch(job, key), cluster)
            assert runs[job].status == dg.DagsterRunStatus.SUCCESS, (job, events_of(runs[job].run_id)[-8:])
            if job == "register_base":
                run(platform, units(platform.axes.grid, [Node("checkpoints", "tiny__base")]))
        yield cluster, home, runs


def pods_made(cluster, component):
    """Every pod that was ever made for something."""
    found = [item for item in cluster.created if item["kind"] == "Pod"]
    return [pod for pod in found if pod["metadata"]["labels"].get("app.kubernetes.io/component") == component]


def test_every_part_of_the_cell_lies_in_the_lake(made):
    _, home, _ = made
    lake = Lake(home.lake)
    assert all(lake.exists(Node(asset, CELL)) for asset in CELL_ASSETS)
    assert lake.read(Node("validation_rollouts", CELL)).height == 4
    assert lake.read(Node("judge_verdicts", CELL))["judge"].to_list() == ["rule-judge"] * 4


def test_each_step_ran_in_a_pod_of_its_own_below_the_pod_of_its_run(made):
    cluster, _, runs = made
    steps = pods_made(cluster, "step_worker") + pods_made(cluster, "step")
    of_cell = {p["metadata"]["labels"]["dagster/op"] for p in steps} & set(CELL_ASSETS)
    assert of_cell == set(CELL_ASSETS)
    jobs = [item["metadata"] for item in cluster.created if item["kind"] == "Job"]
    of_steps = [job for job in jobs if job["name"].startswith("dagster-step-")]
    run_pods = {pod["metadata"]["name"] for pod in cluster.pods() if "dagster-run-" in pod["metadata"]["name"]}
    assert len(of_steps) == len(CELL_ASSETS) + 1
    assert {job["ownerReferences"][0]["name"] for job in of_steps} <= run_pods
    assert len([job for job in jobs if job["name"].startswith("dagster-run-")]) == len(runs)


def test_a_steps_pod_gets_what_its_assets_op_says(made):
    cluster, _, _ = made
    limits = {
        pod["metadata"]["labels"]["dagster/op"]: pod["spec"]["containers"][0]["resources"]["limits"]
        for pod in cluster.created
        if pod["kind"] == "Pod" and "dagster/op" in pod["metadata"]["labels"]
    }
    assert (limits["cell_metrics"], limits["answer_scores"]) == ({"memory": "3Gi"}, {"memory": "2Gi"})


def test_the_payload_ran_in_a_pod_that_its_step_owned_and_reported_to_dagster(made):
    cluster, _, runs = made
    [payload] = pods_made(cluster, "payload")
    [owner] = payload["metadata"]["ownerReferences"]
    assert owner["name"].startswith("dagster-step-")
    said = events_of(runs["register_base"].run_id)
    assert any("base_models[tiny__base]: made" in line for line in said)
    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("base_models"))
    metadata = event.asset_materialization.metadata
    assert metadata["parameters"].value > 0
    # What it printed goes on to the step's own log, as Kubernetes keeps it.
    assert any("step" in line or "loss" in line for line in said + cluster.log(owner["name"]).splitlines())


def test_student_and_judge_were_served_by_pods_that_stay_for_the_next_cell(made):
    cluster, _, _ = made
    deployments = cluster.objects("deployments")
    assert len(deployments) == 2
    assert all(item["spec"]["replicas"] == item["status"]["readyReplicas"] == 1 for item in deployments)
    assert cluster.objects("leases") == []


def test_nothing_else_is_left(made):
    cluster, _, _ = made

    def alive():
        pods = [pod for pod in cluster.pods() if pod["status"]["phase"] in ("Pending", "Running")]
        return {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods}

    # A run's own process ends a moment after the run.
    assert until(lambda: alive() == {"server"}, 30), alive()
    with dg.DagsterInstance.get() as instance:
        keys = instance.event_log_storage.get_concurrency_keys()
        assert not any(instance.event_log_storage.get_concurrency_info(key).active_slot_count for key in keys)


def test_no_key_is_in_an_object_a_log_or_a_file(made):
    cluster, home, runs = made
    objects = [item for item in cluster.created if item["kind"] != "Secret"]
    told = [str(objects), cluster.logs, *(line for run in runs.values() for line in events_of(run.run_id))]
    told += [str(run.run_config) + str(run.tags) for run in runs.values()]
    assert not [mark for mark in MARKS.values() if any(mark in text for text in told)]
    files = [path for path in home.root.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert not [path for path in files if any(mark.encode() in path.read_bytes() for mark in MARKS.values())]


def test_the_keys_were_there_all_the_same(made):
    cluster, _, _ = made
    payload, *_ = pods_made(cluster, "payload")
    assert payload["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "mbt-keys", "optional": True}}]


def test_the_roles_of_deploy_allow_what_was_asked_of_the_cluster(made):
    cluster, _, _ = made
    # The secret is the test's own.
    asked = [request for request in cluster.requests if request.resource != "secrets"]
    assert refused([*rules_of("mbt-control"), *rules_of("mbt-dagster")], asked) == []
    # Deployed, the web server launches and the pods of runs and steps do the rest.
    assert refused(rules_of("mbt-control"), asked) != []
