"""The report: one HTML file with the paper's tables and figures, the marts, and what they were made of."""

import hashlib
import re
import uuid
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import jinja2
import yaml
from markupsafe import Markup

from mbt_assets.stage import OWNERS, OpTags, no_tags, provenance_of, when_updated
from mbt_assets.tables.entries import table_of
from mbt_assets.tables.figures import DRAWINGS, Drawing, caption, data_of, drawn
from mbt_assets.tables.frames import LENGTHS, Marts
from mbt_assets.tables.layout import LAYOUTS
from mbt_assets.tables.notes import caveat_of
from mbt_assets.tables.render import html
from mbt_assets.tables.style import has_matplotlib
from partitions.axes import Axes
from partitions.grid import MARTS, Node
from partitions.study import Study
from resources import warehouse
from resources.artifacts import Artifacts
from resources.lake import Stored
from resources.lake_in_duckdb import steadily

TEMPLATE = Path(__file__).with_name("report.html.j2")


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)


def render(study: Study, marts: Marts, digests: dict[str, str]) -> str:
    """The report as HTML; every text that comes from data is escaped.

    Args:
        study: shown as YAML.
        marts: the marts by name, and the lengths of responses.
        digests: data version of each mart.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["shown"] = _shown
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        study=study,
        settings=yaml.safe_dump(study.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True),
        paper=[html(table_of(layout, marts, study)) for layout in LAYOUTS.values()],
        figures=figures_of(marts, study),
        tables={name: (frame.columns, frame.rows()) for name, frame in marts.frames.items()},
        digests=digests,
        caveat=caveat_of(study),
    )


def figures_of(marts: Marts, study: Study) -> list[tuple[Drawing, Markup, str]]:
    """Each figure that there are numbers for, as SVG to stand in HTML, and its caption; none without matplotlib."""
    found = []
    for drawing in DRAWINGS.values() if has_matplotlib() else []:
        data = data_of(drawing, marts, study)
        if svg := drawn(drawing, data, study, ["svg"]).get("svg"):
            found.append((drawing, _inline(svg.decode(), drawing.name), caption(drawing, data, study)))
    return found


def _inline(svg: str, name: str) -> Markup:
    """An SVG as part of a page: without its head, and with ids that no other figure of the page has."""
    body = svg[svg.index("<svg") :]
    return Markup(re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", body))


def _all_marts(connection: duckdb.DuckDBPyConnection) -> Marts:
    frames = {mart: warehouse.query(connection, f"SELECT * FROM {mart}") for mart in MARTS}
    return Marts(frames, warehouse.query(connection, LENGTHS))


def report_asset(axes: Axes, op_tags: OpTags = no_tags) -> dg.AssetsDefinition:
    """The asset of the report file."""
    study = axes.grid.study

    @dg.asset(
        name="report",
        deps=axes.deps_of("report"),
        group_name="warehouse",
        kinds={"html"},
        owners=OWNERS,
        description="One self-contained HTML file: the paper's tables and figures, the marts, settings, digests.",
        automation_condition=when_updated("warehouse"),
        required_resource_keys={"artifacts"},
        op_tags=op_tags("report"),
    )
    def written(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        artifacts: Artifacts = context.resources.artifacts
        provenance = provenance_of(artifacts, study, Node("report"), context.run_id)
        with warehouse.reading(artifacts.files["warehouse"], artifacts.lake) as connection:
            marts = steadily(artifacts.lake, lambda: _all_marts(connection))
        stored = {mart: artifacts.stored(Node(mart)) for mart in MARTS}
        text = render(study, marts, {mart: s.data_version for mart, s in stored.items() if s})
        target = artifacts.files["report"]
        temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
        version = hashlib.sha256(text.encode()).hexdigest()
        artifacts.record("report", Stored(version, len(marts.frames), provenance))
        return dg.MaterializeResult(
            metadata={"path": dg.MetadataValue.path(str(target)), "bytes": len(text)},
            data_version=dg.DataVersion(version),
        )

    return written
