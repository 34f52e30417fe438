"""Reading, checking, rendering and digesting the template files of one folder.

A template is re-read when its file changes, so that a running code location sees an edit and its new digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
import jinja2.meta
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

PLAIN_FENCE = "====="


class PromptError(ValueError):
    """A template file or a call to it is wrong; the message says which file or field, and what to do."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class _TemplateFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    version: int = Field(ge=1)
    description: str = Field(min_length=1)
    defaults: dict[str, Any] = {}
    messages: list[_Message] = Field(min_length=1)


@dataclass(frozen=True)
class Template:
    """One template file, compiled.

    Attributes:
        name: the file's stem.
        version: whole number that its author raises when the wording changes on purpose.
        description: one line for people.
        digest: sha256 of the file's bytes, 64 hex digits.
        fields: names that `render` needs.
        defaults: values of the fields that it takes but does not need.
        messages: (role, compiled content) in order.
    """

    name: str
    version: int
    description: str
    digest: str
    fields: frozenset[str]
    defaults: Mapping[str, Any]
    messages: tuple[tuple[str, jinja2.Template], ...]


def _one_line(text: object) -> str:
    """Collapse all white space: a document or question can then never open a line of its own in the prompt."""
    return " ".join(str(text).split())


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def _fence(values: Mapping[str, object]) -> str:
    """Return what frames the headings of a prompt; a field that imitates a heading cannot imitate this.

    It is `=====`, unless some field holds that itself: then a digest of all fields is put into the frame, for text
    cannot contain its own digest.
    """
    texts = list(_strings(list(values.values())))
    if not any(PLAIN_FENCE in text for text in texts):
        return PLAIN_FENCE
    mark = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{PLAIN_FENCE}{mark}{PLAIN_FENCE}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["one_line"] = _one_line
    return environment


class PromptLibrary:
    """The templates of one folder of YAML files.

    Args:
        folder: holds one `<name>.yaml` per template.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = _environment()
        self._loaded: dict[str, tuple[tuple[int, int], Template]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all templates, sorted."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.yaml")))

    def template(self, name: str) -> Template:
        """Return the template called `name`, read anew if its file has changed.

        Raises:
            PromptError: there is no such template, or its file is broken.
        """
        path = self._folder / f"{name}.yaml"
        try:
            stat = path.stat()
        except OSError:
            raise PromptError(f"no prompt template {name!r}; there are: {', '.join(self.names)}") from None
        stamp = (stat.st_mtime_ns, stat.st_size)
        held = self._loaded.get(name)
        if held is None or held[0] != stamp:
            held = (stamp, self._compile(path, path.read_bytes()))
            self._loaded[name] = held
        return held[1]

    def digest(self, name: str) -> str:
        """Return the sha256 of the template file's bytes, as 64 hex digits; put on every row the prompt made."""
        return self.template(name).digest

    def version(self, name: str) -> int:
        """Return the version number that the template file states."""
        return self.template(name).version

    def fields(self, name: str) -> frozenset[str]:
        """Return the names of the fields that the template needs; those that have defaults are not among them."""
        return self.template(name).fields

    def render(self, name: str, /, **fields: Any) -> list[dict[str, str]]:
        """Fill a template in.

        Args:
            name: which template.
            **fields: what it needs, see `fields`; others are ignored, so a whole question record may be passed.
                Field text is put in as it is: no template code in it is run.

        Returns:
            Chat messages, each `{"role": ..., "content": ...}`.

        Raises:
            PromptError: a field is missing or has the wrong shape.
        """
        template = self.template(name)
        missing = sorted(template.fields - fields.keys())
        if missing:
            raise PromptError(f"prompt {name!r} needs {', '.join(missing)}; pass them to render()")
        used = {key: fields[key] for key in template.fields}
        used |= {key: fields.get(key, value) for key, value in template.defaults.items()}
        used["fence"] = _fence(used)
        try:
            return [{"role": role, "content": content.render(used)} for role, content in template.messages]
        except (jinja2.TemplateError, TypeError, AttributeError) as error:
            raise PromptError(f"prompt {name!r} cannot be filled in: {error}; check the fields' shapes") from error

    def _compile(self, path: Path, data: bytes) -> Template:
        try:
            parsed = _TemplateFile.model_validate(yaml.safe_load(data))
            if parsed.name != path.stem:
                raise ValueError(f"it names itself {parsed.name!r}; make that {path.stem!r}, like the file")
            sources = [message.content for message in parsed.messages]
            fields: set[str] = set()
            for source in sources:
                fields |= jinja2.meta.find_undeclared_variables(self._environment.parse(source))
            compiled = [self._environment.from_string(source) for source in sources]
        except (yaml.YAMLError, UnicodeDecodeError, jinja2.TemplateError, ValueError) as error:
            raise PromptError(f"prompt template {path} is broken: {_reason(error)}; correct the file") from error
        roles = [message.role for message in parsed.messages]
        return Template(
            name=parsed.name,
            version=parsed.version,
            description=parsed.description,
            digest=hashlib.sha256(data).hexdigest(),
            fields=frozenset(fields - parsed.defaults.keys() - {"fence"}),
            defaults=parsed.defaults,
            messages=tuple(zip(roles, compiled, strict=True)),
        )


def _reason(error: Exception) -> str:
    """Return one line on what is wrong, with the place where the parser knows it."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
    line = getattr(error, "lineno", None)
    return _one_line(error) + (f" (line {line} of a message)" if line else "")
