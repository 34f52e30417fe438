"""The end of a runner, however it comes, is the end of its workers, their runs and their payloads: real processes."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import dagster as dg
import pytest
import yaml
from processes import kill, marked, until

from jobs.workers import worker_pool
from mbt_assets.cli.instance import open_instance
from resources.home import Home

POOL = """
import sys, time
from pathlib import Path
import pool_work
from jobs.workers import worker_pool
if __name__ == "__main__":
    with worker_pool(2) as pool:
        futures = [pool.submit(pool_work.work, sys.argv[1], i) for i in range(2)]
        for future in futures:
            future.result()
"""
WORK = """
import os, subprocess, sys, time
from pathlib import Path
from jobs.workers import interruptible
def work(folder, number):
    guard = [sys.executable, "-m", "resources.guard", "--parent", str(os.getpid()), "--"]
    with interruptible():
        payload = subprocess.Popen([*guard, sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        try:
            Path(folder, f"there-{number}").touch()
            time.sleep(600)
        finally:
            Path(folder, f"ended-{number}").touch()
"""


@pytest.fixture
def pool(mark, tmp_path, monkeypatch):
    """A runner of two workers, each with a payload; and the folder in which the work writes how it goes."""
    (tmp_path / "pool_work.py").write_text(WORK)
    (tmp_path / "runner.py").write_text(POOL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = subprocess.Popen([sys.executable, str(tmp_path / "runner.py"), str(tmp_path)], stderr=subprocess.PIPE)
    assert until(lambda: all((tmp_path / f"there-{i}").exists() for i in range(2)), 60)
    yield process, tmp_path
    process.kill()
    process.communicate()


def test_a_killed_runner_leaves_nothing_and_its_work_is_ended_in_order(pool, mark):
    process, folder = pool
    assert until(lambda: len(marked(mark)) >= 7)
    kill(process.pid)
    assert until(lambda: marked(mark) == {}), marked(mark)
    assert all((folder / f"ended-{i}").exists() for i in range(2))


def test_an_interrupted_runner_ends_after_its_work(pool, mark):
    process, folder = pool
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert until(lambda: marked(mark) == {}), marked(mark)
    assert all((folder / f"ended-{i}").exists() for i in range(2))


def number(value):
    if value < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def test_a_killed_worker_takes_no_other_with_it_and_is_replaced():
    with worker_pool(2) as pool:
        slow = pool.submit(time.sleep, 1.0)
        with pytest.raises(BrokenProcessPool):
            pool.submit(number, -1).result(timeout=120)
        assert [pool.submit(number, value).result(timeout=120) for value in (1, 2, 3)] == [1, 2, 3]
        assert slow.result(timeout=120) is None


def test_a_killed_worker_takes_its_payload_along(pool, mark):
    process, _ = pool
    workers = [pid for pid, command in marked(mark).items() if "spawn_main" in command]
    assert len(workers) == 2
    for worker in workers:
        kill(worker)
    process.communicate(timeout=60)
    assert until(lambda: marked(mark) == {}), marked(mark)


@pytest.fixture
def demo(mark, small_study, tmp_path, monkeypatch):
    """`mbt demo` while it makes the student, with all that it has started by then."""
    pytest.importorskip("torch", reason="the payloads need the train extra")
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(small_study.model_dump(mode="json"), sort_keys=False))
    monkeypatch.setenv("MBT_HOME", str(tmp_path / "home"))
    command = [sys.executable, "-m", "mbt_assets.cli.main", "demo", "--study", str(file), "--variant", "tiny__base"]
    with (tmp_path / "printed").open("wb") as printed:
        process = subprocess.Popen([*command, "--dataset", "trails"], stdout=printed, stderr=printed)
    assert until(lambda: any("make_student" in command for command in marked(mark).values()), 180)
    yield process, tmp_path
    process.kill()
    process.wait()


def interrupted(folder):
    """Whether Dagster's record says that no run goes on and one was ended."""
    with open_instance(Home(folder / "home", "small")) as instance:
        states = {run.status for run in instance.get_runs()}
    return bool(states & {dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE}) and not any(
        state in states for state in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
    )


def test_a_killed_demo_leaves_no_process_and_no_open_run(demo, mark):
    process, folder = demo
    kill(process.pid)
    assert until(lambda: marked(mark) == {}), marked(mark)
    assert interrupted(folder)


def test_a_demo_that_is_told_to_end_does_as_with_ctrl_c(demo, mark):
    process, folder = demo
    process.terminate()
    assert process.wait(90) == 130
    assert until(lambda: marked(mark) == {}), marked(mark)
    assert "interrupted; what was finished is kept" in (folder / "printed").read_text()
    assert "Traceback" not in (folder / "printed").read_text()
    assert interrupted(folder)
