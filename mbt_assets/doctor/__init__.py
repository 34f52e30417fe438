"""Looks at an installation, and says of every fault what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """What one look found.

    Attributes:
        topic: what was looked at.
        state: `fault` keeps the study from running as it is written; `warning` does not.
        found: what is there; never a secret.
        advice: what to do; empty where all is well.
    """

    topic: str
    state: State
    found: str
    advice: str = ""
