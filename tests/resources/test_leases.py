"""Sharing servers between real processes: one boot for all, and none left when those who used it are gone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest
from processes import kill, lives, parent, until

from resources.keeper import PORT
from resources.leases import Lease, ServerError, ServerSpec, stop_idle
from resources.server_files import BOOTS, ServerFiles, kept_servers

CLIENT = """
import sys
from pathlib import Path
from resources.leases import Lease, ServerSpec
folder, program, log, idle, uses = sys.argv[1:]
spec = ServerSpec("m", (program, "serve", "--port", "{port}"), Path(log), idle_timeout_s=float(idle))
for _ in range(int(uses)):
    lease = Lease(Path(folder), spec)
    print(lease.url(print), flush=True)
    sys.stdin.readline()
    lease.release()
"""


@pytest.fixture
def spec_of(vllm, tmp_path):
    def spec(idle=30.0, **options):
        command = (str(vllm.program), "serve", "--port", PORT)
        return ServerSpec("m", command, tmp_path / "m.log", idle_timeout_s=idle, **options)

    return spec


@pytest.fixture
def client(folder, vllm, tmp_path):
    started = []

    def start(idle=30.0, uses=1):
        arguments = [str(folder), str(vllm.program), str(tmp_path / "m.log"), str(idle), str(uses)]
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def boots(folder):
    return [json.loads(line) for line in (folder / BOOTS).read_text().splitlines()]


def only_record(folder):
    [(files, record)] = kept_servers(folder)
    return files, record


def answers(url):
    with urllib.request.urlopen(url + "/health", timeout=60) as reply:
        return reply.status == 200


def test_cells_one_after_the_other_and_processes_side_by_side_share_one_boot(folder, client, spec_of):
    clients = [client(uses=3), client(uses=3)]
    urls = {process.stdout.readline().strip() for process in clients}
    for process in clients:
        rest, _ = process.communicate("\n\n\n", timeout=30)
        urls |= set(rest.split())
    lease = Lease(folder, spec_of())
    urls.add(lease.url(print))
    lease.release()
    assert len(urls) == 1
    [boot] = boots(folder)
    assert {"time", "name", "digest", "pid"} <= set(boot)
    assert (boot["name"], boot["digest"]) == ("m", spec_of().digest)
    assert lives(boot["pid"])


def test_threads_that_ask_at_once_share_one_boot(folder, spec_of):
    leases = [Lease(folder, spec_of()) for _ in range(8)]
    found = []
    threads = [threading.Thread(target=lambda lease=lease: found.append(lease.url(print))) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert len(set(found)) == len(boots(folder)) == 1
    assert ServerFiles(folder, spec_of().digest).leases() == 8


def test_a_killed_client_leaves_no_server_beyond_the_idle_timeout(folder, client, vllm):
    process = client(idle=0.5)
    assert answers(process.stdout.readline().strip())
    files, record = only_record(folder)
    assert (files.leases(), record.idle_since) == (1, None)
    kill(process.pid)
    assert until(lambda: not files.is_kept())
    assert not any(lives(pid) for pid in [record.keeper, record.pid, *vllm.pids()])
    assert files.read() is None


def test_a_client_killed_while_the_server_starts_leaves_none_either(folder, client, vllm, spec_of):
    process = client(idle=0.3)
    files = ServerFiles(folder, spec_of(0.3).digest)
    assert until(lambda: (vllm.folder / "pids").exists())
    kill(process.pid)
    assert until(lambda: not files.is_kept())
    assert not any(lives(pid) for pid in vllm.pids())


def test_a_lease_keeps_the_server_and_its_end_starts_the_clock(folder, spec_of):
    first, second = Lease(folder, spec_of(0.3)), Lease(folder, spec_of(0.3))
    url = first.url(print)
    files, _ = only_record(folder)
    first.release()
    assert not until(lambda: not files.is_kept(), 1.0)
    assert second.url(print) == url
    second.release()
    assert until(lambda: not files.is_kept())


@pytest.mark.parametrize("whom", ["keeper", "guard", "server"])
def test_whichever_part_is_killed_all_of_it_goes_and_the_next_use_starts_another(folder, vllm, spec_of, whom):
    lease = Lease(folder, spec_of())
    lease.url(print)
    _, record = only_record(folder)
    guard, parts = parent(record.pid), [record.keeper, record.pid, *vllm.pids()]
    assert all(lives(pid) for pid in [guard, *parts])
    kill({"keeper": record.keeper, "guard": guard, "server": record.pid}[whom])
    assert until(lambda: not any(lives(pid) for pid in [guard, *parts])), [p for p in [guard, *parts] if lives(p)]
    assert answers(lease.url(print))
    assert len(boots(folder)) == 2
    assert only_record(folder)[1].pid != record.pid
    lease.release()


def test_a_deleted_folder_ends_the_server_and_not_its_successor(folder, spec_of):
    lease = Lease(folder, spec_of())
    lease.url(print)
    _, record = only_record(folder)
    shutil.rmtree(folder)
    again = Lease(folder, spec_of())
    assert answers(again.url(print))
    assert until(lambda: not lives(record.keeper) and not lives(record.pid))
    assert answers(again.url(print))
    assert len(boots(folder)) == 1
    again.release()
    lease.release()


def test_a_server_that_does_not_answer_any_more_is_replaced(folder, spec_of, monkeypatch):
    monkeypatch.setattr("resources.leases.HEALTH_TIMEOUT_S", 0.2)
    monkeypatch.setattr("resources.leases.SILENT_S", 0.3)
    lease = Lease(folder, spec_of(grace_s=0.2))
    url = lease.url(print)
    os.kill(only_record(folder)[1].pid, signal.SIGSTOP)
    said = []
    assert lease.url(said.append) != url
    assert "does not answer" in said[0]
    lease.release()


def test_a_server_that_ends_at_once_is_told_with_the_end_of_its_log(folder, vllm, spec_of, tmp_path):
    (vllm.folder / "broken").touch()
    lease = Lease(folder, spec_of())
    with pytest.raises(ServerError) as caught:
        lease.url(print)
    text = str(caught.value)
    assert "ended with exit status 3" in text
    assert str(tmp_path / "m.log") in text
    assert text.endswith("line 29\nno such model")
    assert len(text.splitlines()) == 16
    (vllm.folder / "broken").unlink()
    assert answers(lease.url(print))
    lease.release()


def test_a_server_that_takes_too_long_is_told_and_ended(folder, vllm, spec_of, tmp_path):
    command = (sys.executable, "-c", "import time; print('loading', flush=True); time.sleep(600)", PORT)
    spec = ServerSpec("slow", command, tmp_path / "slow.log", startup_timeout_s=0.5)
    lease = Lease(folder, spec)
    with pytest.raises(
        ServerError, match=r"did not answer within 0.5 s; .*slow\.log ends with:\n(loading|\(it printed nothing\))"
    ):
        lease.url(print)
    [boot] = boots(folder)
    assert not lives(boot["pid"])
    lease.release()


def test_another_checkpoint_is_another_server(spec_of):
    assert spec_of(identity=("a",)).digest != spec_of(identity=("b",)).digest
    assert spec_of(idle=1).digest == spec_of(idle=2).digest


def test_idle_servers_without_gpus_can_be_stopped_before_their_time(folder, spec_of):
    used, unused = Lease(folder, spec_of(identity=("used",))), Lease(folder, spec_of(identity=("unused",)))
    used.url(print)
    unused.url(print)
    unused.release()
    stop_idle(folder, timeout_s=60)
    assert [files.leases() for files, _ in kept_servers(folder)] == [1]
    assert answers(used.url(print))
    used.release()
