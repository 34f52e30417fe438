"""What pins a model that answers: its weights, and the settings of its server that change what it says.

Pure functions of the study and of the local files that it names; nothing here asks the network or reads weights,
except `request_identity`.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from mbt_assets import embedded
from partitions.model_sources import PathSource, RemoteServer, RulesServer, VllmServer
from partitions.study import Model, Study
from resources.checkpoints import digest_folder, folder_state

NEUTRAL_OPTIONS = frozenset(
    [
        # Where the server listens, who may ask, what it logs.
        *("host", "port", "uds", "root_path", "api_key", "hf_token", "served_model_name", "api_server_count"),
        *("allow_credentials", "allowed_origins", "allowed_methods", "allowed_headers", "disable_fastapi_docs"),
        *("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_cert_reqs", "enable_ssl_refresh"),
        *("uvicorn_log_level", "disable_uvicorn_access_log", "max_log_len", "enable_request_id_headers"),
        *("disable_log_requests", "enable_log_requests", "disable_log_stats", "enable_server_load_tracking"),
        *("otlp_traces_endpoint", "collect_detailed_traces", "show_hidden_metrics_for_version"),
        # How the weights get into memory, and which devices and processes hold them.
        *("download_dir", "max_parallel_loading_workers", "use_tqdm_on_load", "safetensors_load_strategy"),
        *("tensor_parallel_size", "pipeline_parallel_size", "enable_expert_parallel", "distributed_executor_backend"),
        *("data_parallel_size", "data_parallel_size_local", "data_parallel_address", "data_parallel_rpc_port"),
        *("data_parallel_backend", "data_parallel_rank", "data_parallel_start_rank", "data_parallel_hybrid_lb"),
        *("nnodes", "node_rank", "master_addr", "master_port", "disable_custom_all_reduce"),
        *("gpu_memory_utilization", "kv_cache_memory_bytes", "swap_space", "cpu_offload_gb"),
        *("num_gpu_blocks_override", "block_size"),
        # How requests are put together in a batch.
        *("max_num_seqs", "max_num_batched_tokens", "max_num_partial_prefills", "max_long_partial_prefills"),
        *("long_prefill_token_threshold", "enable_chunked_prefill", "scheduling_policy", "async_scheduling"),
        *("enable_prefix_caching", "prefix_caching_hash_algo", "stream_interval", "enforce_eager"),
    ]
)
"""Options of `vllm serve` that do not change what a model says, rounding aside. Any other option counts: an unknown
one makes rows stale for nothing at worst, a forgotten one would let old text pass for new."""


def digest_of(content: Any) -> str:
    """Sha256 of any JSON-like value, independent of the order of keys."""
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def model_identity(study: Study, name: str) -> str:
    """Digest of what pins a model's weights, as far as it can be told at once."""
    model = study.models[name]
    made_of = _named_weights(model)
    if isinstance(model.source, PathSource):
        made_of["files"] = folder_state(Path(model.source.path))
    return digest_of(made_of)


def _named_weights(model: Model) -> dict[str, Any]:
    named: dict[str, Any] = {"source": model.source.model_dump(), "trust_remote_code": model.trust_remote_code}
    if model.source.kind == "rules":
        named["version"] = embedded.VERSION
    return named


def server_settings(study: Study, name: str) -> dict[str, Any]:
    """The settings of a model's server that its replies depend on.

    An endpoint's address is not among them: a model that moves to another machine says the same, and rows by the
    million must not be made again for that. The name under which it is asked is.
    """
    model = study.models[name]
    server = model.server
    settings: dict[str, Any] = {"kind": server.kind}
    if isinstance(server, RemoteServer):
        settings["model"] = server.model
    elif isinstance(server, RulesServer):
        settings["name"] = server.name
    elif isinstance(server, VllmServer):
        settings["options"] = _telling_options(server)
    return settings


def reply_terms(study: Study, name: str) -> dict[str, Any]:
    """The settings that replies depend on, and those that decide what counts as one.

    The latter make rows stale, but no reply: the engine knows by itself which of them still count.
    """
    terms = {"length_retries": study.limits.length_retries, "reasons": study.models[name].reasons}
    return server_settings(study, name) | terms


def _telling_options(server: VllmServer) -> dict[str, Any]:
    """Options that change text, each under its flag's one spelling."""
    spelt = {option.replace("-", "_"): value for option, value in server.options.items()}
    return {
        option: _with_content(value)
        for option, value in spelt.items()
        # False is no flag at all.
        if option.removeprefix("no_") not in NEUTRAL_OPTIONS and value is not False
    }


def _with_content(value: Any) -> Any:
    """An option's value; where it names a file (a chat template, say), with what the file holds."""
    if not isinstance(value, str) or "\n" in value or len(value) > 1000 or not Path(value).is_file():
        return value
    return {"file": value, "sha256": hashlib.sha256(Path(value).read_bytes()).hexdigest()}


def request_identity(study: Study, name: str, weights: str | None = None) -> str:
    """What stands for a model in the digest of its requests: only the same weights, served the same, answer again.

    Args:
        study: holds the model.
        name: the model.
        weights: digest of the checkpoint that answers; None for a teacher or judge, which is no partition. Of
            weights in a folder the bytes count then, so that touched files send no request again.
    """
    model = study.models[name]
    if weights is None and isinstance(model.source, PathSource) and Path(model.source.path).is_dir():
        folder = Path(model.source.path).absolute()
        weights = digest_of([_named_weights(model), _content(folder, folder_state(folder))])
    return digest_of([weights or model_identity(study, name), server_settings(study, name)])


@cache
def _content(folder: Path, state: str) -> str:
    """The content digest of a checkpoint; read once per state, since every table of every cell asks for it."""
    return digest_folder(folder)
