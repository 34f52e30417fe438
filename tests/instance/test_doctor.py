"""`mbt doctor`: each look at a real good and a real bad case."""

import json
import os
import stat
import subprocess
import sys
import time
from email.utils import formatdate

import pytest
import yaml
from aiohttp import web
from cluster import StandIn
from s3 import in_environment, serving_bucket
from sqlalchemy import text
from threaded_server import ThreadedServer

from mbt_assets.cli.instance import open_instance
from mbt_assets.doctor import machine, on_cluster, services, software, storage
from mbt_assets.instance.pools import set_pools
from mbt_assets.instance.postgres import VARIABLE
from partitions.study_file import load_study, parse_study
from resources.home import Home
from resources.lake import Lake

KEY_VARIABLE, KEY = "TEACHER_KEY", "sk-1234-not-to-be-shown"
NVIDIA_SMI = """#!{python}
import sys
if len(sys.argv) > 1:
    print("0, NVIDIA H100 80GB HBM3, 81559, 550.54.15\\n1, NVIDIA H100 80GB HBM3, 81559, 550.54.15")
else:
    print("| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: {cuda} |")
"""


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in (VARIABLE, "MBT_CLUSTER", "CUDA_VISIBLE_DEVICES", "MBT_GPUS", KEY_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def paper():
    return load_study("paper")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path, "small")


def states(findings):
    return [finding.state for finding in findings]


# Software.


def test_this_python_will_do_and_another_will_not():
    assert software.python_version().state == "ok"
    old = software.python_version("3.9.1")
    assert old.state == "fault" and "use Python" in old.advice


def test_installed_packages_fit_and_others_are_named():
    assert states(software.packages()) == ["ok"]
    missing, wrong = software.packages(["no-such-thing>=1", "polars<1", 'also-not>=1; extra == "dev"'])
    assert (missing.topic, missing.found, missing.state) == ("no-such-thing", "not installed", "fault")
    assert wrong.topic == "polars" and "<1 is asked for" in wrong.found
    assert "pip install 'polars<1'" in wrong.advice


def test_packages_that_one_can_do_without_are_told_of_with_what_it_means():
    there, absent = software.optional_packages({"polars": "rows", "no-such-thing": "slower"})
    assert there.state == absent.state == "ok"
    assert (absent.found, absent.advice) == ("not installed", "slower")


def test_vllm_is_needed_where_the_study_serves_by_it(paper, small_study, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software.vllm_program(small_study, on_cluster=False).state == "ok"
    assert software.vllm_program(paper, on_cluster=True).state == "ok"
    absent = software.vllm_program(paper, on_cluster=False)
    assert absent.state == "fault" and "qwen3-4b" in absent.found
    program(tmp_path / "vllm", "#!/bin/sh\n")
    assert software.vllm_program(paper, on_cluster=False).found == str(tmp_path / "vllm")


# The machine.


def program(path, content):
    path.write_text(content)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """A program that answers as `nvidia-smi` does on a machine with two GPUs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(cuda="13.0", content=NVIDIA_SMI):
        program(folder / "nvidia-smi", content.format(python=sys.executable, cuda=cuda))

    return install


def with_gpus(study, count):
    model = study.models["gpt-oss-120b"]
    changed = model.model_copy(update={"compute": model.compute.model_copy(update={"gpus": count})})
    return study.model_copy(update={"models": {"gpt-oss-120b": changed}})


def test_no_gpu_is_a_fault_for_a_study_that_needs_them_alone(paper, small_study, smi):
    (needless,) = machine.gpus(small_study, on_cluster=False)
    assert needless.state == "ok" and "needs none" in needless.found
    (needed,) = machine.gpus(paper, on_cluster=False)
    assert needed.state == "fault" and "up to 4" in needed.found
    assert states(machine.gpus(paper, on_cluster=True)) == ["ok"]


def test_gpus_are_counted_against_what_one_model_takes(paper, smi):
    smi()
    found = machine.gpus(with_gpus(paper, 2), on_cluster=False)[0]
    assert found.state == "ok"
    assert found.found == "2: NVIDIA H100 80GB HBM3, 80 GiB; driver 550.54.15"
    (few,) = machine.gpus(with_gpus(paper, 4), on_cluster=False)
    assert few.state == "fault" and few.advice.startswith("gpt-oss-120b takes up to 4")


def test_a_driver_that_does_not_answer_is_told_with_its_own_words(paper, smi):
    smi(content='#!/bin/sh\necho "Driver/library version mismatch" >&2\nexit 9\n')
    (broken,) = machine.gpus(paper, on_cluster=False)
    assert broken.state == "fault" and "nvidia-smi fails: Driver/library version mismatch" in broken.found


def test_a_driver_that_is_too_old_for_torch_is_a_fault(monkeypatch):
    monkeypatch.setattr(machine.importlib.metadata, "version", lambda name: "2.13.0+cu130")
    assert machine.cuda(machine.Driver(["a GPU"], "600", "13.1")).state == "ok"
    old = machine.cuda(machine.Driver(["a GPU"], "550", "12.4"))
    assert old.state == "fault" and "a newer driver" in old.advice
    monkeypatch.setattr(machine.importlib.metadata, "version", lambda name: "2.13.0+cpu")
    assert machine.cuda(machine.Driver(["a GPU"], "600", "13.1")).found == "torch is the build for the CPU"


def test_a_disk_without_room_is_a_fault_and_a_narrow_one_a_warning(tmp_path):
    place = tmp_path / "not" / "there" / "yet"
    assert machine.disk("disk", place, warn_gb=0).state == "ok"
    assert machine.disk("disk", place, warn_gb=1e9, fault_gb=0).state == "warning"
    full = machine.disk("disk", place, warn_gb=1e9, fault_gb=1e9)
    assert full.state == "fault" and str(tmp_path) in full.found and "free some" in full.advice


def test_a_clock_is_held_against_servers_and_against_the_files_here():
    assert machine.clock({}).state == "ok"
    assert machine.clock({"http://a": 3.0, "http://b": -8.0}).state == "ok"
    late = machine.clock({"http://a": 0.0, "http://b": 120.0})
    assert (late.state, late.found) == ("warning", "120 s behind http://b")
    assert machine.clock({"http://a": -4000.0}).state == "fault"
    assert "before this installation" in machine.clock({}, now=1e9).found


# The lake and DuckDB.


def test_a_lake_in_a_folder_is_tried_and_left_as_it_was(tmp_path):
    lake = Lake(tmp_path / "to" / "come")
    assert storage.lake(lake).state == "ok"
    assert list(tmp_path.iterdir()) == []
    assert storage.duckdb_reads(lake).state == "ok"


def test_a_lake_that_cannot_be_written_is_a_fault(tmp_path):
    (tmp_path / "file").write_text("")
    found = storage.lake(Lake(tmp_path / "file" / "lake"))
    assert found.state == "fault" and "MBT_LAKE" in found.advice


def test_a_lake_in_a_bucket_is_tried_and_left_as_it_was():
    with serving_bucket() as bucket, in_environment(bucket.settings()):
        assert storage.lake(Lake(f"{bucket.url}/lake")).state == "ok"
        assert bucket.names() == []
        assert "2.0" in storage.duckdb_reads(Lake(f"{bucket.url}/lake")).found
        absent = storage.lake(Lake("s3://no-such-bucket-of-ours/lake"))
        assert absent.state == "fault" and "AWS_ENDPOINT_URL" in absent.advice


def test_a_store_that_does_not_answer_is_a_fault(monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with serving_bucket() as bucket:
        nowhere = bucket.settings("http://127.0.0.1:9")
    with in_environment(nowhere):
        assert storage.lake(Lake("s3://bucket/lake")).state == "fault"


# Dagster's records.


def test_records_that_are_not_set_up_are_a_warning(home):
    (found,) = storage.records(home)
    assert (found.state, found.advice) == ("warning", "mbt instance init")
    assert not home.dagster.exists()


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_records_in_order_and_with_an_older_schema(kind, home, request):
    if kind == "PostgreSQL":
        request.getfixturevalue("database")
    with open_instance(home) as instance:
        schema, pools = storage.records(home)
        assert schema.state == "ok" and schema.found.startswith(kind)
        assert pools.state == "warning" and pools.advice == "mbt instance init"
        set_pools(instance, {}, {"gpu": 1, "judge": 2})
        assert storage.records(home)[1].found == "gpu 1, judge 2"
        with instance.event_log_storage.index_connection() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '6b7fb194ff9c'"))
            connection.commit()
        older = storage.records(home)[0]
    assert older.state == "fault" and "mbt instance migrate" in older.advice


def test_a_database_that_cannot_be_reached_is_a_fault_without_its_password(home, monkeypatch):
    monkeypatch.setenv(VARIABLE, "postgresql://mbt:hidden@127.0.0.1:1/mbt")
    home.dagster.mkdir(parents=True)
    (home.dagster / "dagster.yaml").write_text("storage: {postgres: {postgres_url: {env: MBT_POSTGRES}}}\n")
    (found,) = storage.records(home)
    assert found.state == "fault" and "Connection refused" in found.found and "hidden" not in found.found


# Endpoints and secrets.


class Endpoint(ThreadedServer):
    """Lists one model to whoever has the key."""

    def __init__(self):
        super().__init__(0)
        self.behind_s = 0.0

    def application(self):
        application = web.Application()
        application.router.add_get("/v1/models", self._models)
        application.router.add_get("/moved/models", self._moved)
        return application

    async def _models(self, request):
        date = {"Date": formatdate(time.time() - self.behind_s, usegmt=True)}
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": {}}, status=401, headers=date)
        return web.json_response({"data": [{"id": "teacher-1"}]}, headers=date)

    async def _moved(self, request):
        raise web.HTTPFound(f"http://127.0.0.1:{self.port}/v1/models")


@pytest.fixture
def endpoint():
    server = Endpoint().start()
    yield server
    server.stop()


def remote_study(base_url, model="teacher-1"):
    content = yaml.safe_load(load_small())
    server = {"kind": "openai", "base_url": base_url, "model": model, "api_key_env": KEY_VARIABLE}
    content["models"]["rule-teacher"]["server"] = server
    return parse_study(yaml.safe_dump(content))


def load_small():
    from small import SMALL

    return SMALL


def test_an_endpoint_is_asked_with_the_key(endpoint, monkeypatch):
    study = remote_study(endpoint.base_url)
    (refused,), _ = services.endpoints(study)
    assert refused.state == "fault" and f"check the key in {KEY_VARIABLE}" in refused.advice
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    (found,), ahead = services.endpoints(study)
    assert (found.state, found.found) == ("ok", f"{endpoint.base_url} has teacher-1")
    assert machine.clock(ahead).state == "ok"
    (other,), _ = services.endpoints(remote_study(endpoint.base_url, "teacher-2"))
    assert other.state == "warning" and "does not list teacher-2; it has teacher-1" in other.found


def test_an_endpoint_that_is_not_there_is_a_fault(endpoint):
    endpoint.stop()
    (found,), ahead = services.endpoints(remote_study(endpoint.base_url))
    assert found.state == "fault" and "does not answer" in found.found and ahead == {}
    assert services.endpoints(parse_study(load_small()))[0][0].state == "ok"


def test_the_key_is_not_taken_to_where_an_address_leads_on(endpoint, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    (found,), _ = services.endpoints(remote_study(endpoint.base_url.replace("/v1", "/moved")))
    assert found.state == "fault" and "answers 302" in found.found


def test_a_clock_that_is_ahead_of_an_endpoint_shows(endpoint, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    endpoint.behind_s = 1000
    _, ahead = services.endpoints(remote_study(endpoint.base_url))
    found = machine.clock(ahead)
    assert found.state == "fault" and "s ahead of" in found.found


def test_secrets_are_named_and_never_shown(monkeypatch):
    study = remote_study("http://127.0.0.1:9/v1")
    (absent,) = services.secrets(study)
    assert absent.state == "fault" and "rule-teacher need it" in absent.found
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    (there,) = services.secrets(study)
    assert there.state == "ok" and KEY not in str(there)
    assert states(services.secrets(parse_study(load_small()))) == ["ok"]


# The cluster.


@pytest.fixture
def cluster_file(tmp_path, monkeypatch):
    """Has `MBT_CLUSTER` name a cluster of so and so."""

    def write(**content):
        file = tmp_path / "cluster.yaml"
        file.write_text(yaml.safe_dump(content))
        monkeypatch.setenv("MBT_CLUSTER", str(file))

    return write


def folder(tmp_path):
    made = tmp_path / "stand-in"
    made.mkdir()
    return made


def made_on(stand_in, kind, plural, name):
    import urllib.request

    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "mbt"}}
    request = urllib.request.Request(
        f"{stand_in.url}/api/v1/namespaces/mbt/{plural}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).close()


def test_no_cluster_is_fine_and_a_broken_file_is_not(tmp_path, monkeypatch):
    assert states(on_cluster.cluster()) == ["ok"]
    monkeypatch.setenv("MBT_CLUSTER", str(tmp_path / "none.yaml"))
    (found,) = on_cluster.cluster()
    assert found.state == "fault" and "cannot be read" in found.found


def test_a_cluster_is_asked_for_rights_claims_and_secrets(tmp_path, cluster_file):
    with StandIn(folder(tmp_path)) as stand_in:
        cluster_file(kubeconfig=str(stand_in.kubeconfig))
        for name in ("mbt-home", "mbt-models"):
            made_on(stand_in, "PersistentVolumeClaim", "persistentvolumeclaims", name)
        found = {finding.topic: finding for finding in on_cluster.cluster()}
        assert found["cluster"].state == found["rights on the cluster"].state == "ok"
        assert found["claim mbt-home"].state == found["claim mbt-models"].state == "ok"
        assert found["secret mbt-keys"].state == "warning"
        made_on(stand_in, "Secret", "secrets", "mbt-keys")
        stand_in.denied.update({("create", "pods"), ("get", "pods/log"), ("get", "persistentvolumeclaims")})
        found = {finding.topic: finding for finding in on_cluster.cluster()}
        assert found["secret mbt-keys"].state == "ok"
        assert found["rights on the cluster"].state == "fault"
        assert found["rights on the cluster"].found == "may not create pods, get pods/log"
        assert "may not look" in found["claim mbt-home"].found
        cluster_file(kubeconfig=str(stand_in.kubeconfig), storage={"home_claim": "other", "models_claim": None})
        stand_in.denied.clear()
        absent = {finding.topic: finding for finding in on_cluster.cluster()}["claim other"]
        assert absent.state == "fault" and "namespace mbt" in absent.advice


def test_a_cluster_that_does_not_answer_is_a_fault(tmp_path, cluster_file):
    with StandIn(folder(tmp_path)) as stand_in:
        cluster_file(kubeconfig=str(stand_in.kubeconfig))
    (found,) = on_cluster.cluster()
    assert found.state == "fault" and "does not answer" in found.found


# The command.


def mbt(*arguments, **environment):
    environment = {**os.environ, **environment}
    command = [sys.executable, "-m", "mbt_assets.cli.main", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_the_command_ends_with_0_unless_there_is_a_fault_and_shows_no_key(endpoint, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(remote_study(endpoint.base_url).model_dump(mode="json"), sort_keys=False))
    good = mbt("--study", str(study), "--json", MBT_HOME=str(tmp_path), **{KEY_VARIABLE: KEY})
    assert good.returncode == 0, good.stdout + good.stderr
    found = {finding["topic"]: finding for finding in json.loads(good.stdout)}
    assert found["Dagster's records"]["state"] == "warning" and found["lake"]["state"] == "ok"
    bad = mbt("--study", str(study), MBT_HOME=str(tmp_path), **{KEY_VARIABLE: f"{KEY}-wrong"})
    assert bad.returncode == 1 and "fault" in bad.stdout
    assert KEY not in good.stdout + good.stderr + bad.stdout + bad.stderr
