"""Reply forms: what a judge may reply, said so that a server can hold it to that, and JSON replies read back as text.

What belongs here: choices, regular expressions and JSON schemas. However a reply came, the same strict parser reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mbt_assets.scoring.replies import BAD_VALUE, DUPLICATE_KEY, UNEXPECTED_TEXT, JudgeReplyError, shown

CHOICE_REGEX, JSON_SCHEMA = "choice_regex", "json_schema"
"""Ways to hold a reply to its form: vLLM's `structured_outputs`, and OpenAI's `response_format`."""

NOT_JSON = "not_json"
NONE = "NONE"
MOST_NAMES = 200
"""Longer lists of names are no `enum` of a schema: providers bound those. The parser refuses a wrong name anyway."""

_ITEM_BREAK = re.compile(r"[\s,]")


@dataclass(frozen=True)
class Value:
    """One value of a reply: what it looks like as text, and as JSON."""

    regex: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """What one kind of reply looks like.

    Attributes:
        name: shown to the server with a schema.
        values: by key, in order; a form of one word has one.
        words: the words that the reply may be; empty where it is `KEY: value` lines.
    """

    name: str
    values: Mapping[str, Value]
    words: tuple[str, ...] = ()

    def request(self, way: str | None) -> dict[str, Any]:
        """The fields of a request's body that hold its reply to this form.

        Args:
            way: `choice_regex`, `json_schema`, or None for a server that has no such thing.
        """
        if way == JSON_SCHEMA:
            described = {"name": self.name, "strict": True, "schema": self._schema()}
            return {"response_format": {"type": "json_schema", "json_schema": described}}
        if way == CHOICE_REGEX:
            held = {"choice": list(self.words)} if self.words else {"regex": self.regex}
            return {"structured_outputs": held}
        return {}

    @property
    def regex(self) -> str:
        """Matches a whole reply as text."""
        if self.words:
            return "|".join(map(re.escape, self.words))
        return r"\n".join(f"{key}: {value.regex}" for key, value in self.values.items())

    def _schema(self) -> dict[str, Any]:
        # Strict mode wants every key required and no other allowed.
        properties = {key: dict(value.schema) for key, value in self.values.items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def text(self, reply: str, way: str | None) -> str:
        """A reply as the text that the parsers read; only JSON is changed.

        Raises:
            JudgeReplyError: it should be JSON and is not (`not_json`), or has another shape (`unexpected_text`,
                `duplicate_key:…`, `bad_value:…`). What is missing is left to the parser.
        """
        if way != JSON_SCHEMA or not reply.strip():
            return reply
        found = _object(reply)
        other = [key for key in found if key not in self.values]
        if other:
            raise JudgeReplyError(UNEXPECTED_TEXT, shown(other[0]))
        texts = {key: _text(key, found[key], value.schema) for key, value in self.values.items() if key in found}
        return "".join(texts.values()) if self.words else "\n".join(f"{key}: {text}" for key, text in texts.items())


def word_form(key: str, words: Iterable[str]) -> Form:
    """A reply of exactly one word; as JSON an object with that word under `key`."""
    words = tuple(words)
    value = Value("|".join(map(re.escape, words)), {"type": "string", "enum": list(words)})
    return Form(key.lower(), {key: value}, words)


def one_of(names: Iterable[str]) -> Value:
    """One name out of a list."""
    names = list(names)
    return Value(_alternatives(names), _name_schema(names))


def some_of(names: Iterable[str]) -> Value:
    """Any of the names, separated by commas, or NONE; as JSON a list, which may be empty."""
    names = list(names)
    if not names:
        return Value(NONE, {"type": "array", "items": {"type": "string"}})
    one = _alternatives(names)
    return Value(f"(?:{NONE}|{one}(?:, {one})*)", {"type": "array", "items": _name_schema(names)})


def whole_number(lowest: int, highest: int) -> Value:
    """A whole number of one digit."""
    schema = {"type": "integer", "enum": list(range(lowest, highest + 1))}
    return Value(f"[{lowest}-{highest}]", schema)


def whole_numbers(lowest: int, highest: int) -> Value:
    """Any whole numbers of one digit, separated by commas, or NONE; as JSON a list, which may be empty."""
    one = whole_number(lowest, highest)
    return Value(f"(?:{NONE}|{one.regex}(?:, {one.regex})*)", {"type": "array", "items": dict(one.schema)})


CONFIDENCE = Value(r"(?:0(?:\.\d{1,3})?|1(?:\.0{1,3})?)", {"type": "number", "minimum": 0, "maximum": 1})
"""A decimal number in [0, 1]."""

SENTENCE = Value(r"[^\n]*", {"type": "string"})
"""Free text on one line."""


def _alternatives(names: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, names))})"


def _name_schema(names: list[str]) -> dict[str, Any]:
    return {"type": "string", "enum": names} if len(names) <= MOST_NAMES else {"type": "string"}


class _Number(str):
    """A JSON number as it was written: what it may be is the parser's business."""


def _object(reply: str) -> dict[str, Any]:
    try:
        found = json.loads(
            reply, parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_unique
        )
    except (json.JSONDecodeError, RecursionError):
        raise JudgeReplyError(NOT_JSON, shown(reply)) from None
    if not isinstance(found, dict):
        raise JudgeReplyError(NOT_JSON, f"expected an object, got {shown(reply)}")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise JudgeReplyError(f"{DUPLICATE_KEY}:{key}")
        found[key] = value
    return found


def _text(key: str, value: Any, schema: Mapping[str, Any]) -> str:
    """A JSON value as it stands behind its key in a reply of lines."""
    kind = schema["type"]
    if kind == "array" and isinstance(value, list):
        items = [_text(key, item, schema["items"]) for item in value]
        if all(item and item != NONE and not _ITEM_BREAK.search(item) for item in items):
            return ", ".join(items) or NONE
    elif kind == "string" and isinstance(value, str) and not isinstance(value, _Number):
        return " ".join(value.split())
    elif kind in ("integer", "number") and isinstance(value, _Number):
        return str(value)
    raise JudgeReplyError(f"{BAD_VALUE}:{key}", f"expected {kind}, got {shown(str(value))}")
