"""The paper's tables and figures, made from the marts: what they hold, how they look, and the files they go to.

Nothing here computes a figure of its own: every number is one of a mart.
"""

from __future__ import annotations


class TablesError(ValueError):
    """Tables or figures that cannot be made; the message says why and what to do."""
