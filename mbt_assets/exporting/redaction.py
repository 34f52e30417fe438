"""Blanking what looks like a secret in settings, before they are handed on.

A study should name environment variables, but its server options and sampling extras take anything, also a key. Where
it cannot be told, a setting is blanked: one that is missed is a smaller harm than a key that is read.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET = re.compile(
    r"(passw(or)?d|pass_?phrase|secret|credential|authori[sz]ation|api_?key)s?(_|$)"
    r"|(^|_)(auth|bearer|cookies?|creds?|pwd)(_|$)"
    r"|(^|_)(access|api|auth|bearer|hf|refresh|security|session)_?tokens?(_|$)"
    r"|(^|_)(access|account|hf|private|ssh|subscription)_?keys?(_|$)"
)
_KEY_OR_TOKEN = re.compile(r"(^|_)(keys?|token)(_(value|string|text))?$")
_DATA = re.compile(
    # Of a tokenizer, a count, or a column: no secrets.
    r"(^|_)(added|begin|bos|call|class|cls|decoder|delimiter|each|end|eoi|eos|eot|extra|first|image|last|mask|max|min|new"
    r"|next|num|pad|padding|per|sep|separator|sos|special|start|stop|think|unk|unknown|video|audio)_token"
    r"|(^|_)(answer|choice|column|dataset|group|id|image|input|label|message|output|primary|problem|prompt|public"
    r"|question|response|sort|text)_keys?"
)
_SAYS_ABOUT = re.compile(r"_(env|variable|var|names?|header|type|mode|method|ur[il]|endpoint|path|file)$")

_LOGIN = re.compile(r"(?<=://)[^/?#\s]*@")
_ASKED = re.compile(r"(?P<address>://[^\s?#]*)(?P<asked>[?#]\S*)")
_NAMED = re.compile(
    r"""((?<!\S)--?(?P<flag>[A-Za-z][\w.-]*)\s+|(?<![\w.])(?P<name>\w[\w.-]*)["']?\s*[=:]\s*["']?)(?=\S)(?!\*\*\*)"""
)
_HEADER = re.compile(r"\b(bearer\s+|basic\s+(?=\S{8}))\S+", re.IGNORECASE)
_ISSUED = re.compile(
    r"(?<![A-Za-z0-9])(sk-[\w-]{8,}|(hf_|gsk_|xai-|nvapi-)[A-Za-z0-9]{16,}[\w-]*|gh[opsur]_\w{16,}|github_pat_\w{16,}"
    r"|glpat-[\w-]{16,}|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{30,}|xox[a-z]-[\w-]{8,}|eyJ[\w-]{8,}\.[\w-]{8,}[\w.-]*)"
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*", re.DOTALL)


def without_secrets(value: Any, name: str = "") -> Any:
    """A part of a study or of a recipe without what looks like a secret.

    Args:
        value: anything that JSON can carry.
        name: of the setting that it is the value of.

    Returns:
        The same with `***` in place of: texts and numbers of settings whose names speak of a secret; what follows
        such a name in a text, as in `NAME=value`, `NAME: value` or `--name value`; logins and query values of
        addresses; bearer and basic headers; texts in the form of well-known providers' keys.
    """
    if isinstance(value, dict):
        return {key: without_secrets(part, _inner(name, _name_of(value, str(key)))) for key, part in value.items()}
    if isinstance(value, list):
        # In a command's arguments, the flag says what comes after it.
        before = [name, *(_inner(name, _flag(one)) for one in value)]
        return [without_secrets(part, one) for part, one in zip(value, before, strict=False)]
    if value is None or isinstance(value, bool):
        return value
    if _is_secret(name):
        return HIDDEN
    return _cleared(value) if isinstance(value, str) else value


def _inner(outer: str, name: str) -> str:
    """What a part goes by: all that a secret consists of is secret."""
    return outer if _is_secret(outer) else name or outer


def _name_of(entry: dict[str, Any], key: str) -> str:
    beside = entry.get("name")
    return beside if key == "value" and isinstance(beside, str) else key


def _flag(text: Any) -> str:
    return text.lstrip("-") if isinstance(text, str) and re.fullmatch(r"--?[A-Za-z][\w.-]*", text) else ""


def _is_secret(name: str) -> bool:
    """Whether a setting of this name, in any spelling, holds a secret."""
    spelt = "_".join(_WORD.findall(name)).lower()
    if _SAYS_ABOUT.search(spelt):
        return False
    return bool(_SECRET.search(spelt) or (_KEY_OR_TOKEN.search(spelt) and not _DATA.search(spelt)))


def _cleared(text: str) -> str:
    """A text without the secrets that its form gives away."""
    text = _ASKED.sub(lambda found: found["address"] + _without_values(found["asked"]), _LOGIN.sub(f"{HIDDEN}@", text))
    text = _ISSUED.sub(HIDDEN, _PRIVATE_KEY.sub(HIDDEN, text))
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    return "\n".join(map(_without_named, text.split("\n")))


def _without_values(asked: str) -> str:
    """The query and fragment of an address, of which only the names of the parameters stay."""
    return re.sub(r"[^?#&;=]+=[^?#&;]*|[^?#&;]+", lambda part: _without_value(part[0]), asked)


def _without_value(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}={HIDDEN}" if equals else HIDDEN


def _without_named(line: str) -> str:
    """A line up to the first value with a secret's name: nobody can tell where that value ends."""
    for found in _NAMED.finditer(line):
        if _is_secret(found["flag"] or found["name"]):
            return line[: found.end()] + HIDDEN
    return line


def without_folders(value: Any) -> Any:
    """The same with the last name alone of each folder or file of this machine: the rest is nobody's business.

    Args:
        value: a setting, or anything that JSON can hold.
    """
    if isinstance(value, dict):
        return {key: without_folders(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_folders(part) for part in value]
    if isinstance(value, str) and value.startswith(("/", "~/", "./", "../", "file://")) and "\n" not in value:
        return f"…/{value.rstrip('/').rpartition('/')[2]}"
    return value
