"""The jobs that cross partition axes, as real runs."""

import dagster as dg
from small import run, teacher_units

from mbt_assets.cli.instance import open_instance
from mbt_assets.definitions import build_platform
from partitions.grid import Node
from resources.home import Home


def test_a_whole_variant_is_brought_up_to_date_by_one_job(made):
    platform, _ = made
    node = Node("answer_scores", "wide|rule-teacher__base")
    platform.artifacts.lake.path(node).unlink()
    job = platform.definitions().resolve_job_def("whole_variant")
    with open_instance(platform.home) as instance:
        result = job.execute_in_process(instance=instance, partition_key="rule-teacher__base")
        assert result.success
        remade = instance.get_runs(filters=dg.RunsFilter(tags={"mbt/unit": "cell[wide|rule-teacher__base]"}))
    assert platform.artifacts.lake.exists(node)
    assert remade[0].status == dg.DagsterRunStatus.SUCCESS
    # By this the run monitoring of a cluster knows that it has no pod of its own.
    assert remade[0].tags["mbt/made_by"] == result.run_id


def test_its_run_fails_with_the_reason_when_a_part_does(small_study, tmp_path):
    datasets = dict(small_study.datasets)
    datasets["wide"] = datasets["wide"].model_copy(update={"options": {"distractor_chains": 99}})
    platform = build_platform(small_study.model_copy(update={"datasets": datasets}), Home(tmp_path, "small"))
    run(platform, teacher_units(platform))
    job = platform.definitions().resolve_job_def("whole_variant")
    with open_instance(platform.home) as instance:
        result = job.execute_in_process(instance=instance, partition_key="rule-teacher__base", raise_on_error=False)
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "validation_questions[wide]" in failure.step_failure_data.error.message
