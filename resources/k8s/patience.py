"""How long a pod may have trouble with its start before it is given up: registries and volumes have hiccups."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from resources.k8s.endings import Waiting, waiting_for


class Patience:
    """Looks at pods again and again, and knows since when each has had trouble.

    Args:
        seconds: of trouble without a break, after which there is no more hope.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._since: dict[str, float] = {}

    def waiting_for(self, pod: Any) -> Waiting | None:
        """What a pod (`V1Pod`) waits for; None once it has run."""
        waiting = waiting_for(pod)
        if waiting is None or not waiting.troubled:
            self._since.pop(pod.metadata.uid, None)
            return waiting
        since = self._since.setdefault(pod.metadata.uid, time.monotonic())
        return replace(waiting, hopeless=waiting.hopeless or time.monotonic() - since >= self._seconds)
