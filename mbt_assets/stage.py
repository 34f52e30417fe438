"""One stage of the graph: what an asset's code gets, and how its frame becomes a described, checked partition."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

import sql
from mbt_assets.recipes import code_version, fingerprint, recipe
from partitions.axes import Axes
from partitions.grid import CELL_FIGURES, MARTS, WHOLE, Grid, Node, split_key
from partitions.study import Study, split_variant
from resources.artifacts import Artifacts
from resources.home import Home
from resources.lake import FAILED_CHECK, Lake, LakeError, Provenance, checked, rows_digest
from resources.lake_io import PROVENANCE_METADATA
from resources.launching import PayloadRunner
from resources.processes import this_process
from resources.servers import ModelServers
from resources.tables import TABLES

OWNERS = ["team:mbt"]
RESOURCES = {"lake", "artifacts", "home", "servers", "compute"}
STORED_CHECK = "stored_rows"
FORCE_TAG = "mbt/force"
"""Tag of a run (`true`) that uses no reply and no checkpoint of an earlier one again."""
PROCESS_TAG = "mbt/process"
"""Tag of a run: host, id and start of the process that it runs in, and the run itself, with `/` between them."""
OpTags = Callable[[str], Mapping[str, Any]]
"""Gives the tags of an asset's op: what a cluster gives its steps."""
Figures = Callable[[pl.DataFrame], Mapping[str, float | int | None]]


@dataclass(frozen=True)
class CheckOutcome:
    """The result of looking at a frame: does it pass, and the numbers behind that."""

    passed: bool
    metadata: Mapping[str, Any]
    description: str = ""


@dataclass(frozen=True)
class FrameCheck:
    """A check on the rows a stage made.

    Attributes:
        name: the check's name in the UI.
        description: what it looks at.
        look: judges a frame under the limits of its study.
        blocking: whether stages downstream in the same run are held back; a function where the study says.
    """

    name: str
    description: str
    look: Callable[[pl.DataFrame, "Stage"], CheckOutcome]
    blocking: bool | Callable[[Study], bool] = True

    def blocks(self, study: Study) -> bool:
        """Whether stages downstream are held back in this study."""
        return self.blocking(study) if callable(self.blocking) else self.blocking


@dataclass(frozen=True)
class Stage:
    """What the code of an asset gets to make one partition.

    Attributes:
        force: use no earlier reply or checkpoint again, even where it was made of the same.
        notes: shown in the UI beside the partition; `source` is also kept with its rows (see `Provenance`).
    """

    context: dg.AssetExecutionContext
    study: Study
    node: Node
    lake: Lake
    home: Home
    servers: ModelServers
    compute: PayloadRunner
    notes: dict[str, Any] = field(default_factory=dict)
    force: bool = False

    def note(self, **values: Any) -> None:
        """Add to what the UI shows of this partition; numbers are plotted over time."""
        self.notes.update(values)

    @property
    def grid(self) -> Grid:
        """The study's grid."""
        return Grid(self.study)

    @property
    def dataset(self) -> str:
        """The dataset of this partition; meaningless where it has a variant alone."""
        return split_key(self.node.key)[0]

    @property
    def variant(self) -> str:
        """The variant of this partition, whether or not it has a dataset too."""
        return split_key(self.node.key)[1] if "|" in self.node.key else self.node.key

    @property
    def model(self) -> str:
        """The model of this partition's variant."""
        return split_variant(self.variant)[0]

    @property
    def mode(self) -> str:
        """The mode of this partition's variant."""
        return split_variant(self.variant)[1]

    def read(self, asset: str, key: str) -> pl.DataFrame:
        """The rows of another partition."""
        return self.lake.read(Node(asset, key))


@dataclass(frozen=True)
class StageSpec:
    """How a stage appears in the graph.

    Attributes:
        name: asset, lake table and warehouse view.
        group: stage of the pipeline.
        make: makes one partition's rows.
        kinds: what it runs on, for the UI.
        pool: concurrency pool of its runs.
        figures: headline numbers of a partition, shown and plotted in the UI.
        checks: looked at before anything downstream starts.
        description: for tables that SQL declares; others take their schema's docstring.
        landing: looks at the rows just before they land, and raises to keep them out of the lake.
        automation: when a daemon makes it by itself; never when it is None.
    """

    name: str
    group: str
    make: Callable[[Stage], pl.DataFrame]
    kinds: Sequence[str] = ("python",)
    pool: str | None = None
    figures: Figures | None = None
    checks: Sequence[FrameCheck] = ()
    description: str | None = None
    landing: Callable[[Stage, pl.DataFrame], None] = lambda stage, frame: None
    automation: dg.AutomationCondition | None = None


def when_updated(*parents: str) -> dg.AutomationCondition:
    """Make a mart, the warehouse or the report again after one of these parents was made.

    It waits until nothing that it is made from is in the making, and no run that makes the report, which every run of
    them ends with: what is asked for while one goes on is asked for together, and made in order in one run.

    Parents that were never made do not hold it back: marts show the cells that there are. A request that failed is
    not repeated by itself; the next parent that is made asks again.
    """
    condition = dg.AutomationCondition
    updated = condition.any_deps_updated().allow(dg.AssetSelection.assets(*parents))
    # An update counts until a later tick has asked for the asset. `since_last_handled` would drop it as soon as the
    # asset was made, which may have read its parents before the update. `newly_requested` tells of the tick before, so
    # an update seen together with it came after that request, and counts still. The price: marts that somebody made by
    # hand are asked for once more.
    settled = condition.newly_requested() & ~updated
    under_way = condition.in_progress() | condition.asset_matches("report", condition.in_progress())
    return updated.since(settled) & ~condition.any_deps_in_progress() & ~under_way


def no_tags(asset: str) -> Mapping[str, Any]:
    """Of an op that runs anywhere."""
    return {}


def note_process(instance: dg.DagsterInstance, run_id: str) -> None:
    """Tag a run with the process that it runs in, by which `jobs.lost_runs` tells later whether it still can.

    The tag names the run too: whoever launches a run again gives the new one the tags of the old.
    """
    process = this_process()
    if process:
        instance.add_run_tags(run_id, {PROCESS_TAG: f"{process}/{run_id}"})


def provenance_of(artifacts: Artifacts, study: Study, node: Node, run_id: str) -> Provenance:
    """What a partition is about to be made of: its recipe, and the data version of each parent.

    Raises:
        LakeError: a parent was never made, or a blocking check refused it. Marts are the exception: they show the
            cells that there are.
    """
    imported = artifacts.lake.imported(node)
    if imported is not None:
        # They are not made again here, whoever asks: see `importing.kept`.
        return imported.provenance
    inputs: dict[str, str] = {}
    for parent in Grid(study).parents(node):
        stored = artifacts.stored(parent)
        if stored is None and parent.asset in CELL_FIGURES and node.asset in MARTS:
            continue
        if stored is None:
            raise LakeError(f"{node} needs {parent}, which is not in the lake: materialize that first")
        refused = stored.provenance.fingerprint.partition(FAILED_CHECK)[2]
        if refused and node.asset not in MARTS:
            # A blocking check holds back its own run alone; the next one must not build on those rows either.
            raise LakeError(f"{node} needs {parent}, which failed its check {refused}: see to that and materialize it")
        inputs[str(parent)] = stored.data_version
    made_with = recipe(study, node) | artifacts.bound_to(node)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Provenance(fingerprint(made_with, inputs), made_with, inputs, run_id, now)


def lake_asset(axes: Axes, spec: StageSpec, op_tags: OpTags = no_tags) -> dg.AssetsDefinition:
    """The Dagster asset of a stage whose rows go to the lake.

    Args:
        axes: the study's partitions.
        spec: the stage.
        op_tags: tags of an asset's op: what a cluster gives its steps.
    """
    study = axes.grid.study

    @dg.asset(
        name=spec.name,
        partitions_def=axes.partitions_of(spec.name),
        deps=axes.deps_of(spec.name),
        group_name=spec.group,
        kinds=set(spec.kinds) | {"parquet"},
        owners=OWNERS,
        pool=spec.pool,
        code_version=code_version(study, spec.name),
        description=_description(spec),
        metadata=_schema_metadata(spec.name),
        automation_condition=spec.automation,
        io_manager_key="lake",
        required_resource_keys=RESOURCES - {"lake"},
        op_tags=op_tags(spec.name),
        check_specs=[_stored_check(spec.name), *(_check_spec(study, spec.name, check) for check in spec.checks)],
    )
    def made(context: dg.AssetExecutionContext) -> Iterator[Any]:
        node = Node(spec.name, context.partition_key if context.has_partition_key else WHOLE)
        yield from _run(context, study, spec, node)

    return made


def _run(context: dg.AssetExecutionContext, study: Study, spec: StageSpec, node: Node) -> Iterator[Any]:
    note_process(context.instance, context.run.run_id)
    resources = context.resources
    artifacts: Artifacts = resources.artifacts
    provenance = provenance_of(artifacts, study, node, context.run_id)
    stage = Stage(
        context,
        study,
        node,
        artifacts.lake,
        resources.home,
        resources.servers,
        resources.compute,
        force=context.run.tags.get(FORCE_TAG) == "true",
    )
    frame = checked(node, spec.make(stage))
    provenance = replace(provenance, source=str(stage.notes.get("source", provenance.source)))
    outcomes = [(check, check.look(frame, stage)) for check in spec.checks]
    refused = [check.name for check, outcome in outcomes if check.blocks(study) and not outcome.passed]
    if refused:
        # The rows stay to be looked at, but must not pass for good ones the next time.
        provenance = replace(provenance, fingerprint=f"{FAILED_CHECK}{', '.join(refused)}")
    spec.landing(stage, frame)
    figures = {
        name: value for name, value in (spec.figures(frame) if spec.figures else {}).items() if value is not None
    }
    yield dg.Output(
        frame,
        data_version=dg.DataVersion(rows_digest(frame)),
        metadata={
            "dagster/row_count": frame.height,
            **_made_schema(node.asset, frame),
            **figures,
            **stage.notes,
            PROVENANCE_METADATA: provenance.__dict__,
        },
    )
    # The generator goes on after the IO manager has written: this looks at what really lies in the lake.
    yield _read_back(artifacts.lake, node, frame.height)
    for check, outcome in outcomes:
        yield dg.AssetCheckResult(
            asset_key=spec.name,
            check_name=check.name,
            passed=outcome.passed,
            metadata=dict(outcome.metadata),
            description=outcome.description or None,
            severity=dg.AssetCheckSeverity.ERROR if check.blocks(study) else dg.AssetCheckSeverity.WARN,
        )


def _read_back(lake: Lake, node: Node, rows: int) -> dg.AssetCheckResult:
    problem = ""
    stored = 0
    try:
        stored = lake.read(node).height
    except LakeError as error:
        problem = str(error)
    passed = not problem and stored == rows
    return dg.AssetCheckResult(
        asset_key=node.asset,
        check_name=STORED_CHECK,
        passed=passed,
        metadata={"rows": stored},
        description=problem or (None if passed else f"{rows} rows were made, {stored} lie in the lake"),
    )


def _stored_check(asset: str) -> dg.AssetCheckSpec:
    text = "The partition in the lake has the declared columns, types, bounds and unique keys."
    return dg.AssetCheckSpec(STORED_CHECK, asset=asset, description=text, blocking=True)


def _check_spec(study: Study, asset: str, check: FrameCheck) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(check.name, asset=asset, description=check.description, blocking=check.blocks(study))


def _description(spec: StageSpec) -> str:
    if spec.description or spec.name not in TABLES:
        return spec.description or ""
    keys = ", ".join(TABLES[spec.name].primary_key())
    return f"{(TABLES[spec.name].__doc__ or '').strip()}\n\nOne row per {keys}."


def _made_schema(name: str, frame: pl.DataFrame) -> dict[str, Any]:
    """The columns of a table that SQL declares: their types are known once it has run."""
    if name in TABLES:
        return {}
    described = sql.load(name).columns
    columns = [dg.TableColumn(column, str(dtype), described.get(column)) for column, dtype in frame.schema.items()]
    return {"dagster/column_schema": dg.TableSchema(columns=columns)}


def _schema_metadata(name: str) -> dict[str, Any]:
    table = TABLES.get(name)
    if table is None:
        described = [dg.TableColumn(column, description=text) for column, text in sql.load(name).columns.items()]
        return {"dagster/column_schema": dg.TableSchema(columns=described)}
    keys = set(table.primary_key())
    columns = [
        dg.TableColumn(
            column,
            str(spec.dtype),
            description=spec.description,
            constraints=dg.TableColumnConstraints(nullable=spec.nullable, unique=keys == {column}),
        )
        for column, spec in table.columns().items()
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=columns)}
