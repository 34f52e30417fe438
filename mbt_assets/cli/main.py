"""The entry point `mbt`: mounts the commands and turns a user's mistake into one clear message."""

from __future__ import annotations

import errno
import os
import sys

import typer
from rich.markup import escape

from mbt_assets import __version__
from mbt_assets.cli import (
    checkpoints,
    cluster,
    demo,
    doctor,
    explore,
    export,
    fetch,
    generate,
    import_rollouts,
    instance_app,
    publish,
    query,
    report,
    score,
    servers,
    status,
    study,
    tables,
    ui,
)
from mbt_assets.cli.common import FAILED, INTERRUPTED, USER_ERROR, err, say_interrupted, without_colours
from mbt_assets.cli.examples import add_examples

app = typer.Typer(
    name="mbt",
    help="Metacognitive Behavioral Tuning as a Dagster asset graph: run studies, query and score.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(ui.ui)
app.command()(explore.explore)
app.command()(status.status)
app.command()(doctor.doctor)
app.command()(checkpoints.checkpoints)
app.command()(servers.servers)
app.command()(query.sql)
app.command()(tables.tables)
app.command()(report.report)
app.command()(export.export)
app.command()(score.score)
app.command()(generate.generate)
app.command()(fetch.fetch)
app.add_typer(import_rollouts.app, name="import")
app.add_typer(publish.app, name="publish")
app.add_typer(instance_app.app, name="instance")
app.add_typer(study.app, name="study")
app.add_typer(cluster.app, name="cluster")
add_examples(app)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Show the version and leave."),
    no_color: bool = typer.Option(False, "--no-color", help="Print no colours; NO_COLOR=1 does the same."),
) -> None:
    """Metacognitive Behavioral Tuning as a Dagster asset graph: run studies, query and score."""
    if no_color:
        without_colours()
    if version:
        typer.echo(__version__)
        raise typer.Exit


def user_errors() -> tuple[type[Exception], ...]:
    """Errors that a user can mend: their message is all that is shown."""
    from mbt_assets.benchmarks import BenchmarkError
    from mbt_assets.explore import ExploreError
    from mbt_assets.exporting import ExportError
    from mbt_assets.hub_needs import FetchError
    from mbt_assets.importing import ImportingError
    from mbt_assets.instance import InstanceError
    from mbt_assets.prompts import PromptError
    from mbt_assets.publishing import PublishingError
    from mbt_assets.tables import TablesError
    from partitions.study_file import StudyError
    from resources.accelerate_configs import ComputeError
    from resources.checkpoints import CheckpointError
    from resources.engine import EngineError
    from resources.gpus import GpuError
    from resources.home import HomeError
    from resources.k8s.cluster import ClusterError
    from resources.lake import LakeError
    from resources.leases import ServerError
    from resources.warehouse import QueryError
    from sql import SqlFileError

    lake = (LakeError, QueryError, SqlFileError)
    made = (BenchmarkError, FetchError, PromptError, CheckpointError, EngineError)
    handed_over = (ExportError, ExploreError, ImportingError, PublishingError, TablesError)
    machine = (HomeError, InstanceError, ServerError, GpuError, ComputeError, ClusterError)
    return (StudyError, *made, *handed_over, *machine, *lake)


def _reader_left(error: OSError) -> bool:
    """Whether stdout's reader has gone, as `head` does: nothing is to be said of that, nor written any more."""
    # Polars tells of it without a number.
    if error.errno != errno.EPIPE and "Broken pipe" not in str(error):
        return False
    # What is still in the buffer would be written, and fail, when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def main() -> None:
    """Run the command line."""
    try:
        app()
    except SystemExit:
        # The usual end. Without this, Python would load all that `user_errors` names only to see that it is none of it.
        raise
    except KeyboardInterrupt:
        say_interrupted()
        sys.exit(INTERRUPTED)
    except user_errors() as error:
        err.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(USER_ERROR)
    except OSError as error:
        if _reader_left(error):
            sys.exit(FAILED)
        # A place that cannot be read or written is the user's to mend; anything else is ours.
        if error.filename is None:
            raise
        err.print(f"[red]error:[/] {escape(str(error.filename))}: {error.strerror}", highlight=False, soft_wrap=True)
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()
