"""What a pod printed, as the API gives it out: the kubelet's lines, with times where asked for, followed to the end."""

from __future__ import annotations

import time
from collections.abc import Mapping

from aiohttp import web
from cluster_objects import Object, Refusal
from cluster_pods import PodProcess


async def answer_log(request: web.Request, pod: Object, process: PodProcess | None) -> web.StreamResponse:
    """Answer a request for a pod's log."""
    name = pod["metadata"]["name"]
    waiting = _waiting(pod)
    previous = is_set(request, "previous")
    if process is None or (waiting and not process.lines):
        message = f'container in pod "{name}" is waiting to start: {waiting or "ContainerCreating"}'
        raise Refusal(400, "BadRequest", message)
    if process.lost:
        raise Refusal(500, "InternalError", f'Get "https://{name}:10250/containerLogs": no route to host')
    run = process.restarts - 1 if previous else process.restarts
    if waiting and not previous:  # Between two starts the last one's log is shown.
        run = process.restarts - 1
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    stamped, place = is_set(request, "timestamps"), _first_line(process, run, request.query)
    follow = is_set(request, "follow")
    while True:
        # Looked at before the lines are: whatever was printed by then is sent.
        over = process.over or process.restarts != run
        while place < len(process.lines):
            line, place = process.lines[place], place + 1
            if line.run == run:
                await response.write((line.stamp.encode() + b" " if stamped else b"") + line.text + b"\n")
        if over or not follow:
            return response
        if not process.over and process.restarts == run:
            await process.printed()


def is_set(request: web.Request, name: str) -> bool:
    """Whether a query asks for something."""
    # The Python client writes True, others true.
    return request.query.get(name, "").lower() in ("true", "1")


def _waiting(pod: Object) -> str | None:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    waiting = statuses[0]["state"].get("waiting") if statuses else {"reason": "ContainerCreating"}
    return waiting and waiting["reason"]


def _first_line(process: PodProcess, run: int, query: Mapping[str, str]) -> int:
    """Where the asked part of the log begins."""
    lines = process.lines
    place = next((place for place, line in enumerate(lines) if line.run == run), len(lines))
    if "sinceSeconds" in query:
        oldest = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - int(query["sinceSeconds"])))
        place = next((at for at in range(place, len(lines)) if lines[at].stamp >= oldest), len(lines))
    if "tailLines" in query:
        last = next((at for at in range(place, len(lines)) if lines[at].run > run), len(lines))
        place = max(place, last - int(query["tailLines"]))
    return place
