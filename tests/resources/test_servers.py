"""Model servers: the embedded ones for real, and `vllm serve` through a stand-in program of that name."""

import os
import stat
import sys
import textwrap
import urllib.request

import pytest

from partitions.study import Model
from partitions.study_file import load_study
from resources.home import Home
from resources.servers import ModelServers, ServerError, vllm_command

STAND_IN = """
    #!{python}
    # Answers /health after a moment, as a server that loads weights does; writes down how it was called.
    import http.server, os, pathlib, sys, time
    folder = pathlib.Path({folder!r})
    (folder / "arguments").write_text("\\n".join(sys.argv[1:]))
    (folder / "pid").write_text(str(os.getpid()))
    if (folder / "broken").exists():
        print("no such model", flush=True)
        sys.exit(3)
    time.sleep(1)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def servers(tmp_path):
    servers = ModelServers(Home(tmp_path, "test"))
    yield servers
    servers.stop()


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "vllm"
    program.write_text(textwrap.dedent(STAND_IN).format(python=sys.executable, folder=str(folder)).lstrip())
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def paper_model(name):
    return load_study("paper").models[name]


def test_the_flags_of_the_paper_s_models():
    command = vllm_command("qwen3-4b", "hub://Qwen/Qwen3-4B@abc", paper_model("qwen3-4b").server, 8000)
    assert " ".join(command) == (
        "vllm serve Qwen/Qwen3-4B --served-model-name qwen3-4b --host 127.0.0.1 --port 8000 --revision abc "
        "--max-model-len 32768 --gpu-memory-utilization 0.9 --tensor-parallel-size 4 --reasoning-parser qwen3"
    )
    judge = vllm_command("j", "/models/g", paper_model("gemma-4-31b-it").server, 1, trust_remote_code=True)
    assert judge[-2:] == ["--reasoning-parser", "gemma4"]
    assert "--trust-remote-code" in judge
    assert "--revision" not in judge


def test_a_vllm_server_is_waited_for_and_ended(servers, vllm):
    with servers.serving("qwen3-4b", paper_model("qwen3-4b"), "hub://Qwen/Qwen3-4B@abc", "digest") as endpoint:
        assert endpoint.model == "qwen3-4b"
        assert endpoint.model_digest == "digest"
        with urllib.request.urlopen(endpoint.base_url.removesuffix("/v1") + "/health") as reply:
            assert reply.status == 200
    assert "--tensor-parallel-size" in (vllm / "arguments").read_text()
    assert gone(int((vllm / "pid").read_text()))


def test_a_vllm_server_is_ended_when_the_work_fails(servers, vllm):
    with pytest.raises(ZeroDivisionError), servers.serving("m", paper_model("qwen3-4b"), "/models/m", "d"):
        raise ZeroDivisionError
    assert gone(int((vllm / "pid").read_text()))


def test_a_vllm_server_that_ends_at_once_is_told_with_its_log(servers, vllm):
    (vllm / "broken").touch()
    with (
        pytest.raises(ServerError, match=r"exit status 3 .*vllm-m\.log"),
        servers.serving("m", paper_model("qwen3-4b"), "/models/m", "d"),
    ):
        pass
    assert "no such model" in (servers.home.logs / "vllm-m.log").read_text()


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
    with servers.serving("judge", model, "", "d") as endpoint:
        assert (endpoint.base_url, endpoint.model, endpoint.api_key_env) == ("https://host/v1", "gpt", "SOME_KEY")


def test_the_rules_server_is_shared_and_replaced_when_it_dies(servers):
    study = load_study("embedded")
    with servers.serving("t", study.models["rule-teacher"], "", "d") as teacher:
        pass
    with servers.serving("j", study.models["rule-judge"], "", "d") as judge:
        assert judge.base_url == teacher.base_url
    process, _ = servers._running["serve_rules"]
    process.kill()
    process.wait()
    with servers.serving("j", study.models["rule-judge"], "", "d") as again:
        assert again.base_url != teacher.base_url
        with urllib.request.urlopen(again.base_url + "/models") as reply:
            assert reply.status == 200


def test_a_checkpoint_elsewhere_is_refused_by_the_embedded_server(servers):
    study = load_study("embedded")
    servers._embedded = lambda payload, arguments: "http://127.0.0.1:1"
    with (
        pytest.raises(ServerError, match="does not lie below"),
        servers.serving("tiny", study.models["tiny"], "/somewhere/else", "d"),
    ):
        pass
