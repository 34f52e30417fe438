"""`mbt publish`: training sets or scored rollouts as a Hugging Face dataset folder, and such a folder to the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mbt_assets.cli import complete
from mbt_assets.cli.common import (
    INTERRUPTED,
    DatasetsOption,
    JsonOption,
    StudyOption,
    err,
    grid_now,
    platform_of,
    print_json,
    working,
)
from resources.interrupts import end_as_with_ctrl_c

if TYPE_CHECKING:
    from mbt_assets.publishing import Kind, Made

app = typer.Typer(
    no_args_is_help=True,
    help="Write training sets or scored rollouts as a Hugging Face dataset folder, and push such a folder to the Hub.",
)
ToOption = Annotated[Path, typer.Option("--to", help="The folder to write; it appears when it is whole.")]
VariantOption = Annotated[
    list[str] | None,
    typer.Option(help="Only this variant, `model__mode`; may be repeated.", autocompletion=complete.variants),
]
SeedOption = Annotated[int | None, typer.Option(help="Of the run with this seed.")]
StaleOption = Annotated[
    bool,
    typer.Option("--allow-stale", help="Also what is out of date or lacks scores; the card says which and why."),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace a folder that mbt publish wrote and nobody has changed since.")
]


@app.command("training-sets")
def training_sets(
    to: ToOption,
    study: StudyOption = None,
    seed: SeedOption = None,
    dataset: DatasetsOption = None,
    variant: VariantOption = None,
    allow_stale: StaleOption = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write training sets: prompts and completions, with the question, the answer and the trace of each row.

    One configuration per dataset and variant, and one with all of them. Nothing is sent anywhere, and no token is
    needed. Exit code 0: the folder is there; 2: it could not be written, and whatever stood there stays; 130:
    interrupted, likewise, unless the message says that the folder is there.
    """
    _publish("training-sets", to, study, seed, dataset, variant, allow_stale, force, as_json)


@app.command()
def rollouts(
    to: ToOption,
    study: StudyOption = None,
    seed: SeedOption = None,
    dataset: DatasetsOption = None,
    variant: VariantOption = None,
    documents: Annotated[
        bool,
        typer.Option("--documents", help="With the documents of each question, again in every cell: much larger."),
    ] = False,
    allow_stale: StaleOption = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write validation rollouts with their scores: answers, judges' verdicts and replies, RRP and MQI, row by row.

    One configuration per dataset and variant, and one with all of them. Nothing is sent anywhere, and no token is
    needed. Exit code 0: the folder is there; 2: it could not be written, and whatever stood there stays; 130:
    interrupted, likewise, unless the message says that the folder is there.
    """
    _publish("rollouts", to, study, seed, dataset, variant, allow_stale, force, as_json, documents=documents)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A folder that mbt publish wrote; its card may have been edited.")],
    repo: Annotated[str, typer.Option("--repo", help="Where to on the Hub: owner/name. Made if it is not there.")],
    public: Annotated[
        bool, typer.Option("--public", help="A repository that everybody may read; otherwise a private one.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Push a folder to the Hugging Face Hub as a data set, all of it in one commit.

    Needs a token that may write, in HF_TOKEN or stored by `hf auth login`. A repository that holds anything else than
    what mbt publish put there is not touched. Exit code 0: it is there; 2: it could not be pushed, and the message
    says why; 130: interrupted. After both, the repository is as it was, or new and empty, or has all of it.
    """
    from mbt_assets.publishing.pushing import push as push_folder

    with _ended_by_signal(_Left(f"{repo} is as it was, or new and empty, or has all of it")):
        done = push_folder(folder, repo, public=public, bars=err.is_interactive)
    err.print(f"{folder}: {done.sentence}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        print_json(done.told())


def _publish(
    kind: Kind,
    to: Path,
    study: str | None,
    seed: int | None,
    datasets: list[str] | None,
    variants: list[str] | None,
    allow_stale: bool,
    force: bool,
    as_json: bool,
    *,
    documents: bool = False,
) -> None:
    from mbt_assets import publishing
    from mbt_assets.staleness import assess

    left = _Left("nothing was changed")
    with _ended_by_signal(left):
        platform = platform_of(study, seed)
        publishing.check_folder(to.absolute(), platform.home, force)
        grid = grid_now(platform)
        with working("looking at the lake"):
            standings = assess(grid, platform.artifacts)
        selection = publishing.choose(
            kind,
            grid,
            standings,
            datasets=datasets or (),
            variants=variants or (),
            allow_stale=allow_stale,
        )
        with _bar() as show:
            done = publishing.publish(
                to,
                platform.study,
                platform.artifacts.lake,
                platform.home,
                selection,
                documents=documents,
                allow_stale=allow_stale,
                force=force,
                progress=show,
                in_place=lambda: left.say(f"{to} is there already, and whole"),
            )
    _say(to, done)
    if as_json:
        print_json(_told(to, done))


@dataclass
class _Left:
    """What an interrupt leaves at this moment."""

    sentence: str

    def say(self, sentence: str) -> None:
        self.sentence = sentence


@contextmanager
def _ended_by_signal(left: _Left) -> Iterator[None]:
    """Told to end by a signal is as good as by Ctrl-C: what was begun is taken away, and what is left is told."""
    end_as_with_ctrl_c()
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"interrupted; {left.sentence}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _bar() -> Iterator[Any]:
    """A bar on a terminal, told which partition is written."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_interactive, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=escape(name), completed=done, total=total)

        yield show


def _say(to: Path, done: Made) -> None:
    configs, left_out = done.configs, done.selection.left_out
    lines = [f"{to}: {len(configs)} configurations, {done.rows:,} rows, {decimal(done.file_bytes)}"]
    lines += [f"not up to date: {one.part.node.key} ({'; '.join(one.notes)})" for one in configs if one.notes]
    lines += [f"left out: {key} ({reason})" for key, reason in left_out.items()]
    for line in lines:
        err.print(line, highlight=False, markup=False, soft_wrap=True)


def _told(to: Path, done: Made) -> dict[str, Any]:
    configs = [
        {
            "config": one.name,
            "dataset": one.part.dataset,
            "variant": one.part.variant,
            "rows": one.rows,
            "questions": one.questions,
            "files": list(one.files),
            "notes": list(one.notes),
        }
        for one in done.configs
    ]
    return {
        "folder": str(to),
        "kind": done.selection.kind,
        "study": done.study.name,
        "rows": done.rows,
        "bytes": done.file_bytes,
        "configurations": configs,
        "left_out": done.selection.left_out,
    }
