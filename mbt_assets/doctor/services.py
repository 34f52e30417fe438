"""The endpoints and secrets that a study names."""

from __future__ import annotations

import email.utils
import os
import time

import httpx2

from mbt_assets.doctor import Finding
from partitions.model_sources import RemoteServer
from partitions.study import Study

TIMEOUT_S = 10.0


def secrets(study: Study) -> list[Finding]:
    """Whether the variables that hold the study's keys are set. Their values are not looked at."""
    named: dict[str, list[str]] = {}
    for name, model in study.models.items():
        if isinstance(model.server, RemoteServer) and model.server.api_key_env:
            named.setdefault(model.server.api_key_env, []).append(name)
    if any("wandb" in trainer.report_to for trainer in (study.sft, study.grpo)):
        named.setdefault("WANDB_API_KEY", []).append("training reports")
    if not named:
        return [Finding("secrets", "ok", "the study names none")]
    return [_secret(variable, ", ".join(users)) for variable, users in named.items()]


def _secret(variable: str, users: str) -> Finding:
    if os.environ.get(variable):
        return Finding(f"secret {variable}", "ok", f"is set, for {users}")
    advice = f"set {variable} in the environment of this and of Dagster's processes"
    return Finding(f"secret {variable}", "fault", f"is not set; {users} need it", advice)


def endpoints(study: Study) -> tuple[list[Finding], dict[str, float]]:
    """Ask each remote server which models it has.

    Returns:
        What was found, and how many seconds each server's clock is ahead of ours.
    """
    findings: list[Finding] = []
    ahead: dict[str, float] = {}
    for name, model in study.models.items():
        if isinstance(model.server, RemoteServer):
            for url in model.server.base_urls:
                findings.append(_ask(name, model.server, url.rstrip("/"), ahead))
    return findings or [Finding("endpoints", "ok", "the study names none")], ahead


def _ask(name: str, server: RemoteServer, url: str, ahead: dict[str, float]) -> Finding:
    topic = f"endpoint of {name}"
    key = os.environ.get(server.api_key_env or "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        # Redirects are not followed: the key is for this address alone.
        reply = httpx2.get(f"{url}/models", headers=headers, timeout=TIMEOUT_S, follow_redirects=False)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        return Finding(
            topic, "fault", f"{url} does not answer: {why}", "check the address, the network, and its server"
        )
    if sent := email.utils.parsedate_tz(reply.headers.get("Date", "")):
        ahead[url] = email.utils.mktime_tz(sent) - time.time()
    if reply.status_code in (401, 403):
        key_advice = f"check the key in {server.api_key_env}" if server.api_key_env else "it wants a key: api_key_env"
        return Finding(topic, "fault", f"{url} refuses ({reply.status_code})", key_advice)
    if reply.status_code != 200:
        advice = "check that the address ends where the API begins, usually in /v1"
        return Finding(topic, "fault", f"{url}/models answers {reply.status_code}", advice)
    return _served(topic, url, server.model, reply)


def _served(topic: str, url: str, wanted: str, reply: httpx2.Response) -> Finding:
    try:
        models = [str(entry["id"]) for entry in reply.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return Finding(topic, "warning", f"{url}/models is no list of models", "see what serves there")
    if wanted in models:
        return Finding(topic, "ok", f"{url} has {wanted}")
    shown = ", ".join(models[:5]) or "none"
    return Finding(topic, "warning", f"{url} does not list {wanted}; it has {shown}", "check `model` in the study")
