"""The Dagster UI as `mbt ui` starts it: pages load, and a cell is materialized through the API that the UI uses."""

import os
import sys

import psutil
import pytest
import yaml
from web import serving_ui

CELL = "trails|rule-teacher__base"


@pytest.fixture(scope="module")
def server(made, small_study, tmp_path_factory):
    """`mbt ui` over the small study, whose teacher cells are made."""
    platform, _ = made
    study_file = tmp_path_factory.mktemp("study") / "small.yaml"
    study_file.write_text(yaml.safe_dump(small_study.model_dump(mode="json"), sort_keys=False))
    environment = {**os.environ, "MBT_HOME": str(platform.home.root), "MBT_STUDY": str(study_file)}
    with serving_ui([sys.executable, "-m", "mbt_assets.cli.main", "ui"], env=environment) as ui:
        yield ui


@pytest.fixture
def ui(server):
    """Its address."""
    return server.url


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


def test_the_jobs_and_the_sensors_are_listed(ui, page):
    page.goto(f"{ui}/jobs")
    for job in ("score_cell", "scores_only", "marts_only", "whole_variant", "whole_dataset"):
        page.get_by_text(job, exact=True).first.wait_for()
    page.goto(f"{ui}/automation")
    for sensor in ("rescore_on_checkpoint_change", "refresh_marts", "fail_lost_runs"):
        page.get_by_text(sensor).first.wait_for()


def test_it_listens_on_loopback_alone(server):
    port = int(server.url.rpartition(":")[2])
    found = [connection for connection in psutil.net_connections("tcp") if connection.laddr.port == port]
    assert {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


def test_a_cell_is_materialized_as_the_ui_does_it(server):
    assert server.run("score_cell", CELL) == "SUCCESS"


def test_a_mart_shows_its_table_and_its_figure(ui, page):
    page.goto(f"{ui}/assets/main_results?view=overview")
    page.get_by_text("Show Markdown").nth(1).wait_for()
    opened = [page.get_by_text("Show Markdown").nth(i) for i in range(2)]
    opened[0].click()
    page.get_by_role("cell", name="100.0 ± 0.0").first.wait_for()
    page.get_by_role("button", name="Close").click()
    opened[1].click()
    picture = page.get_by_role("img", name="Accuracy against response length")
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 300
