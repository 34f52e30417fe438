"""A study whose every partition counts as made: staleness over the whole grid, with nothing run."""

from mbt_assets.recipes import fingerprint, recipe
from mbt_assets.staleness import assess
from partitions.grid import Grid
from resources.lake import Provenance, Stored


class Remembered:
    """Stands for the stored partitions of a study, all made with its recipes as they are now."""

    def __init__(self, study):
        self.grid = Grid(study)
        self._stored = {node: self._made(node) for node in self.grid.nodes}

    def _made(self, node):
        inputs = {str(parent): f"rows of {parent}" for parent in self.grid.parents(node)}
        made_with = recipe(self.grid.study, node)
        return Stored(f"rows of {node}", 1, Provenance(fingerprint(made_with, inputs), made_with, inputs))

    def stored(self, node):
        return self._stored.get(node)

    def bound_to(self, node):
        return {}

    def changed(self, study=None):
        """Partitions whose own recipe is another now, with what in it; stale must be these and all below them."""
        grid = Grid(study or self.grid.study)
        found = {}
        for node in grid.nodes:
            was, now = self._stored[node].provenance.recipe, recipe(grid.study, node)
            settings = [name for name in {**was, **now} if was.get(name) != now.get(name)]
            if settings:
                found[node] = ", ".join(settings)
        below = set(found)
        for node in grid.nodes:
            if any(parent in below for parent in grid.parents(node)):
                below.add(node)
        standings = assess(grid, self)
        assert {node for node in grid.nodes if standings[node].state == "stale"} == below
        return {str(node): settings for node, settings in found.items()}
