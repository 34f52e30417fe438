"""The report: one HTML file with the marts' tables, the study's settings and what they were made of."""

import hashlib
import uuid
from pathlib import Path
from typing import Any

import dagster as dg
import jinja2
import polars as pl
import yaml

from mbt_assets.stage import OWNERS, provenance_of, when_updated
from partitions.axes import Axes
from partitions.grid import MARTS, Node
from partitions.study import Study
from resources import warehouse
from resources.artifacts import Artifacts
from resources.lake import Stored

TEMPLATE = Path(__file__).with_name("report.html.j2")
CAVEATS = {
    "embedded": "The student is a real but tiny language model, teacher and judge are rules, and the questions are "
    "generated: these numbers show that the platform works. They are no benchmark results."
}


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)


def render(study: Study, tables: dict[str, pl.DataFrame], digests: dict[str, str]) -> str:
    """The report as HTML; every text that comes from data is escaped.

    Args:
        study: shown as YAML.
        tables: the marts by name.
        digests: data version of each mart.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["shown"] = _shown
    embedded = any(model.source.kind == "embedded" for model in study.models.values())
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        study=study,
        settings=yaml.safe_dump(study.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True),
        tables={name: (frame.columns, frame.rows()) for name, frame in tables.items()},
        digests=digests,
        caveat=CAVEATS["embedded"] if embedded else "",
    )


def report_asset(axes: Axes) -> dg.AssetsDefinition:
    """The asset of the report file."""
    study = axes.grid.study

    @dg.asset(
        name="report",
        deps=axes.deps_of("report"),
        group_name="warehouse",
        kinds={"html"},
        owners=OWNERS,
        description="One self-contained HTML file: the marts' tables, the study's settings, digests.",
        automation_condition=when_updated("warehouse"),
        required_resource_keys={"artifacts"},
    )
    def written(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        artifacts: Artifacts = context.resources.artifacts
        provenance = provenance_of(artifacts, study, Node("report"), context.run_id)
        with warehouse.reading(artifacts.files["warehouse"], artifacts.lake) as connection:
            tables = {mart: warehouse.query(connection, f"SELECT * FROM {mart}") for mart in MARTS}
        stored = {mart: artifacts.stored(Node(mart)) for mart in MARTS}
        text = render(study, tables, {mart: s.data_version for mart, s in stored.items() if s})
        target = artifacts.files["report"]
        temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
        version = hashlib.sha256(text.encode()).hexdigest()
        artifacts.record("report", Stored(version, len(tables), provenance))
        return dg.MaterializeResult(
            metadata={"path": dg.MetadataValue.path(str(target)), "bytes": len(text)},
            data_version=dg.DataVersion(version),
        )

    return written
