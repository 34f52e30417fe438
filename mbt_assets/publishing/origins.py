"""Where a folder's rows come from: the partitions behind them, the prompts and the sampling, without any secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mbt_assets import prompts
from mbt_assets.exporting.redaction import without_folders, without_secrets
from partitions.grid import Grid, Node
from resources.lake import Lake, Stored


def origins(grid: Grid, lake: Lake, read: Mapping[Node, Stored]) -> dict[Node, Stored]:
    """What was read, and every partition behind it that is in the lake; children before their parents.

    Args:
        grid: tells what each partition is made from.
        lake: holds them.
        read: what was read, as it was read.
    """
    found = dict(read)
    waiting = list(read)
    while waiting:
        for parent in grid.parents(waiting.pop()):
            if parent not in found and (stored := lake.stored(parent)):
                found[parent] = stored
                waiting.append(parent)
    return found


def told(node: Node, stored: Stored) -> dict[str, Any]:
    """What the manifest says of a partition."""
    made = stored.provenance
    return {
        "partition": str(node),
        "rows": stored.rows,
        "data_version": stored.data_version,
        "fingerprint": made.fingerprint,
        "recipe": shown(made.recipe),
        "inputs": made.inputs,
        "source": made.source or None,
        "run_id": made.run_id or None,
        "created_at": made.created_at or None,
    }


def shown(value: Any) -> Any:
    """Settings without secrets, and without the folders of the machine that they name: the last name stays."""
    return without_folders(without_secrets(value))


def prompts_of(found: Iterable[Stored]) -> dict[str, tuple[int | None, str]]:
    """Version and digest of each prompt template that rows were made with; no version where it was edited since."""
    digests: dict[str, str] = {}
    for stored in found:
        digests |= dict(_prompts_in(stored.provenance.recipe))
    now = {prompts.digest(name): name for name in prompts.NAMES}
    used: dict[str, tuple[int | None, str]] = {}
    for name, digest in digests.items():
        known = now.get(digest)
        used[known or name] = (prompts.version(known) if known else None, digest)
    return dict(sorted(used.items()))


def _prompts_in(recipe: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if isinstance(digest := recipe.get("prompt"), str):
        yield str(recipe.get("template", digest[:12])), digest


def samplings_of(found: Mapping[Node, Stored]) -> dict[str, Any]:
    """The decoding settings of each table's requests; several where a table's partitions differ."""
    used: dict[str, list[Any]] = {}
    for node, stored in found.items():
        sampling = stored.provenance.recipe.get("sampling")
        if sampling and (cleared := _without_empty(shown(sampling))) not in used.setdefault(node.asset, []):
            used[node.asset].append(cleared)
    return {table: settings[0] if len(settings) == 1 else settings for table, settings in sorted(used.items())}


def _without_empty(settings: dict[str, Any]) -> dict[str, Any]:
    parts = {name: _without_empty(part) if isinstance(part, dict) else part for name, part in settings.items()}
    return {name: part for name, part in parts.items() if part != {}}
