"""What of a study JSON cannot carry: it travels as JSON to the processes that work on it, and must arrive unchanged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date
from typing import Any

from pydantic import BaseModel

from partitions.study import Location, Study


def json_problems(study: Study) -> Iterator[tuple[Location, str]]:
    """What JSON would change in a study: where, and why with what to do."""
    yield from _value_problems((), study)


def _value_problems(where: Location, value: Any) -> Iterator[tuple[Location, str]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _value_problems((*where, name), getattr(value, name))
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _key_problems(where, key)
            yield from _value_problems((*where, str(key)), entry)
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            yield from _value_problems((*where, i), entry)
    elif why := _refused(value):
        yield where, why


def _key_problems(where: Location, key: Any) -> Iterator[tuple[Location, str]]:
    if not isinstance(key, str):
        why = f"the key {key} is read as {type(key).__name__}, and only strings can be keys: put it in quotes"
        yield (*where, str(key)), why
    elif not _is_text(key):
        # At the mapping: a message with the key itself could not be printed.
        yield where, f"the key {key!r} holds half a surrogate pair, which is no character"


def _refused(value: Any) -> str | None:
    """Why JSON cannot carry a value that holds no others, and what to do; None where it can."""
    if isinstance(value, str):
        return None if _is_text(value) else f"{value!r} holds half a surrogate pair, which is no character"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is not finite: give a number, or leave the field out"
    if value is None or isinstance(value, int):
        return None
    if isinstance(value, date):
        return f"{value} is read as a date: put it in quotes"
    return (
        f"is read as {type(value).__name__}, which a study cannot hold: write a string, a number, a list or a mapping"
    )


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
