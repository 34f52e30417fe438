"""The models that had a part in published rows, and what is to be said of them."""

from __future__ import annotations

from mbt_assets.publishing.choice import source_of
from mbt_assets.publishing.made import Made
from partitions.grid import Grid, split_key
from partitions.study import Model, split_variant

WEIGHTS = {
    "embedded": "a tiny model that mbt-assets makes",
    "rules": "none: rules of mbt-assets",
    "imported": "not known: its rollouts were imported",
    "path": "a folder of whoever ran the study",
}
"""What stands for weights that have no address, by the kind of their source."""
STAND_INS = {
    "embedded": "The student is a model of a fraction of a million parameters.",
    "rules": "The teacher or the judge is a set of rules, not a language model.",
}


def makers(made: Made) -> list[dict[str, str]]:
    """Each model's `name`, its `part` in the rows and its `weights`."""
    models = made.study.models
    return [
        {"name": name, "part": ", ".join(dict.fromkeys(parts)), "weights": _weights(models[name])}
        for name, parts in _parts(made).items()
    ]


def stand_ins(made: Made) -> str:
    """That rows were made by an embedded model, or by rules; empty where they were not."""
    kinds = {made.study.models[name].source.kind for name in _parts(made)}
    return " ".join(text for kind, text in STAND_INS.items() if kind in kinds)


def _parts(made: Made) -> dict[str, list[str]]:
    """What each model did, once per configuration that it did it for."""
    grid, parts = Grid(made.study), dict[str, list[str]]()
    for config in made.configs:
        source = source_of(grid, config.part)
        writer = split_variant(split_key(source.key)[1] if source else config.part.variant)[0]
        wrote = source is not None and source.asset == "synthesized_traces"
        parts.setdefault(writer, []).append("wrote traces" if wrote else "answered")
        if source is not None and source.asset == "rewritten_traces":
            parts.setdefault(made.study.teacher, []).append("rewrote answers")
    if made.selection.kind == "rollouts":
        for judge in made.study.judges:
            parts.setdefault(judge, []).append("judged")
    return parts


def _weights(model: Model) -> str:
    if repo := getattr(model.source, "repo", None):
        return f"https://huggingface.co/{repo}"
    return WEIGHTS.get(model.source.kind, model.source.kind)
