"""What a partition is stored as: a lake table, or a file of its own with a note of its provenance beside it."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from partitions.grid import Node, registry_origin
from resources.checkpoints import folder_state
from resources.home import Home
from resources.lake import Lake, LakeError, Provenance, Stored


class Artifacts:
    """Finds what lies stored for any partition of the graph.

    Args:
        lake: holds the tables.
        home: holds the warehouse and the report.
    """

    def __init__(self, lake: Lake, home: Home):
        self.lake = lake
        self.files = {"warehouse": home.warehouse, "report": home.folder / "report.html"}

    def stored(self, node: Node) -> Stored | None:
        """What lies there for a partition; None where it was never made or has been deleted."""
        if node.asset not in self.files:
            return self.lake.stored(node)
        path = self.files[node.asset]
        note = _note(path)
        if not path.is_file() or not note.is_file():
            return None
        try:
            content = orjson.loads(note.read_bytes())
            return Stored(content["data_version"], content["rows"], Provenance(**content["provenance"]))
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise LakeError(f"{note} is damaged ({error}): delete it") from error

    def imported_cells(self) -> frozenset[str]:
        """Keys of the cells whose validation rollouts were imported."""
        nodes = [Node("validation_rollouts", key) for key in self.lake.keys("validation_rollouts")]
        with ThreadPoolExecutor(8) as pool:
            found = zip(nodes, pool.map(self.lake.imported, nodes), strict=True)
            return frozenset(node.key for node, stored in found if stored is not None)

    def bound_to(self, node: Node) -> dict[str, str]:
        """What a partition depends on by places, beside its recipe.

        The warehouse's views name the lake; a registry row describes files that anybody may replace.
        """
        if node.asset == "warehouse":
            return {"lake": str(self.lake.root)}
        origin = registry_origin(node.key) if node.asset == "checkpoints" else None
        folders = [uri for uri in self.lake.values(origin, "uri") if "://" not in uri] if origin else []
        return {"files": folder_state(Path(folders[0]))} if folders else {}

    def record(self, asset: str, stored: Stored) -> None:
        """Note what the file of an asset was made of."""
        note = _note(self.files[asset])
        content = {"data_version": stored.data_version, "rows": stored.rows, "provenance": stored.provenance.__dict__}
        temporary = note.with_name(f".{uuid.uuid4().hex}.tmp")
        temporary.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        temporary.replace(note)


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".provenance.json")
