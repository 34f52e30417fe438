"""A program called `vllm` for the pods of a stand-in cluster, and models of the paper that it serves.

What it does is told by the name of the repository: `broken` ends at once, `slow` never answers its health check.
"""

import stat
import sys
import textwrap

from partitions.study_file import load_study
from resources import engine
from resources.k8s.cluster import Cluster, Storage

QUICK = engine.EngineOptions(concurrency=8, max_attempts=2, give_up_seconds=1.0, outage_failures=2)
PROGRAM = """
    #!{python}
    import http.server, json, sys, time
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            self.answer({{}})
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            print("asked", flush=True)
            time.sleep(0.02)
            message = {{"role": "assistant", "content": "yes", "reasoning": "so"}}
            choices = [{{"index": 0, "finish_reason": "stop", "message": message}}]
            usage = {{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
            self.answer({{"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": choices,
                         "usage": usage}})
        def answer(self, body):
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        def log_message(self, *about):
            pass
    print("started", *sys.argv[1:], flush=True)
    repo = sys.argv[2]
    if repo == "broken":
        print("ValueError: the weights cannot be read", flush=True)
        sys.exit(3)
    if repo == "slow" or "--headless" in sys.argv:
        time.sleep(600)
    where = sys.argv[sys.argv.index("--host") + 1], int(sys.argv[sys.argv.index("--port") + 1])
    http.server.ThreadingHTTPServer(where, Handler).serve_forever()
"""


def vllm_on_path(folder):
    """Make the program; the environment by which pods find it."""
    folder.mkdir()
    program = folder / "vllm"
    program.write_text(textwrap.dedent(PROGRAM).lstrip().format(python=f"{sys.executable} -S"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def cluster_settings(stand_in, **more):
    """The cluster file's content for a stand-in, looked at often."""
    storage = Storage(home_claim=None, models_claim=None)
    return Cluster(kubeconfig=str(stand_in.kubeconfig), storage=storage, poll_s=0.05, patience_s=0.5, **more)


def served(options=None, server=None, **compute):
    """The paper's teacher on one GPU, with what differs in its server's options, its server and its needs."""
    model = load_study("paper").models["gpt-oss-120b"]
    options = {"tensor_parallel_size": 1, **(options or {})}
    changes = {"options": options, "idle_timeout_s": 0, **(server or {})}
    needs = model.compute.model_copy(update={"gpus": 1, **compute})
    return model.model_copy(update={"server": model.server.model_copy(update=changes), "compute": needs})


def use(servers, model=None, uri="hub://owner/teacher", digest="d"):
    """Use the teacher's server."""
    return servers.serving("teacher", model or served(), uri, digest)


def requests(count):
    """So many different ones."""
    return [engine.Request(str(number), [{"role": "user", "content": f"{number}?"}]) for number in range(count)]


def living(stand_in):
    """Names of the pods that are not being deleted."""
    return [pod["metadata"]["name"] for pod in stand_in.pods() if "deletionTimestamp" not in pod["metadata"]]
