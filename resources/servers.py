"""Model servers: gives an OpenAI-compatible endpoint for a model of the study, starting a server where one is needed.

One server serves all processes of a study that ask for the same: it is leased, and its keeper stops it some time
after the last lease has ended. A lease of vLLM lasts as long as the rollouts of one cell, so that its GPUs can go to
another server then. A lease of an embedded server, which costs next to nothing, lasts as long as its process.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import dagster as dg
import orjson

import mbt_assets
from partitions.model_sources import NoServer, RemoteServer, RulesServer, StudentServer, VllmServer
from partitions.study import Model
from resources.checkpoints import ADAPTER_CONFIG, CheckpointError, base_of_adapter, is_adapter
from resources.engine import Endpoint
from resources.gpus import gpus_of_server
from resources.home import Home
from resources.keeper import LOOPBACK, PORT
from resources.leases import Lease, ServerError, ServerSpec

__all__ = ["ModelServers", "ServerError", "vllm_command"]

EMBEDDED_IDLE_S = 30.0
VLLM_GRACE_S = 20.0
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes for its largest rank."""
NOT_SERVED = "{name} has no weights that could be served (source: imported)"
SERVED_ROOMS = ("payloads", "embedded", "prompts", "benchmarks", "scoring")


class ModelServers:
    """Endpoints for the models of a study.

    Args:
        home: where checkpoints, server logs and the records of running servers lie.
    """

    def __init__(self, home: Home):
        self.home = home
        self._kept: dict[str, Lease] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def serving(self, name: str, model: Model, uri: str, digest: str) -> Iterator[tuple[Endpoint, ...]]:
        """The endpoints that answer as one checkpoint of a model; one, unless the study names several.

        Args:
            name: the model's name in the study.
            model: its entry.
            uri: where the checkpoint's weights lie (a registry uri).
            digest: the checkpoint's digest: part of every request's identity.

        Raises:
            ServerError: the server does not come up; the message shows the end of its log.
            GpuError: the server needs more GPUs than this machine has.
        """
        server = model.server
        if isinstance(server, RemoteServer):
            yield remote_endpoints(model, server, digest)
        elif isinstance(server, RulesServer):
            yield (Endpoint(self._embedded("serve_rules", []) + "/v1", server.name, digest, reasons=model.reasons),)
        elif isinstance(server, StudentServer):
            served_as = name_below(Path(uri), self.home.checkpoints)
            url = self._embedded("serve_student", student_arguments(server, self.home))
            yield (Endpoint(url + "/v1", served_as, digest, reasons=model.reasons),)
        elif isinstance(server, NoServer):
            raise ServerError(NOT_SERVED.format(name=name))
        else:
            lease = Lease(self.home.servers, self._vllm(name, model, server, uri, digest))
            try:
                yield (Endpoint(lease.url(notice) + "/v1", name, digest, reasons=model.reasons),)
            finally:
                lease.release()

    def stop(self) -> None:
        """End the use of the servers that this object keeps; they stop by themselves when nobody else uses them."""
        with self._lock:
            for lease in self._kept.values():
                lease.release()
            self._kept.clear()

    def _embedded(self, payload: str, arguments: list[str]) -> str:
        """The base URL of an embedded server, leased from its first use on."""
        self.home.checkpoints.mkdir(parents=True, exist_ok=True)
        spec = ServerSpec(
            name=payload,
            command=(sys.executable, "-m", f"mbt_assets.payloads.{payload}", "--port", "0", *arguments),
            # Its own: what a server prints tells where it listens.
            log=self._log("-".join([payload, *(argument for argument in arguments if argument.isdigit())])),
            # Otherwise a server that still runs would answer as the code was before it was edited.
            identity=(code_identity(),),
            idle_timeout_s=EMBEDDED_IDLE_S,
            environment={"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
        with self._lock:
            lease = self._kept.get(spec.digest)
            if lease is None:
                lease = self._kept[spec.digest] = Lease(self.home.servers, spec)
            return lease.url(notice)

    def _vllm(self, name: str, model: Model, server: VllmServer, uri: str, digest: str) -> ServerSpec:
        if shutil.which("vllm") is None:
            raise ServerError("vllm is not installed: put `vllm` (its own environment) on the PATH")
        command = vllm_command(name, uri, server, PORT, trust_remote_code=model.trust_remote_code)
        return ServerSpec(
            name=name,
            command=tuple(command),
            log=self._log(f"vllm-{name}-{digest[:8]}"),
            # The weights behind the same uri can change.
            identity=(digest,),
            startup_timeout_s=server.startup_timeout_s,
            idle_timeout_s=server.idle_timeout_s,
            grace_s=VLLM_GRACE_S,
            gpus=gpus_of_server(model.compute.gpus, server.options),
        )

    def _log(self, name: str) -> Path:
        return self.home.logs / f"{name}.log"


def remote_endpoints(model: Model, server: RemoteServer, digest: str) -> tuple[Endpoint, ...]:
    """The endpoints of a model that somebody else serves; `digest` is part of every request's identity."""
    return tuple(
        Endpoint(
            url,
            server.model,
            digest,
            api_key_env=server.api_key_env,
            reasons=model.reasons,
            requests_per_minute=server.requests_per_minute,
            tokens_per_minute=server.tokens_per_minute,
            batch=server.batch,
        )
        for url in server.base_urls
    )


def student_arguments(server: StudentServer, home: Home) -> list[str]:
    """Arguments of the embedded student server; no checkpoint is among them: one server answers for all."""
    return ["--root", str(home.checkpoints), "--max-batch", str(server.max_batch)]


def vllm_command(
    name: str, uri: str, server: VllmServer, port: int | str, *, host: str = LOOPBACK, trust_remote_code: bool = False
) -> list[str]:
    """The `vllm serve` command line of a checkpoint: one flag per option of the study.

    An adapter is served on top of its base, which then answers under another name. Weights are read from safetensors
    alone, since loading others may run code, unless the study says `load_format`.

    Raises:
        CheckpointError: an adapter's configuration does not name its base, or names another adapter.
    """
    repo, _, commit = uri.removeprefix("hub://").partition("@")
    revision: str | None = commit
    served_as, adapter = name, []
    if is_adapter(Path(uri)):
        repo, revision = base_of_adapter(Path(uri))
        if is_adapter(Path(repo)):
            raise CheckpointError(
                f"{uri} is an adapter on the adapter {repo}, and vLLM serves one at a time: train the one below with "
                "`adapter: merge`"
            )
        served_as, adapter = f"{name}-base", _lora_flags(name, Path(uri))
    command = ["vllm", "serve", repo, "--served-model-name", served_as, "--host", host, "--port", str(port)]
    if revision:
        command += ["--revision", revision]
    command += adapter
    if trust_remote_code:
        command.append("--trust-remote-code")
    if not {"load_format", "load-format"} & set(server.options):
        command += ["--load-format", "safetensors"]
    for option, value in server.options.items():
        flag = f"--{option.replace('_', '-')}"
        if isinstance(value, bool):
            command += [flag] if value else []
        else:
            command += [flag, str(value)]
    return command


def _lora_flags(name: str, adapter: Path) -> list[str]:
    config = orjson.loads((adapter / ADAPTER_CONFIG).read_bytes())
    rank = max(int(config.get("r") or LORA_RANKS[0]), *(config.get("rank_pattern") or {"": 0}).values())
    room = next((size for size in LORA_RANKS if size >= rank), rank)
    return ["--enable-lora", "--lora-modules", f"{name}={adapter}", "--max-lora-rank", str(room)]


@cache
def code_identity() -> str:
    """Digest of the files that embedded servers run, by name, size and time of change."""
    root = Path(mbt_assets.__file__).parent
    files = [path for room in SERVED_ROOMS for path in sorted((root / room).rglob("*"))]
    stats = {path: path.stat() for path in files if path.suffix in (".py", ".yaml")}
    lines = [f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def notice(line: str) -> None:
    """Say what is waited for: in the run's log, inside a run."""
    dg.get_dagster_logger("servers").info(line)


def name_below(path: Path, root: Path) -> str:
    """The name by which the embedded student server knows a checkpoint.

    Raises:
        ServerError: the checkpoint lies elsewhere.
    """
    if not path.is_relative_to(root):
        raise ServerError(f"checkpoint {path} does not lie below {root}: the embedded server answers only for those")
    return path.relative_to(root).as_posix()
