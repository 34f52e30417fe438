"""Model servers: the embedded ones for real, and `vllm serve` through a stand-in program of that name."""

import urllib.request

import pytest
from folders import write_adapter, write_checkpoint
from processes import kill, lives, until

from partitions.study import Model
from partitions.study_file import load_study
from resources.checkpoints import CheckpointError
from resources.gpus import GpuError
from resources.home import Home
from resources.server_files import kept_servers
from resources.servers import ModelServers, ServerError, vllm_command


@pytest.fixture
def servers(tmp_path, folder):
    servers = ModelServers(Home(tmp_path, "test"))
    assert servers.home.servers == folder
    yield servers
    servers.stop()


def paper_model(name):
    return load_study("paper").models[name]


def test_vllm_reads_other_weights_than_safetensors_only_where_the_study_says_so():
    server = paper_model("qwen3-4b").server.model_copy(update={"options": {"load_format": "auto"}})
    command = " ".join(vllm_command("q", "hub://o/m@abc", server, 1))
    assert command.count("--load-format") == 1 and command.endswith("--load-format auto")


def test_the_flags_of_the_paper_s_models():
    command = vllm_command("qwen3-4b", "hub://Qwen/Qwen3-4B@abc", paper_model("qwen3-4b").server, 8000)
    assert " ".join(command) == (
        "vllm serve Qwen/Qwen3-4B --served-model-name qwen3-4b --host 127.0.0.1 --port 8000 --revision abc "
        "--load-format safetensors "
        "--max-model-len 32768 --gpu-memory-utilization 0.9 --tensor-parallel-size 4 --reasoning-parser qwen3"
    )
    judge = vllm_command("j", "/models/g", paper_model("gemma-4-31b-it").server, 1, trust_remote_code=True)
    assert judge[-2:] == ["--reasoning-parser", "gemma4"]
    assert "--trust-remote-code" in judge
    assert "--revision" not in judge


def test_an_adapter_is_served_under_the_model_s_name_on_top_of_its_base(tmp_path):
    server = paper_model("qwen3-4b").server
    base = write_checkpoint(tmp_path / "base")
    adapter = write_adapter(tmp_path / "adapter", base, rank=24)
    command = " ".join(vllm_command("qwen3-4b", str(adapter), server, 8000))
    assert command.startswith(f"vllm serve {base} --served-model-name qwen3-4b-base --host 127.0.0.1 --port 8000")
    assert f"--enable-lora --lora-modules qwen3-4b={adapter} --max-lora-rank 32" in command
    published = write_adapter(tmp_path / "published", "Qwen/Qwen3-4B", revision="abc")
    assert vllm_command("q", str(published), server, 1)[2] == "Qwen/Qwen3-4B"
    assert "--revision abc" in " ".join(vllm_command("q", str(published), server, 1))
    with pytest.raises(CheckpointError, match="is an adapter on the adapter"):
        vllm_command("q", str(write_adapter(tmp_path / "second", adapter)), server, 1)


def quick(name="qwen3-4b", idle=0.3, **compute):
    """A model of the paper whose server goes soon after its last use."""
    model = paper_model(name)
    server = model.server.model_copy(update={"idle_timeout_s": idle})
    return model.model_copy(
        update={"server": server, "compute": model.compute.model_copy(update=compute) if compute else model.compute}
    )


def test_a_vllm_server_is_waited_for_kept_for_the_next_cell_and_then_ended(servers, vllm):
    model = quick(idle=2.0)
    with servers.serving("qwen3-4b", model, "hub://Qwen/Qwen3-4B@abc", "digest") as (endpoint,):
        assert endpoint.model == "qwen3-4b"
        assert endpoint.model_digest == "digest"
        with urllib.request.urlopen(endpoint.base_url.removesuffix("/v1") + "/health") as reply:
            assert reply.status == 200
    assert "--tensor-parallel-size" in (vllm.folder / "arguments").read_text()
    assert (vllm.folder / "devices").read_text() == "0,1,2,3"
    pids = vllm.pids()
    with servers.serving("qwen3-4b", model, "hub://Qwen/Qwen3-4B@abc", "digest") as (again,):
        assert again == endpoint
    assert vllm.pids() == pids
    assert until(lambda: not any(lives(pid) for pid in pids))


def test_another_checkpoint_gets_a_server_of_its_own(servers, vllm):
    with servers.serving("m", quick(gpus=1), "/models/m", "one") as (one,):
        pass
    with servers.serving("m", quick(gpus=1), "/models/m", "two") as (two,):
        assert two.base_url != one.base_url


def test_the_use_of_a_vllm_server_ends_when_the_work_fails(servers, vllm):
    with pytest.raises(ZeroDivisionError), servers.serving("m", quick(), "/models/m", "d"):
        raise ZeroDivisionError
    assert until(lambda: not any(lives(pid) for pid in vllm.pids()))


def test_a_vllm_server_that_ends_at_once_is_told_with_its_log(servers, vllm):
    (vllm.folder / "broken").touch()
    with (
        pytest.raises(ServerError, match=r"exit status 3 .*vllm-m-d\.log ends with:\n(.*\n)*no such model$"),
        servers.serving("m", quick(), "/models/m", "d"),
    ):
        pass


def test_a_server_that_needs_more_gpus_than_there_are_is_refused(servers, vllm, monkeypatch):
    monkeypatch.setenv("MBT_GPUS", "2")
    with (
        pytest.raises(GpuError, match="server m needs 4 GPUs and this machine has 2"),
        servers.serving("m", quick(), "/models/m", "d"),
    ):
        pass


def test_a_missing_vllm_says_what_to_install(servers, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ServerError, match="vllm is not installed"),
        servers.serving("m", paper_model("qwen3-4b"), "/models/m", "d"),
    ):
        pass


def test_an_endpoint_of_somebody_else_needs_no_server(servers):
    server = {"kind": "openai", "base_url": "https://host/v1", "model": "gpt", "api_key_env": "SOME_KEY"}
    model = Model(role="judge", source={"kind": "hub", "repo": "a/b"}, server=server)
    with servers.serving("judge", model, "", "d") as (endpoint,):
        assert (endpoint.base_url, endpoint.model, endpoint.api_key_env) == ("https://host/v1", "gpt", "SOME_KEY")


def test_the_rules_server_is_shared_and_replaced_when_it_dies(servers):
    study = load_study("embedded")
    with servers.serving("t", study.models["rule-teacher"], "", "d") as (teacher,):
        pass
    with servers.serving("j", study.models["rule-judge"], "", "d") as (judge,):
        assert judge.base_url == teacher.base_url
    [(_, record)] = kept_servers(servers.home.servers)
    kill(record.pid)
    with servers.serving("j", study.models["rule-judge"], "", "d") as (again,):
        assert again.base_url != teacher.base_url
        with urllib.request.urlopen(again.base_url + "/models") as reply:
            assert reply.status == 200


def test_a_checkpoint_elsewhere_is_refused_by_the_embedded_server(servers):
    study = load_study("embedded")
    with (
        pytest.raises(ServerError, match="does not lie below"),
        servers.serving("tiny", study.models["tiny"], "/somewhere/else", "d"),
    ):
        pass
    assert kept_servers(servers.home.servers) == []


def test_one_student_server_answers_for_every_checkpoint_and_every_process(servers):
    pytest.importorskip("torch", reason="the student's server needs the train extra")
    model = load_study("embedded").models["tiny"]
    root = servers.home.checkpoints / "tiny"
    with servers.serving("tiny", model, str(root / "one"), "1") as (one,):
        pass
    other = ModelServers(servers.home)
    with other.serving("tiny", model, str(root / "two"), "2") as (two,):
        assert (one.base_url, one.model, two.model) == (two.base_url, "tiny/one", "tiny/two")
        [(files, _)] = kept_servers(servers.home.servers)
        assert files.leases() == 2
    other.stop()
    assert files.leases() == 1
