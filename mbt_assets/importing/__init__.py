"""Rollouts that were made elsewhere, taken into the lake to be scored like our own.

`files` reads what somebody has, `matching` tells which question a row is of, `rows` makes rollouts of the rows,
`landing` puts them into the lake, and `kept` sees that nothing here makes them again.
"""

from __future__ import annotations


class ImportingError(ValueError):
    """A file that cannot be imported, or rows that an import holds; the message says what is wrong and what to do."""
