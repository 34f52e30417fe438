"""Runs whose process was killed: nobody was left to say that they ended, so that is said here.

Dagster would show them as running for ever; they would take a slot of the queue and hold back what waits for their
assets.
"""

from __future__ import annotations

import dagster as dg

from mbt_assets.stage import PROCESS_TAG
from resources.processes import has_ended

UNDER_WAY = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def fail_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report every run of this host whose process has ended as failed, or canceled where it was being canceled.

    Runs of other hosts, and those that never said which process they run in, are left alone.

    Returns:
        What was said of each.
    """
    lost = [run for run in instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY)) if _is_lost(run)]
    return [told for run in lost if (told := _report(instance, run.run_id))]


def _is_lost(run: dg.DagsterRun) -> bool:
    process, _, run_id = run.tags.get(PROCESS_TAG, "").rpartition("/")
    # A run that was launched again has the tags of the one before until it says its own.
    return run_id == run.run_id and has_ended(process)


def _report(instance: dg.DagsterInstance, run_id: str) -> str:
    # Looked at again now that its process is known to have ended: it may have ended in order just before.
    run = instance.get_run_by_id(run_id)
    if run is None or run.status not in UNDER_WAY:
        return ""
    host, pid = run.tags[PROCESS_TAG].split("/")[:2]
    canceled = run.status == dg.DagsterRunStatus.CANCELING
    gone = f"its process {pid} on {host} is gone without a word (killed, out of memory, or the machine went down)"
    told = f"run {run_id[:8]} is {'canceled' if canceled else 'failed'}: {gone}"
    (instance.report_run_canceled if canceled else instance.report_run_failed)(run, told)
    # Its places in pools; without a daemon nobody else would ever free them.
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return told
