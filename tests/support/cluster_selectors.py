"""Label and field selectors in the text form that kubectl and the API take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

TERM = re.compile(
    r"\s*(?P<not>!?)(?P<key>[\w./-]+)\s*(?:(?P<sign>==|!=|=)\s*(?P<value>[\w./:-]*)|\s(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?\s*(?:,|$)"
)


class Selector:
    """Which objects are meant.

    Args:
        labels: such as `app=x,tier in (a,b),!old`.
        fields: such as `metadata.name=x`.
    """

    def __init__(self, labels: str = "", fields: str = ""):
        self._labels = _terms(labels)
        self._fields = _terms(fields)

    def matches(self, one: Mapping[str, Any]) -> bool:
        labels = one["metadata"].get("labels") or {}
        of_labels = all(_holds(term, labels.get(term["key"])) for term in self._labels)
        return of_labels and all(_holds(term, _field(one, term["key"])) for term in self._fields)


def _terms(text: str) -> list[dict[str, Any]]:
    terms, place = [], 0
    while place < len(text):
        found = TERM.match(text, place)
        if not found:
            raise ValueError(f"no selector: {text!r}")
        terms.append(found.groupdict())
        place = found.end()
    return terms


def _holds(term: Mapping[str, Any], value: str | None) -> bool:
    if term["set"]:
        inside = value in [one.strip() for one in term["values"].split(",")]
        return inside if term["set"] == "in" else not inside
    if term["sign"]:
        return (value == term["value"]) is (term["sign"] != "!=")
    return (value is None) if term["not"] else (value is not None)


def _field(one: Any, path: str) -> str:
    for part in path.split("."):
        one = one.get(part) if isinstance(one, Mapping) else None
    return "" if one is None else str(one)
