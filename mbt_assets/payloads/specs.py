"""How a payload is called: `--spec FILE`, its fields checked, one clear line and exit status 2 for a user's mistake.

What every payload shares and what needs no torch belongs here.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mbt_assets.payloads.reporting import Reporter, open_reporter

RESULT_FILE = "result.json"
Spec = TypeVar("Spec")


class PayloadMistake(ValueError):
    """A spec, training set or checkpoint that cannot be worked with; the message says what, where and what to do."""


def run_payload(name: str, spec_type: type[Spec], work: Callable[[Spec, Reporter], dict[str, Any]]) -> None:
    """The main function of a payload: reads the spec, works, and writes `result.json` into its `out_dir`.

    Args:
        name: the payload's name, put before error messages.
        spec_type: dataclass of the spec, with a field `out_dir`.
        work: does it, and returns what goes into `result.json`; None from processes that only help the first one.

    Raises:
        SystemExit: with status 2 on a mistake in the spec or in what it names.
    """
    parser = argparse.ArgumentParser(prog=f"python -m mbt_assets.payloads.{name}", description=work.__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="JSON file with the payload's settings")
    arguments = parser.parse_args()
    with open_reporter() as reporter:
        try:
            spec = read_spec(arguments.spec, spec_type)
            result = work(spec, reporter)
            if reporter.is_main:
                out_dir = Path(spec.out_dir)  # type: ignore[attr-defined]
                (out_dir / RESULT_FILE).write_text(json.dumps(result, indent=2) + "\n")
        except PayloadMistake as mistake:
            reporter.error(f"{name}: {mistake}")
            sys.exit(2)


def read_spec(path: Path, spec_type: type[Spec]) -> Spec:
    """Reads a spec file into its dataclass.

    Raises:
        PayloadMistake: the file cannot be read, is no JSON object, lacks a field or has one that nobody knows.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise PayloadMistake(f"cannot read the spec {path}: {error.strerror}") from error
    except ValueError as error:
        raise PayloadMistake(f"the spec {path} is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise PayloadMistake(f"the spec {path} holds a {type(values).__name__}; give a JSON object")
    return spec_from(values, spec_type, f"the spec {path}")


def spec_from(values: Mapping[str, Any], spec_type: type[Spec], where: str) -> Spec:
    """Makes a spec dataclass of a mapping, refusing unknown and missing fields."""
    fields = dataclasses.fields(spec_type)  # type: ignore[arg-type]
    refuse_unknown(values, [field.name for field in fields], where)
    missing = [
        field.name
        for field in fields
        if field.name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise PayloadMistake(f"{where} lacks {', '.join(missing)}")
    return spec_type(**values)


def refuse_unknown(given: Iterable[str], known: Sequence[str], where: str) -> None:
    """Raises PayloadMistake for the first name that is not known, with the nearest one that is."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known)}"
            raise PayloadMistake(f"{where} has an unknown field {name!r}; {hint}")
