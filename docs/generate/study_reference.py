"""The reference of the study file, made from the pydantic models that read it.

A field's type, default and bounds are those of its model's JSON schema; what it means stands in the model's docstring,
under `Attributes:`.
"""

from __future__ import annotations

import json
from typing import Any

import docstring_parser
from markdown_text import prose, table

from partitions.study import Study

WORDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
SIZES = {"minItems", "minProperties", "minLength"}
Schema = dict[str, Any]


def page() -> str:
    """The page as Markdown."""
    return "\n\n".join(_section(name, schema) for name, schema in models().items()) + "\n"


def models() -> dict[str, Schema]:
    """The JSON schema of `Study` and of every model that it consists of, in the order in which fields name them."""
    schema = Study.model_json_schema()
    found, waiting = {"Study": schema}, _named(schema)
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = schema["$defs"][name]
            waiting += _named(found[name])
    return found


def undescribed() -> list[str]:
    """Fields, as `Model.field`, of which no docstring says what they are."""
    return [
        f"{name}.{field}"
        for name, schema in models().items()
        for field in schema.get("properties", {})
        if field not in _meanings(schema)
    ]


def _named(schema: Schema) -> list[str]:
    """Names of the models in a schema's fields, each once."""
    text = json.dumps(schema.get("properties", {}))
    return list(dict.fromkeys(part.split('"')[0] for part in text.split('"#/$defs/')[1:]))


def _meanings(schema: Schema) -> dict[str, str]:
    """What each field of a model is, by the docstring; `kind`, which tells models apart, explains itself."""
    told = docstring_parser.parse(schema.get("description", "")).params
    kind = {"kind": "which of the kinds this is"} if "const" in schema.get("properties", {}).get("kind", {}) else {}
    return kind | {param.arg_name: param.description or "" for param in told}


def _section(name: str, schema: Schema) -> str:
    docstring = docstring_parser.parse(schema.get("description", ""))
    text = "\n\n".join(filter(None, [docstring.short_description, docstring.long_description]))
    meanings, required = _meanings(schema), schema.get("required", [])
    rows = [
        [
            f"`{field}`",
            _type(content),
            "**required**" if field in required else _default(content),
            prose(meanings.get(field, "")),
        ]
        for field, content in schema.get("properties", {}).items()
    ]
    return f"## {name}\n\n{prose(text)}\n\n{table(['field', 'type', 'default', 'meaning'], rows)}"


def _type(schema: Schema) -> str:
    """What a value may be, in words, with links to the models below."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(part) for part in schema[key])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return _plain(schema) + _bounds(schema)


def _plain(schema: Schema) -> str:
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"mapping to {_type(values)}" if isinstance(values, dict) and values else "mapping"
    return WORDS.get(kind or "", "anything")


def _bounds(schema: Schema) -> str:
    found = [words.format(f"{schema[key]:g}") for key, words in BOUNDS.items() if key in schema]
    found += [f"at least {schema[key]}" for key in SIZES & schema.keys()]
    found += [f"as `{schema['pattern']}`"] if "pattern" in schema else []
    return f", {', '.join(found)}" if found else ""


def _default(schema: Schema) -> str:
    value = schema.get("default")
    # A model's default is what its own section says of its fields.
    return "its defaults" if isinstance(value, dict) and "$ref" in schema else f"`{json.dumps(value)}`"
