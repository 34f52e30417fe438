"""A study file as layers of YAML: the file itself, and those that it extends. Merged, and each fault found its line.

`extends` names a packaged study or a file; its mappings are merged with those of the file that says so, key by key,
and lists and single values are replaced. A mapping with another `kind` than before is replaced as a whole: the
fields of a vLLM server mean nothing to an endpoint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from partitions.study import Location

EXTENDS = "extends"
STUDIES = Path(__file__).parent / "studies"


class StudyError(ValueError):
    """A study file that cannot be used; the message lists every fault with its line."""


class StudyLoader(yaml.SafeLoader):
    """PyYAML's safe loader, with YAML 1.2's floats: `1e-4`, which has no dot, is a number and no string."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As PyYAML does; what it cannot make anything of is an error that knows its line."""
        try:
            # Always deep: PyYAML then refuses a value that contains itself.
            return super().construct_object(node, deep=True)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


StudyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


@dataclass(frozen=True)
class Layer:
    """One YAML file: where it is from, its nodes with their lines, and what they say."""

    origin: str
    node: yaml.MappingNode
    content: dict[str, Any]

    def reach(self, where: Location) -> tuple[int, int]:
        """How many parts of `where` stand in this file, and the line of the last of them."""
        node: yaml.Node = self.node
        line, found = node.start_mark.line + 1, 0
        for part in where:
            # Pydantic adds the tags of unions, which stand in no file: what is not found is passed over.
            if isinstance(node, yaml.MappingNode):
                match = [(key, value) for key, value in node.value if _is_key(key, part)]
                if match:
                    line, node, found = match[-1][0].start_mark.line + 1, match[-1][1], found + 1
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node, found = node.value[part], found + 1
                line = node.start_mark.line + 1
        return found, line

    def refusal(self, where: Location, why: str) -> StudyError:
        """The error that names a place in this file."""
        return StudyError(f"{self.origin}:{self.reach(where)[1]}: {dotted(where)}: {why}")


def read_layers(text: str, origin: str) -> list[Layer]:
    """The file's own layer, then what it extends, nearest first.

    Raises:
        StudyError: one of them is no mapping in YAML, is missing, or they extend each other in a loop.
    """
    layers = [_layer(text, origin)]
    seen = [Path(origin).resolve()]
    while EXTENDS in layers[-1].content:
        path = _parent(layers[-1])
        if path.resolve() in seen:
            names = " → ".join([*(layer.origin for layer in layers), str(path)])
            raise layers[-1].refusal((EXTENDS,), f"these extend each other in a loop: {names}")
        seen.append(path.resolve())
        layers.append(_layer(_text(layers[-1], path), str(path)))
    if len(layers) > 1 and "name" not in layers[0].content:
        raise layers[0].refusal((EXTENDS,), "a study that extends another needs a name of its own: its files lie there")
    return layers


def merged(layers: list[Layer]) -> dict[str, Any]:
    """What all layers say together; nearer ones win."""
    contents = [{key: value for key, value in layer.content.items() if key != EXTENDS} for layer in layers]
    return reduce(_merge, reversed(contents))


def listed(layers: list[Layer], faults: list[tuple[Location, str]]) -> StudyError:
    """All faults as one error, each with the file that goes furthest towards its place, and the line there."""
    lines = []
    for where, why in faults:
        # Of layers that go as far, the first: what it says has replaced what the others do.
        layer = max(layers, key=lambda layer: layer.reach(where)[0])
        lines.append(f"{layer.origin}:{layer.reach(where)[1]}: {dotted(where)}: {why}")
    return StudyError("\n".join(lines))


def duplicate_keys(layer: Layer) -> list[tuple[Location, str]]:
    """Keys that stand twice in one mapping, which YAML loaders drop silently."""
    return _duplicates(layer.node, ())


def dotted(where: Location) -> str:
    """A place in a study, in words."""
    return ".".join(str(part) for part in where) or "(whole file)"


def _layer(text: str, origin: str) -> Layer:
    try:
        node = yaml.compose(text, Loader=StudyLoader)
        content = yaml.load(text, Loader=StudyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise StudyError(f"{origin}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(node, yaml.MappingNode) or not isinstance(content, dict):
        raise StudyError(f"{origin}: a study is a mapping with name, datasets, models, …; this file holds none")
    return Layer(origin, node, content)


def _is_key(node: yaml.Node, part: str | int) -> bool:
    """Whether a key is the one that a place names: as it was written, or as what it was read as (`on` is True)."""
    if node.value == str(part):
        return True
    # `<<` is no value: it cannot be read alone.
    return node.tag != "tag:yaml.org,2002:merge" and str(StudyLoader("").construct_object(node)) == str(part)


def _parent(layer: Layer) -> Path:
    """The file that a layer extends: a packaged study, or a path as seen from the layer's own folder."""
    name = layer.content[EXTENDS]
    if not isinstance(name, str):
        raise layer.refusal((EXTENDS,), f"should be the name of a packaged study or a file, and is {name!r}")
    for candidate in (STUDIES / f"{name}.yaml", Path(layer.origin).parent / name):
        if candidate.is_file():
            return candidate
    packaged = ", ".join(sorted(path.stem for path in STUDIES.glob("*.yaml")))
    raise layer.refusal((EXTENDS,), f"no study {name!r}: give a file, seen from this one, or one of {packaged}")


def _text(layer: Layer, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise layer.refusal((EXTENDS,), f"{path} cannot be read: {error}") from error


def _merge(far: Any, near: Any) -> Any:
    if not isinstance(far, dict) or not isinstance(near, dict):
        return near
    if "kind" in near and near["kind"] != far.get("kind"):
        return near
    return far | {key: _merge(far[key], value) if key in far else value for key, value in near.items()}


def _duplicates(node: yaml.Node, where: Location) -> list[tuple[Location, str]]:
    found: list[tuple[Location, str]] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            place = (*where, key.value)
            if key.value in seen:
                found.append((place, f"the key {key.value!r} stands twice in one mapping"))
            seen.add(key.value)
            found += _duplicates(value, place)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            found += _duplicates(value, (*where, i))
    return found
