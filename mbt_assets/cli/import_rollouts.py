"""`mbt import`: rollouts that were made elsewhere, to be scored here; and forgetting them again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from mbt_assets.cli import complete
from mbt_assets.cli.common import JsonOption, StudyOption, err, grid_now, platform_of, print_json, working

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform
    from mbt_assets.importing.landing import Imported, Order
    from mbt_assets.importing.rows import Counts
    from partitions.study import Study

app = typer.Typer(help="Take in rollouts that were made elsewhere, and forget them again.", no_args_is_help=True)

DatasetOption = Annotated[
    str, typer.Option("--dataset", "-d", help="Dataset of the study.", autocompletion=complete.datasets)
]
ModelOption = Annotated[str, typer.Option("--model", "-m", help="Model of the study.", autocompletion=complete.models)]
ModeOption = Annotated[str, typer.Option("--mode", help="Mode of the model.", autocompletion=complete.modes)]
SeedOption = Annotated[int | None, typer.Option(help="Into the run with this seed.")]


@app.command()
def rollouts(
    file: Annotated[Path, typer.Argument(help="JSONL, Parquet, or a folder that datasets' save_to_disk wrote.")],
    dataset: DatasetOption,
    model: ModelOption,
    mode: ModeOption,
    study: StudyOption = None,
    seed: SeedOption = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="ours=theirs: a column of another name; ours= ignores that column. May be repeated."),
    ] = None,
    checkpoint: Annotated[
        Literal["unknown", "current"],
        typer.Option(help="current: these rollouts are of the checkpoint that is registered for the variant."),
    ] = "unknown",
    allow_unmatched: Annotated[
        bool, typer.Option("--allow-unmatched", help="Leave out rows of no question, and count them.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="In the place of rollouts that are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a file's rollouts in as those of a cell; `mbt demo` then scores them and sends no rollout request.

    The dataset's questions are made first, if they are missing. Nothing else changes before the whole file was checked.
    """
    from mbt_assets.cli.instance import open_instance
    from mbt_assets.importing.files import RowFile
    from mbt_assets.importing.landing import Order, check_free, import_rollouts, record
    from mbt_assets.importing.matching import Questions
    from mbt_assets.importing.rows import Reading
    from partitions.study import variant
    from partitions.study_file import study_path

    platform = platform_of(study, seed)
    cell = cell_of(platform.study, dataset, model, mode, study_path(study))
    order = Order(RowFile.of(file), cell, _columns(column or []), checkpoint, allow_unmatched, replace)
    lake = platform.artifacts.lake
    check_free(lake, order)
    # A file of other columns is told at once, not after the questions were made.
    Reading(order.file, Questions.none(), order.columns).columns()
    _make_questions(platform, dataset)
    with working(f"importing {file}"):
        imported = import_rollouts(platform.study, lake, platform.home, order)
    with open_instance(platform.home) as instance:
        record(instance, order, imported)
    if as_json:
        questions = len(imported.counts.questions)
        print_json({"cell": cell, "rows": imported.stored.rows, "questions": questions, "file": str(file)})
    _tell(order, imported)
    demo = ["mbt", "demo", *(["--study", study] if study else []), *([] if seed is None else ["--seed", str(seed)])]
    demo += ["--variant", variant(model, mode), "--dataset", dataset]
    err.print(escape(f"score them: {shlex.join(demo)}"), highlight=False, soft_wrap=True)


@app.command()
def forget(
    dataset: DatasetOption, model: ModelOption, mode: ModeOption, study: StudyOption = None, seed: SeedOption = None
) -> None:
    """Take a cell's imported rollouts out of the lake, so that `mbt demo` makes its own. The file stays where it is."""
    from mbt_assets.importing.landing import TABLE
    from mbt_assets.importing.landing import forget as forget_rows
    from partitions.grid import Node
    from partitions.study_file import study_path

    platform = platform_of(study, seed)
    node = Node(TABLE, cell_of(platform.study, dataset, model, mode, study_path(study)))
    stored = forget_rows(platform.artifacts.lake, node)
    err.print(escape(f"{node}: {stored.rows} rows forgotten ({stored.provenance.source})"), highlight=False)


def cell_of(study: Study, dataset: str, model: str, mode: str, path: Path) -> str:
    """The key of a cell of the study.

    Args:
        study: as it was read.
        dataset: one of its datasets.
        model: one of its models.
        mode: one of the model's modes.
        path: the study's file, which a study that has the variant can extend.

    Raises:
        ImportingError: the study has no such cell; the message says which study would.
    """
    from mbt_assets.importing import ImportingError
    from partitions.grid import cell_key
    from partitions.modes import MODES
    from partitions.study import variant

    if dataset not in study.datasets:
        raise ImportingError(f"study {study.name} has no dataset {dataset!r}; it has: {', '.join(study.datasets)}")
    slug = variant(model, mode)
    if slug in study.variants:
        return cell_key(dataset, slug)
    if mode not in MODES:
        raise ImportingError(f"there is no mode {mode!r}; there are: {', '.join(MODES)}")
    there = ", ".join(study.variants)
    raise ImportingError(
        f"study {study.name} has no variant {slug!r}; it has: {there}. {_own_study(study, model, mode, path)}"
    )


def _own_study(study: Study, model: str, mode: str, path: Path) -> str:
    """The study that has the variant, as YAML; or why none can."""
    import yaml

    from partitions.layers import STUDIES
    from partitions.study_file import StudyError, parse_study

    modes = list(study.models[model].modes) if model in study.models else []
    entry: dict[str, object] = {} if model in study.models else {"role": "student", "source": {"kind": "imported"}}
    entry["modes"] = list(dict.fromkeys([*(modes or ["base"]), mode]))
    extended = path.stem if path.parent == STUDIES else str(path)
    content = {"extends": extended, "name": f"my-{study.name}", "models": {model: entry}}
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=1000, allow_unicode=True).strip()
    try:
        # As if it lay in this folder: a path is seen from there.
        parse_study(text, "this study")
    except StudyError as error:
        faults = "; ".join(line.partition(": ")[2] for line in str(error).splitlines())
        return f"No study can have it: {faults}"
    return f"A study file of your own, in this folder, can have it:\n{text}"


def _columns(given: list[str]) -> dict[str, str]:
    wrong = [text for text in given if "=" not in text]
    if wrong:
        raise typer.BadParameter(f"--column {wrong[0]}: write ours=theirs")
    return {ours.strip(): theirs.strip() for ours, _, theirs in (text.partition("=") for text in given)}


def _make_questions(platform: Platform, dataset: str) -> None:
    """See that the dataset's questions are there and up to date: rows are matched to them."""
    from jobs.plan import units
    from jobs.runner import Runner
    from mbt_assets.cli.instance import ready_home
    from mbt_assets.definitions import build_platform
    from mbt_assets.importing import ImportingError
    from mbt_assets.staleness import assess
    from partitions.grid import Node

    node, grid = Node("validation_questions", dataset), grid_now(platform)
    if assess(grid, platform.artifacts, [node])[node].state == "fresh":
        return
    err.print(escape(f"making {node} first"), highlight=False)
    ready_home(platform.home)
    runner = Runner(grid, platform.artifacts, platform.home, build_platform, workers=1)
    failed = [report for report in runner.run(units(grid, [node])) if report.outcome == "failed"]
    if failed:
        raise ImportingError(f"{node}, which the rows belong to, cannot be made: {failed[0].why}")


def _tell(order: Order, imported: Imported) -> None:
    """What was imported, and what a person should know of it."""
    counts, rows = imported.counts, imported.stored.rows
    err.print(
        escape(f"{order.node}: {rows} rollouts of {len(counts.questions)} questions from {order.file.path}"),
        highlight=False,
        soft_wrap=True,
    )
    endings = counts.endings.most_common(3)
    without = imported.n_questions - len(counts.questions)
    told = (
        (counts.unmatched, "rows are of no question and were left out", f"first: {'; '.join(counts.examples)}"),
        (without, "questions have no rollout", "all figures are over the others"),
        (counts.failed, "rows hold no response", "they count as failed requests"),
        (counts.invalid, "rows are not valid", "they are kept; without a finish_reason, as cut off by the token limit"),
        (
            counts.unknown_ending,
            "rows have a finish_reason of which nothing is known here",
            f"they count as not cut off: {', '.join(f'{name[:40]!r} ({n})' for name, n in endings)}",
        ),
        (
            counts.answer_in_reasoning,
            "rows have answer tags only in what counts as their reasoning",
            f"they score as without an answer{_no_reasoning(order, counts)}",
        ),
        (counts.gold_differs, "rows have other gold answers than the questions here", "scores use those here"),
        (
            counts.prediction_differs,
            "rows name another predicted answer than is found here",
            "scores use what is found",
        ),
        (counts.without_tokens, "rows have no completion_tokens", _without_tokens(counts.without_tokens == rows)),
    )
    for count, what, then in told:
        if count:
            err.print(f"[yellow]note:[/] {count} {escape(what)}: {escape(then)}", highlight=False, soft_wrap=True)


def _no_reasoning(order: Order, counts: Counts) -> str:
    """What to do about responses that count as reasoning because they hold no think tags."""
    if not counts.without_think_tags:
        return ""
    options = shlex.join(
        ["--column", "response=", "--column", f"content={order.columns.get('response', 'response')}", "--replace"]
    )
    return (
        f". {counts.without_think_tags} of them hold no think tags, so that all of their text counts as reasoning that "
        f"never ended. If the model writes none, import them again with {options}"
    )


def _without_tokens(none: bool) -> str:
    figures = "token figures, AES and MQI"
    return f"{figures} need them" if none else f"{figures} are of the rows that have them"
