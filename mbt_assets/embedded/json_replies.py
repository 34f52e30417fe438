"""A rule-based reply as the JSON object that a request asks for (`response_format`), instead of lines or a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from mbt_assets.scoring.replies import key_lines


def as_json(reply: str, schema: Mapping[str, Any]) -> str:
    """The reply under the keys of a schema, each value of the type that the schema gives it.

    Args:
        reply: one word, or a `KEY: value` line for each property of the schema.
        schema: an object's; its properties are strings, numbers, or lists of these.

    Raises:
        ValueError: the reply does not have what the schema asks for.
    """
    properties: Mapping[str, Mapping[str, Any]] = schema["properties"]
    keys = tuple(properties)
    values = {keys[0]: reply} if len(keys) == 1 else key_lines(reply, keys, last_is_text=True)
    return orjson.dumps({key: _value(values[key], described) for key, described in properties.items()}).decode()


def _value(text: str, described: Mapping[str, Any]) -> Any:
    kind = described["type"]
    if kind == "array":
        return [] if text == "NONE" else [_value(item, described["items"]) for item in text.split(", ")]
    if kind == "integer":
        return int(text)
    return float(text) if kind == "number" else text
