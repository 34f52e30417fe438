"""The rule-based teacher and judge: pure functions from a prompt's text to a reply.

They stand in for large models where there is none. All that they know about a question is what its prompt says.
"""

from mbt_assets.embedded.reading import Reply, UnknownPromptError

VERSION = "rules-2"
"""Raise it when any reply changes: it is part of the digest of rule-teacher and rule-judge."""

__all__ = ["VERSION", "Reply", "UnknownPromptError"]
