"""What a pod's specification says of its first container: command and environment, and asking whether it is ready."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any

import aiohttp
from cluster_objects import CONFIG_MAPS, SECRETS, Object, Objects, Refusal

REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][\w.-]*)\)")


class ConfigError(Exception):
    """A container that cannot be made, since what it takes its environment from is not there."""


def command_of(pod: Object, env: dict[str, str]) -> list[str]:
    """The program and its arguments; an image's own entry point is not known here."""
    container = pod["spec"]["containers"][0]
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    return [_expanded(word, env) for word in words]


def environment_of(pod: Object, objects: Objects) -> dict[str, str]:
    """The variables that a pod sets.

    Raises:
        ConfigError: a secret, a config map or a key of one is not there.
    """
    container, namespace = pod["spec"]["containers"][0], pod["metadata"]["namespace"]
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for kind, field in ((CONFIG_MAPS, "configMapRef"), (SECRETS, "secretRef")):
            if reference := source.get(field):
                entries = _entries(objects, kind, namespace, reference)
                env |= {source.get("prefix", "") + name: value for name, value in entries.items()}
    for variable in container.get("env") or []:
        value = _value(pod, objects, variable, env)
        if value is not None:
            env[variable["name"]] = value
    return env


def _value(pod: Object, objects: Objects, variable: Object, env: dict[str, str]) -> str | None:
    source = variable.get("valueFrom") or {}
    if path := (source.get("fieldRef") or {}).get("fieldPath"):
        return _field(pod, path)
    for kind, field in ((CONFIG_MAPS, "configMapKeyRef"), (SECRETS, "secretKeyRef")):
        if reference := source.get(field):
            entries = _entries(objects, kind, pod["metadata"]["namespace"], reference)
            if reference["key"] not in entries and not reference.get("optional"):
                raise ConfigError(f"couldn't find key {reference['key']} in {kind.name} {reference['name']}")
            return entries.get(reference["key"])
    return _expanded(variable.get("value") or "", env)


def _entries(objects: Objects, kind: Any, namespace: str, reference: Object) -> dict[str, str]:
    try:
        one = objects.get(kind, namespace, reference["name"])
    except Refusal:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind.name.lower()} "{reference["name"]}" not found') from None
    data = one.get("data") or {}
    if kind == SECRETS:
        data = {name: base64.b64decode(value).decode() for name, value in data.items()}
    return {**data, **(one.get("stringData") or {})}


def _field(pod: Object, path: str) -> str:
    keyed = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if keyed:
        return (pod["metadata"].get(keyed[1]) or {}).get(keyed[2], "")
    value: Any = pod
    for part in path.split("."):
        value = (value or {}).get(part)
    return str(value or "")


def _expanded(text: str, env: dict[str, str]) -> str:
    # `$(NAME)` stays as it is where there is no such variable; `$$` is a dollar.
    return REFERENCE.sub(lambda found: "$" if found[1] is None else env.get(found[1], found[0]), text)


async def answers(probe: Object | None, pod: Object) -> bool:
    """Whether a container passes a probe; one that is asked otherwise than by HTTP or TCP passes."""
    how = (probe or {}).get("httpGet") or (probe or {}).get("tcpSocket")
    if not how:
        return True
    host, port = pod["status"]["podIP"], _port(pod, how["port"])
    try:
        if "httpGet" not in (probe or {}):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return True
        timeout = aiohttp.ClientTimeout((probe or {}).get("timeoutSeconds", 1))
        url = f"http://{host}:{port}{how.get('path', '/')}"
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as reply:
            return 200 <= reply.status < 400
    except (OSError, aiohttp.ClientError, TimeoutError):
        return False


def _port(pod: Object, port: int | str) -> int:
    named = {one.get("name"): one["containerPort"] for one in pod["spec"]["containers"][0].get("ports") or []}
    return named[port] if port in named else int(port)
