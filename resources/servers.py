"""Model servers: gives an OpenAI-compatible endpoint for a model of the study, starting a server where one is needed.

The embedded servers live as long as this process, since one of them answers for every checkpoint; a vLLM server
lives as long as the rollouts of one checkpoint.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from partitions.study import Model, RemoteServer, RulesServer, StudentServer, VllmServer
from resources.engine import Endpoint
from resources.home import Home

LOOPBACK = "127.0.0.1"
READY = "READY "


class ServerError(RuntimeError):
    """A model server that does not come up; the message names its log."""


class ModelServers:
    """Endpoints for the models of a study.

    Args:
        home: where checkpoints and server logs lie.
    """

    def __init__(self, home: Home):
        self.home = home
        self._running: dict[str, tuple[subprocess.Popen[bytes], str]] = {}
        self._lock = threading.Lock()
        atexit.register(self.stop)

    @contextlib.contextmanager
    def serving(self, name: str, model: Model, uri: str, digest: str) -> Iterator[Endpoint]:
        """An endpoint that answers as one checkpoint of a model.

        Args:
            name: the model's name in the study.
            model: its entry.
            uri: where the checkpoint's weights lie (a registry uri).
            digest: the checkpoint's digest: part of every request's identity.

        Raises:
            ServerError: the server does not come up.
        """
        server = model.server
        if isinstance(server, RemoteServer):
            yield Endpoint(server.base_url, server.model, digest, api_key_env=server.api_key_env)
        elif isinstance(server, RulesServer):
            yield Endpoint(self._embedded("serve_rules", []) + "/v1", server.name, digest)
        elif isinstance(server, StudentServer):
            arguments = ["--root", str(self.home.checkpoints), "--max-batch", str(server.max_batch)]
            url = self._embedded("serve_student", arguments)
            yield Endpoint(url + "/v1", _below(Path(uri), self.home.checkpoints), digest)
        else:
            with self._vllm(name, model, server, uri) as url:
                yield Endpoint(url + "/v1", name, digest)

    def stop(self) -> None:
        """End the servers that this object started."""
        with self._lock:
            for process, _ in self._running.values():
                _end(process)
            self._running.clear()

    def _embedded(self, payload: str, arguments: list[str]) -> str:
        """The base URL of an embedded server, started on first use."""
        with self._lock:
            process, url = self._running.get(payload, (None, ""))
            if process is None or process.poll() is not None:
                process, url = self._start(payload, arguments)
                self._running[payload] = (process, url)
            return url

    def _start(self, payload: str, arguments: list[str]) -> tuple[subprocess.Popen[bytes], str]:
        self.home.checkpoints.mkdir(parents=True, exist_ok=True)
        log = self._log(payload)
        command = [sys.executable, "-m", f"mbt_assets.payloads.{payload}", "--port", "0", "--exit-with-parent"]
        with log.open("ab") as errors:
            process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            )
        assert process.stdout is not None
        for line in process.stdout:
            text = line.decode(errors="replace").strip()
            if text.startswith(READY):
                return process, text.removeprefix(READY)
        raise ServerError(f"the server {payload} did not start (exit status {process.wait()}); see {log}")

    @contextlib.contextmanager
    def _vllm(self, name: str, model: Model, server: VllmServer, uri: str) -> Iterator[str]:
        port = _free_port()
        log = self._log(f"vllm-{name}")
        command = vllm_command(name, uri, server, port, trust_remote_code=model.trust_remote_code)
        try:
            with log.open("ab") as out:
                # Its own session: ending the group reaches vLLM's worker processes too.
                process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        except FileNotFoundError as error:
            raise ServerError("vllm is not installed: put `vllm` (its own environment) on the PATH") from error
        try:
            url = f"http://{LOOPBACK}:{port}"
            _wait_healthy(process, url, server.startup_timeout_s, log)
            yield url
        finally:
            _end(process, group=True)

    def _log(self, name: str) -> Path:
        self.home.logs.mkdir(parents=True, exist_ok=True)
        return self.home.logs / f"{name}.log"


def vllm_command(name: str, uri: str, server: VllmServer, port: int, *, trust_remote_code: bool = False) -> list[str]:
    """The `vllm serve` command line of a checkpoint: one flag per option of the study."""
    repo, _, revision = uri.removeprefix("hub://").partition("@")
    command = ["vllm", "serve", repo, "--served-model-name", name, "--host", LOOPBACK, "--port", str(port)]
    if uri.startswith("hub://") and revision:
        command += ["--revision", revision]
    if trust_remote_code:
        command.append("--trust-remote-code")
    for option, value in server.options.items():
        flag = f"--{option.replace('_', '-')}"
        if isinstance(value, bool):
            command += [flag] if value else []
        else:
            command += [flag, str(value)]
    return command


def _below(path: Path, root: Path) -> str:
    if not path.is_relative_to(root):
        raise ServerError(f"checkpoint {path} does not lie below {root}: the embedded server answers only for those")
    return path.relative_to(root).as_posix()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _wait_healthy(process: subprocess.Popen[bytes], url: str, timeout_s: float, log: Path) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(
                f"the model server ended with exit status {process.returncode} before it answered; see {log}"
            )
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return
        time.sleep(0.5)
    raise ServerError(f"the model server did not answer {url}/health within {timeout_s:.0f} s; see {log}")


def _end(process: subprocess.Popen[bytes], *, group: bool = False) -> None:
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        if group:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
