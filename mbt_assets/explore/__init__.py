"""The explorer: a web app over the read-only warehouse, on which a person looks at figures and at what they are of.

Each page is a module with `routes`, which asks the warehouse and fills a template; `source` reads, `view` shows.
"""

from __future__ import annotations


class ExploreError(ValueError):
    """The explorer cannot start; the message says why and what to do."""


class NotFound(LookupError):
    """A page's address names what is not there; the message says what, and where to look instead."""
