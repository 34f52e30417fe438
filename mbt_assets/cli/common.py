"""What commands share: consoles, the study option, and how a user's mistake ends."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import orjson
import typer
from rich.console import Console
from rich.markup import escape

from mbt_assets.cli import complete
from partitions.study import Study
from partitions.study_file import load_study, study_path

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform
    from partitions.grid import Grid

OK, FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130
WIDE = 160
T = TypeVar("T")


def _console(*, stderr: bool = False) -> Console:
    """A console for a terminal, a pipe or a log; NO_COLOR and FORCE_COLOR are heeded, and so is TERM=dumb."""
    if (sys.stderr if stderr else sys.stdout).isatty():
        return Console(stderr=stderr)
    # FORCE_COLOR colours a log. It does not make a terminal of it: a bar that moves would fill it with control codes.
    colours = "standard" if os.environ.get("FORCE_COLOR") else None
    # A pipe has no width of its own; the fallback of 80 columns would fold tables to shreds.
    return Console(stderr=stderr, width=WIDE, force_terminal=False, color_system=colours)  # type: ignore[arg-type]


out, err = _console(), _console(stderr=True)

StudyOption = Annotated[
    str | None,
    typer.Option(
        "--study",
        "-s",
        help="Study file, or the name of a packaged study.",
        envvar="MBT_STUDY",
        show_default="embedded",
        autocompletion=complete.studies,
    ),
]
VariantsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--variant", help="Only this variant (with its base); may be repeated.", autocompletion=complete.variants
    ),
]
DatasetsOption = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="Only this dataset; may be repeated.", autocompletion=complete.datasets),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def without_colours() -> None:
    """No colours from here on, in this process and in those that it starts."""
    os.environ["NO_COLOR"] = "1"
    os.environ.pop("FORCE_COLOR", None)
    out.no_color = err.no_color = True


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that something goes on which may take a while; elsewhere nothing is printed.

    Args:
        what: what goes on, as `reading the lake`.
    """
    if not err.is_interactive:
        yield
        return
    with err.status(escape(what)):
        yield


def watched(work: Iterable[T], what: str) -> Iterator[T]:
    """Items that each take a while to make, shown as `working` while nobody else prints."""
    items = iter(work)
    while True:
        with working(what):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def print_json(value: Any) -> None:
    """Print a value as one JSON document to stdout, which holds nothing else."""
    print(orjson.dumps(value).decode())


def say_interrupted() -> None:
    """Say what an interrupt means."""
    err.print("interrupted; what was finished is kept, the same command goes on from there")


def with_seed(study: Study, seed: int | None) -> Study:
    """The study under another seed, kept apart under a name of its own."""
    if seed is None or seed == study.seed:
        return study
    return study.model_copy(update={"seed": seed, "name": f"{study.name}-seed{seed}"})


def platform_of(name: str | None, seed: int | None = None) -> Platform:
    """The graph of the chosen study, and `MBT_STUDY` set for the processes that this one starts."""
    # The module builds the code location for MBT_STUDY when it is imported: choose before.
    os.environ["MBT_STUDY"] = str(study_path(name))
    study = with_seed(load_study(name), seed)
    with working("loading the graph"):
        from mbt_assets.definitions import build_platform

        return build_platform(study)


def grid_now(platform: Platform) -> Grid:
    """The study's grid, with what was imported into its lake up to now."""
    from partitions.grid import Grid

    return Grid(platform.study, platform.artifacts.imported_cells())


def ready_warehouse(platform: Platform) -> None:
    """Build the warehouse where there is none, or one that reads another lake."""
    from resources import warehouse

    if warehouse.reads(platform.home.warehouse, platform.artifacts.lake):
        return
    from mbt_assets.marts import build_warehouse

    err.print(f"building the warehouse from the lake: {platform.home.warehouse}", highlight=False)
    with working("building the warehouse"):
        build_warehouse(platform.artifacts.lake, platform.artifacts, platform.study)


def listening(host: str, port: int) -> socket.socket:
    """A socket bound to an address, on which a server may listen.

    Args:
        host: an address of this machine.
        port: 0 takes a free one.

    Raises:
        mbt_assets.instance.InstanceError: the port is taken, or the address is not of this machine.
    """
    from mbt_assets.instance import InstanceError

    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        # Whoever is told of the address may call at once; they wait until the server takes over.
        made.listen()
    except OSError as error:
        made.close()
        raise InstanceError(f"cannot listen on {host}:{port} ({error.strerror}): choose another with --port") from error
    return made
