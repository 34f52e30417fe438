"""The guard: whatever ends, all that belongs to it ends."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from processes import kill, lives, marked, until

FAMILY = """
import subprocess, sys, time
sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)
# A grandchild whose parent is gone at once.
subprocess.run([sys.executable, "-S", "-c", f"import subprocess; subprocess.Popen({sleep!r}, start_new_session=True)"])
print("there", flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(7)
"""
ACCELERATE = "{compute_environment: LOCAL_MACHINE, distributed_type: 'NO', use_cpu: true, num_processes: 1}"


def guarded(*command, options=(), **settings):
    starter = [sys.executable, "-m", "resources.guard", "--parent", str(os.getpid()), *options, "--"]
    return subprocess.Popen([*starter, *command], stdout=subprocess.PIPE, text=True, **settings)


def test_the_exit_status_is_passed_on_and_what_was_left_is_ended(mark):
    process = guarded(sys.executable, "-c", FAMILY, "0")
    process.communicate(timeout=60)
    assert process.returncode == 7
    assert marked(mark) == {}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)])
def test_being_told_to_end_is_passed_on(mark, number, status):
    process = guarded(sys.executable, "-c", FAMILY, "600")
    assert process.stdout.readline() == "there\n"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == status
    assert marked(mark) == {}


def test_what_does_not_listen_is_killed(mark):
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    stubborn = f"{ignoring}; print('there', flush=True); time.sleep(600)"
    process = guarded(sys.executable, "-c", stubborn, options=["--grace", "0.3"])
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert marked(mark) == {}


@pytest.mark.parametrize("launched", ["plain", "accelerate"])
def test_a_killed_starter_ends_it_with_all_generations(mark, tmp_path, launched):
    family = tmp_path / "family.py"
    family.write_text(FAMILY)
    command = [sys.executable, str(family), "600"]
    if launched == "accelerate":
        pytest.importorskip("accelerate", reason="the payloads need the train extra")
        (tmp_path / "config.yaml").write_text(ACCELERATE)
        launcher = ["-m", "accelerate.commands.launch", "--config_file", str(tmp_path / "config.yaml")]
        command = [sys.executable, *launcher, str(family), "600"]
    starter = textwrap.dedent(f"""
        import os, subprocess, sys
        guard = [sys.executable, "-m", "resources.guard", "--parent", str(os.getpid()), "--"]
        subprocess.run([*guard, *{command!r}])
    """)
    process = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    assert len(marked(mark)) >= 6
    kill(process.pid)
    assert until(lambda: marked(mark) == {}), marked(mark)
    process.communicate()


def test_a_killed_guard_takes_the_program_along(mark):
    process = guarded(sys.executable, "-c", "import time; print('there', flush=True); time.sleep(600)")
    process.stdout.readline()
    process.kill()
    assert until(lambda: marked(mark) == {}), marked(mark)
    process.communicate()


def test_a_program_that_is_not_there(mark):
    process = guarded("/no/such/program", stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (127, "cannot start /no/such/program: No such file or directory\n")


def test_two_on_one_lock_run_after_each_other(mark, tmp_path):
    lock = ["--lock", str(tmp_path / "lock")]
    first = guarded(sys.executable, "-c", "print('there', flush=True); import time; time.sleep(600)", options=lock)
    first.stdout.readline()
    second = guarded(sys.executable, "-c", "print('there', flush=True)", options=lock)
    assert not until(lambda: second.poll() is not None, 0.7)
    first.terminate()
    assert second.communicate(timeout=60)[0] == "there\n"
    assert (first.wait(10), second.returncode) == (128 + signal.SIGTERM, 0)
    assert not lives(first.pid)
    first.stdout.close()
