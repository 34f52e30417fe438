"""The Dagster UI as `mbt ui` starts it: pages load, and a cell is materialized through the API that the UI uses."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import yaml

CELL = "trails|rule-teacher__base"
LAUNCH = """
mutation($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
RUN = "query($id: ID!) { pipelineRunOrError(runId: $id) { ... on Run { status } } }"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def graphql(url, query, **variables):
    data = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        content = json.loads(reply.read())
    assert "errors" not in content, content
    return content["data"]


def wait_until_up(url, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "mbt ui ended"
        try:
            if graphql(url, "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")[
                "repositoriesOrError"
            ].get("nodes"):
                return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(1)
    raise AssertionError("mbt ui did not come up within two minutes")


@pytest.fixture(scope="module")
def ui(made, small_study, tmp_path_factory):
    """The address of `mbt ui` over the small study, whose teacher cells are made."""
    platform, _ = made
    study_file = tmp_path_factory.mktemp("study") / "small.yaml"
    study_file.write_text(yaml.safe_dump(small_study.model_dump(mode="json"), sort_keys=False))
    port = free_port()
    environment = {**os.environ, "MBT_HOME": str(platform.home.root), "MBT_STUDY": str(study_file)}
    process = subprocess.Popen(
        [sys.executable, "-m", "mbt_assets.cli.main", "ui", "--port", str(port)],
        env=environment,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(url, process)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def test_the_graph_shows_every_stage(ui, page):
    page.goto(f"{ui}/asset-groups")
    for group in ("questions", "rollouts", "traces", "training", "scores", "marts"):
        page.get_by_text(group, exact=True).first.wait_for()


def test_an_asset_shows_its_description_and_partitions(ui, page):
    page.goto(f"{ui}/assets/cell_metrics?view=overview")
    page.get_by_text("cell_metrics").first.wait_for()
    page.goto(f"{ui}/assets/answer_scores?view=overview")
    page.get_by_text("Answer scores of each rollout").first.wait_for()
    page.get_by_text("exact_match").first.wait_for()


def test_a_partition_shows_its_headline_figures(ui, page):
    page.goto(f"{ui}/assets/cell_metrics?view=partitions&partition={CELL.replace('|', '%7C')}")
    page.get_by_text("exact_match", exact=True).first.wait_for()


def test_the_jobs_and_the_sensor_are_listed(ui, page):
    page.goto(f"{ui}/jobs")
    for job in ("score_cell", "scores_only", "marts_only", "whole_variant", "whole_dataset"):
        page.get_by_text(job, exact=True).first.wait_for()
    page.goto(f"{ui}/automation")
    page.get_by_text("rescore_stale_cells").first.wait_for()


def test_a_cell_is_materialized_as_the_ui_does_it(ui):
    names = graphql(ui, "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }")
    repository = names["repositoriesOrError"]["nodes"][0]
    selector = {
        "repositoryName": repository["name"],
        "repositoryLocationName": repository["location"]["name"],
        "pipelineName": "score_cell",
    }
    dataset, variant = CELL.split("|")
    tags = {"dagster/partition": CELL, "dagster/partition/dataset": dataset, "dagster/partition/variant": variant}
    params = {
        "selector": selector,
        "mode": "default",
        "runConfigData": {},
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
    }
    launched = graphql(ui, LAUNCH, params=params)["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    status = ""
    for _ in range(120):
        status = graphql(ui, RUN, id=launched["run"]["runId"])["pipelineRunOrError"]["status"]
        if status in ("SUCCESS", "FAILURE", "CANCELED"):
            break
        time.sleep(1)
    assert status == "SUCCESS"
