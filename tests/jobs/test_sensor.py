"""Real ticks of the re-scoring sensor over a real lake and a real instance."""

import dagster as dg
import pytest

from jobs.sensors import TARGET_TAG, cell_states
from partitions.grid import Node

CELL = "trails|rule-teacher__base"


def tick(platform, instance):
    repository = platform.definitions().get_repository_def()
    sensor = repository.get_sensor_def("rescore_stale_cells")
    context = dg.build_sensor_context(instance=instance, repository_def=repository)
    return sensor.evaluate_tick(context)


@pytest.fixture
def retrained(made):
    """The small study after the teacher's checkpoint was registered with another digest."""
    platform, _ = made
    node = Node("checkpoints", "rule-teacher__base")
    path = platform.artifacts.lake.path(node)
    before = path.read_bytes()
    stored = platform.artifacts.stored(node)
    frame = platform.artifacts.lake.read(node)
    platform.artifacts.lake.write(node, frame.with_columns(digest=dg_text("new-digest")), stored.provenance)
    yield platform
    path.write_bytes(before)


def dg_text(text):
    import polars as pl

    return pl.lit(text)


def test_nothing_is_requested_while_nothing_has_changed(made):
    platform, _ = made
    assert [cell for cell in cell_states(platform.study, platform.artifacts) if cell.stale] == []
    with dg.DagsterInstance.ephemeral() as instance:
        result = tick(platform, instance)
    assert result.run_requests == []
    assert result.skip_message == "no cell is stale"


def test_a_changed_checkpoint_requests_its_scored_cells_and_no_other(retrained):
    with dg.DagsterInstance.ephemeral() as instance:
        requests = tick(retrained, instance).run_requests
    assert sorted(request.partition_key for request in requests) == [CELL, "wide|rule-teacher__base"]
    assert all(request.run_key.endswith(":1") for request in requests)
    assert all("new-digest" in request.tags[TARGET_TAG] for request in requests)


def test_a_lost_tick_loses_nothing_and_a_failed_run_is_the_next_attempt(retrained):
    with dg.DagsterInstance.ephemeral() as instance:
        first = tick(retrained, instance).run_requests
        assert [r.run_key for r in tick(retrained, instance).run_requests] == [r.run_key for r in first]
        for request in first:
            instance.add_run(dg.DagsterRun("score_cell", status=dg.DagsterRunStatus.FAILURE, tags=dict(request.tags)))
        assert all(request.run_key.endswith(":2") for request in tick(retrained, instance).run_requests)
        for request in first:
            instance.add_run(dg.DagsterRun("score_cell", status=dg.DagsterRunStatus.STARTED, tags=dict(request.tags)))
        assert tick(retrained, instance).run_requests == []
