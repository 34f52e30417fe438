"""Whose the GPUs of this machine are: servers and trainings of any process wait for each other, the idle make room."""

import json
import subprocess
import sys
import threading

import pytest
from processes import kill, lives, until

from resources.gpus import GpuError, Gpus, Holder, gpus_of_server
from resources.keeper import PORT
from resources.leases import Lease, ServerSpec
from resources.server_files import BOOTS, kept_servers

TRAINING = Holder("training")


@pytest.fixture
def spec_of(vllm, tmp_path):
    def spec(name, gpus=1):
        command = (str(vllm.program), "serve", "--port", PORT)
        return ServerSpec(name, command, tmp_path / f"{name}.log", (name,), idle_timeout_s=60, gpus=gpus)

    return spec


def names(folder):
    return [record.name for _, record in kept_servers(folder)]


def in_thread(work):
    """Start some work; its result comes into the list."""
    done = []
    threading.Thread(target=lambda: done.append(work()), daemon=True).start()
    return done


@pytest.mark.parametrize(
    ("declared", "options", "count"),
    [
        (0, {}, 1),
        (0, {"tensor_parallel_size": 4}, 4),
        (0, {"tensor-parallel-size": "2", "pipeline_parallel_size": 2, "data_parallel_size": 2}, 8),
        (3, {"tensor_parallel_size": 4}, 3),
    ],
)
def test_how_many_a_server_takes(declared, options, count):
    assert gpus_of_server(declared, options) == count


@pytest.mark.parametrize(
    ("count", "visible", "installed", "ids", "real"),
    [
        (None, None, 0, ("0",), False),
        (None, None, 2, ("0", "1"), True),
        (None, "3,5", 8, ("3", "5"), True),
        (None, "", 8, ("0",), False),
        ("2", None, 0, ("0", "1"), True),
        ("1", "3,5", 8, ("3",), True),
    ],
)
def test_which_ones_there_are(monkeypatch, tmp_path, count, visible, installed, ids, real):
    monkeypatch.setattr("resources.gpus._installed", lambda: installed)
    for name, value in (("MBT_GPUS", count), ("CUDA_VISIBLE_DEVICES", visible)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    found = Gpus.of_machine()
    assert (found.ids, found.real) == (ids, real)


def test_a_count_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("MBT_GPUS", "some")
    with pytest.raises(GpuError, match="MBT_GPUS is 'some'"):
        Gpus.of_machine()


def test_two_servers_get_different_ones(folder, spec_of, vllm):
    first, second = Lease(folder, spec_of("a", 2)), Lease(folder, spec_of("b", 2))
    first.url(print)
    assert (vllm.folder / "devices").read_text() == "0,1"
    second.url(print)
    assert (vllm.folder / "devices").read_text() == "2,3"
    assert [record.gpus for _, record in kept_servers(folder)] == [("0", "1"), ("2", "3")]
    first.release()
    second.release()


def test_an_idle_server_makes_room(folder, spec_of, monkeypatch):
    monkeypatch.setenv("MBT_GPUS", "1")
    first = Lease(folder, spec_of("a"))
    first.url(print)
    first.release()
    [(_, record)] = kept_servers(folder)
    second = Lease(folder, spec_of("b"))
    second.url(print)
    assert names(folder) == ["b"]
    assert not lives(record.pid)
    second.release()


def test_no_more_idle_servers_are_stopped_than_needed(folder, spec_of, monkeypatch):
    monkeypatch.setenv("MBT_GPUS", "2")
    for name in ("a", "b"):
        lease = Lease(folder, spec_of(name))
        lease.url(print)
        lease.release()
    third = Lease(folder, spec_of("c"))
    third.url(print)
    assert len(names(folder)) == 2
    assert "c" in names(folder)
    third.release()


def test_a_server_that_is_used_is_waited_for(folder, spec_of, monkeypatch):
    monkeypatch.setenv("MBT_GPUS", "1")
    first = Lease(folder, spec_of("a"))
    first.url(print)
    said = []
    second = Lease(folder, spec_of("b"))
    done = in_thread(lambda: second.url(said.append))
    assert until(lambda: said)
    assert said == ["the model server b waits for 1 of 1 GPUs: the model server a has 1"]
    assert [(record.name, record.state) for _, record in kept_servers(folder)] == [("a", "ready"), ("b", "waiting")]
    assert not until(lambda: done, 1.0)
    first.release()
    assert until(lambda: done)
    assert names(folder) == ["b"]
    assert [json.loads(line)["name"] for line in (folder / BOOTS).read_text().splitlines()] == ["a", "b"]
    second.release()


def test_a_training_has_idle_servers_stopped_and_servers_wait_for_it(folder, spec_of, monkeypatch):
    monkeypatch.setenv("MBT_GPUS", "1")
    lease = Lease(folder, spec_of("a"))
    lease.url(print)
    lease.release()
    with Gpus.of_machine().reserved(1, TRAINING, print) as environment:
        assert environment == {"CUDA_VISIBLE_DEVICES": "0"}
        assert names(folder) == []
        said = []
        again = Lease(folder, spec_of("a"))
        done = in_thread(lambda: again.url(said.append))
        assert until(lambda: said)
        assert said == ["the model server a waits for 1 of 1 GPUs: training has 1"]
    assert until(lambda: done)
    again.release()


def test_what_needs_none_waits_for_none(monkeypatch):
    monkeypatch.setenv("MBT_GPUS", "1")
    with (
        Gpus.of_machine().reserved(1, TRAINING, print),
        Gpus.of_machine().reserved(0, TRAINING, print) as environment,
    ):
        assert environment == {}


def test_a_killed_holder_frees_its_gpus(monkeypatch):
    monkeypatch.setenv("MBT_GPUS", "1")
    code = (
        "import sys; from resources.gpus import Gpus, Holder\n"
        "with Gpus.of_machine().reserved(1, Holder('other'), print): print('has it', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"has it\n"
    said = []
    done = in_thread(lambda: Gpus.of_machine().take(1, TRAINING, said.append))
    assert until(lambda: said)
    assert said == ["training waits for 1 of 1 GPUs: other has 1"]
    kill(other.pid)
    assert until(lambda: done)
    done[0].close()
    other.communicate()


def test_the_gpus_of_a_killed_keeper_stay_taken_until_its_server_is_gone(folder, vllm, monkeypatch, tmp_path):
    monkeypatch.setenv("MBT_GPUS", "1")
    stubborn = vllm.folder / "stubborn"
    stubborn.write_text(
        vllm.program.read_text().replace(
            "time.sleep(0.2)", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)"
        )
    )
    stubborn.chmod(0o755)
    spec = ServerSpec("a", (str(stubborn), "--port", PORT), tmp_path / "a.log", grace_s=1.0, gpus=1)
    lease = Lease(folder, spec)
    lease.url(print)
    [(_, record)] = kept_servers(folder)
    kill(record.keeper)
    taken = Gpus.of_machine().take(1, TRAINING, print)
    assert not any(lives(pid) for pid in vllm.pids())
    taken.close()
    lease.release()
