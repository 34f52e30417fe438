"""The card of a published folder: `README.md`, with a head for programs and the text for people."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import orjson
import polars as pl

from mbt_assets.publishing.choice import SPLITS, TABLES, source_of
from mbt_assets.publishing.columns import Column
from mbt_assets.publishing.head import head, title
from mbt_assets.publishing.licences import Terms, licence_note, terms_of
from mbt_assets.publishing.made import Config, Made
from mbt_assets.publishing.makers import makers, stand_ins
from mbt_assets.publishing.markdown import fenced, plain, visible
from mbt_assets.publishing.origins import prompts_of, samplings_of
from mbt_assets.publishing.reading_back import read_back
from partitions.grid import Grid, Node
from partitions.study import split_variant
from resources.lake import Stored
from resources.tables import TABLES as LAKE_TABLES

DIGITS = 12
"""How much of a digest the card shows; the manifest has all."""
MOST_PARTITIONS = 60
"""Partitions that the card lists; the manifest has all."""


def card(made: Made) -> str:
    """The whole `README.md`."""
    return f"---\n{head(made)}\n---\n\n{_body(made)}"


def _body(made: Made) -> str:
    terms = terms_of(made.study, made.datasets)
    sampling = samplings_of(made.origins)
    return _template().render(
        kind=made.selection.kind,
        title=title(made),
        study=made.study,
        stand_ins=stand_ins(made),
        loading=_loading(made),
        keys=", ".join(f"`{name}`" for name in LAKE_TABLES[TABLES[made.selection.kind]].primary_key()),
        configs=[_config_row(config, {one.dataset: one for one in terms}) for config in made.configs],
        total=made.rows,
        left_out=made.selection.left_out,
        columns=[_column_row(column) for column in made.columns],
        licence_note=licence_note(terms),
        terms=terms,
        models=makers(made),
        read_back=read_back(made),
        made=made,
        partitions=[_partition_row(node, stored) for node, stored in _in_order(made)][:MOST_PARTITIONS],
        partitions_more=max(0, len(made.origins) - MOST_PARTITIONS),
        checkpoints=sorted({(one.part.variant, digest) for one in made.configs for digest in one.checkpoints}),
        prompts=prompts_of(made.origins.values()),
        sampling=fenced(orjson.dumps(sampling, option=orjson.OPT_INDENT_2).decode(), "json") if sampling else "",
        caveats=list(_caveats(made)),
        citations=list(dict.fromkeys(one.citation for one in terms if one.citation)),
    )


def _loading(made: Made) -> str:
    split, first = SPLITS[made.selection.kind], made.configs[0].name
    lines = [
        "from datasets import load_dataset",
        "",
        'where = "OWNER/NAME"  # on the Hub, or the path of this folder',
        f'rows = load_dataset(where, split="{split}")',
        f'some = load_dataset(where, "{first}", split="{split}")',
    ]
    return fenced("\n".join(lines), "python")


def _config_row(config: Config, terms: dict[str, Terms]) -> dict[str, Any]:
    part = config.part
    return {
        "name": config.name,
        "dataset": part.dataset,
        "variant": part.variant,
        "rows": config.rows,
        "questions": config.questions,
        "licence": terms[part.dataset].name,
        "state": "; ".join(config.notes) or "up to date",
    }


def _column_row(column: Column) -> dict[str, Any]:
    fields = [_column_row(field) for field in column.fields]
    kind = "list, see below" if fields else _type(column.dtype)
    return {"name": column.name, "type": kind, "description": column.description, "fields": fields}


def _type(dtype: Any) -> str:
    if isinstance(dtype, pl.List):
        return f"list of {_type(dtype.inner)}"
    if isinstance(dtype, pl.Struct):
        return "{" + ", ".join(f"{field.name}: {_type(field.dtype)}" for field in dtype.fields) + "}"
    return {pl.Boolean(): "bool"}.get(dtype, str(dtype).lower())


def _in_order(made: Made) -> list[tuple[Node, Stored]]:
    """What the rows are of, then what they were made from."""
    own = [config.part.node for config in made.configs]
    others = sorted(set(made.origins) - set(own), key=lambda node: (Grid.ASSETS.index(node.asset), node.key))
    return [(node, made.origins[node]) for node in (*own, *others)]


def _partition_row(node: Node, stored: Stored) -> dict[str, Any]:
    return {
        "name": str(node),
        "rows": stored.rows,
        "data_version": stored.data_version[:DIGITS],
        # A refused partition has a sentence here, in which a check may have any name.
        "fingerprint": visible(stored.provenance.fingerprint)[:DIGITS].replace("`", "'").replace("|", "/"),
        "source": stored.provenance.source or "made here",
    }


def _caveats(made: Made) -> Iterator[str]:
    if made.selection.kind == "rollouts":
        yield (
            "Verdicts, answer hits, profiles and levels are judges' opinions; their raw replies stand beside them, and "
            "a score is null where a reply could not be read."
        )
        yield "These are validation questions with their answers: who trains on them cannot be measured by them."
    else:
        yield from _completion_caveats(made)
        yield "Which rows were left out, and why, is decided by the study's settings; they stand in provenance.json."
    if any(config.notes for config in made.configs):
        yield "Some configurations were not up to date when this was made: see their state above."
    yield "Texts are as the models wrote them: nothing was filtered for what they say."


def _completion_caveats(made: Made) -> Iterator[str]:
    """What completions are, by what they were made from."""
    grid, modes = Grid(made.study), dict[bool, list[str]]()
    for config in made.configs:
        source = source_of(grid, config.part)
        responses = source is not None and source.asset == "train_rollouts"
        modes.setdefault(responses, []).append(split_variant(config.part.variant)[1])
    told = {responses: ", ".join(dict.fromkeys(names)) for responses, names in modes.items()}
    if False in told:
        yield (
            f"Completions of {told[False]} are traces that models wrote or rewrote, closed with the benchmark's "
            "answer: a trace may be wrong although its answer is right."
        )
    if True in told:
        yield (
            f"Completions of {told[True]} are responses as a model gave them, kept where their answer matches the "
            "benchmark's: the reasoning may be wrong although the answer is right."
        )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        # Markdown: every name goes through `md`, which leaves no tag, link or cell in it.
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = plain
    return environment.get_template("card.md.j2")
