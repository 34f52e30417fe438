"""`mbt generate`: a file of requests to one endpoint, one durable row for each; the engine without Dagster.

What belongs here is the command line alone: options, progress, exit codes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from resources.engine import Progress, Request, Summary

EXIT_FAILED_ROWS, EXIT_USER_ERROR, EXIT_INTERRUPTED = 1, 2, 130
PLAIN_SECONDS = 5.0


def generate(
    requests: Annotated[
        Path,
        typer.Argument(help="JSONL or Parquet file of rows {request_id, messages, sampling?}.", show_default=False),
    ],
    base_url: Annotated[
        list[str],
        typer.Option(
            help="OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1. Given several times, endpoints of the "
            "same model share the load."
        ),
    ],
    model: Annotated[str, typer.Option(help="Name under which the endpoint serves the model.")],
    out: Annotated[
        str,
        typer.Option(help="Folder for the rows, or s3://bucket/prefix; run again with the same one to resume."),
    ],
    concurrency: Annotated[int, typer.Option(min=1, help="Most requests under way at once.")] = 64,
    api_key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the API key.")] = None,
    model_digest: Annotated[
        str | None, typer.Option(help="Digest of the model; rows of another digest are not reused. [default: its name]")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Token limit of rows whose sampling sets none.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of rows whose sampling sets none.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one attempt.")] = 600.0,
    max_attempts: Annotated[int, typer.Option(min=1, help="Attempts for one request.")] = 6,
    give_up: Annotated[float, typer.Option(help="Seconds to wait for an endpoint that is down.")] = 600.0,
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help="Use the endpoint's Batch API: often cheaper, answered within a day. Stopped, the same command "
            "collects what it had submitted.",
        ),
    ] = False,
    requests_per_minute: Annotated[
        float | None, typer.Option(help="Most requests a minute, of each endpoint. [default: no limit]")
    ] = None,
    tokens_per_minute: Annotated[
        float | None, typer.Option(help="Most tokens in and out a minute, of each endpoint. [default: no limit]")
    ] = None,
    length_retries: Annotated[
        int, typer.Option(min=0, help="Draws with another seed after a response that the token limit ended.")
    ] = 0,
    reasons: Annotated[
        bool, typer.Option("--reasons", help="The model reasons: a whole response without reasoning has failed.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Send all requests again, whatever is in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON to standard output.")] = False,
) -> None:
    """Send a file of chat requests to an OpenAI-compatible endpoint and keep one row for each.

    Rows are in OUT/responses/*.parquet at the end. Stopped or killed, the same command sends only what is missing.
    Exit code 0: all rows are good; 1: some failed (they are kept, and say why) or the endpoint went away; 2: something
    in the command, the file or the folder is wrong.
    """
    from resources.engine import Endpoint, EndpointDownError, EngineError, EngineOptions
    from resources.engine import generate as run_engine
    from resources.engine.requests import count_requests, read_requests

    defaults = {"max_tokens": max_tokens, "temperature": temperature}
    try:
        endpoints = [
            Endpoint(
                url,
                model,
                model_digest,
                api_key_env,
                reasons=reasons,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                batch=batch,
            )
            for url in base_url
        ]
        expected = count_requests(requests)
        options = EngineOptions(
            concurrency=concurrency,
            timeout=timeout,
            max_attempts=max_attempts,
            give_up_seconds=give_up,
            progress_seconds=0.5,
            expected=expected,
            force=force,
            length_retries=length_retries,
        )
        with _terminable(), _reporter(expected) as report:
            stream = _with_defaults(read_requests(requests, checked=True), defaults)
            summary = run_engine(stream, endpoints, out, options, report)
    except EngineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_FAILED_ROWS if isinstance(error, EndpointDownError) else EXIT_USER_ERROR) from None
    except KeyboardInterrupt:
        goes_on = "; submitted batches go on at the server, and it collects them" if batch else ""
        typer.echo(f"stopped; the rows done so far are kept in {out}: run the same command again{goes_on}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _tell(summary, out, as_json)
    if summary.failed:
        raise typer.Exit(EXIT_FAILED_ROWS)


def _with_defaults(requests: Iterator[Request], defaults: dict[str, Any]) -> Iterator[Request]:
    """Fill in what a row's own sampling does not say."""
    given = {key: value for key, value in defaults.items() if value is not None}
    for request in requests:
        own = {**given, **request.sampling}
        if "max_completion_tokens" in request.sampling and "max_tokens" not in request.sampling:
            own.pop("max_tokens", None)
        yield dataclasses.replace(request, sampling=own)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, which schedulers send, end the run as Ctrl-C does."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # Not the main thread, so not ours to set.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _reporter(expected: int) -> Iterator[Callable[[Progress], None]]:
    """Progress on standard error: a bar on a terminal, else a line every few seconds."""
    if not sys.stderr.isatty():
        yield _plain_reporter()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(24), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task, paused = bar.add_task("", total=expected), False

        def report(progress: Progress) -> None:
            nonlocal paused
            bar.update(task, completed=progress.done, description=progress.line())
            if progress.note and not paused:  # A narrow terminal cuts it off the bar's own line.
                bar.console.print(progress.note, markup=False, highlight=False)
            paused = progress.note is not None

        yield report


def _plain_reporter() -> Callable[[Progress], None]:
    told = float("-inf")

    def report(progress: Progress) -> None:
        nonlocal told
        if time.monotonic() - told >= PLAIN_SECONDS or progress.done == progress.expected:
            told = time.monotonic()
            typer.echo(progress.line(), err=True)

    return report


def _tell(summary: Summary, out: str, as_json: bool) -> None:
    if as_json:
        import orjson

        typer.echo(orjson.dumps(dataclasses.asdict(summary)).decode())
    rows = f"{out.rstrip('/')}/responses"
    typer.echo(
        f"{summary.total} rows in {rows}: {summary.sent} sent, {summary.reused} reused; {summary.ok} ok, "
        f"{summary.truncated} of them truncated, {summary.failed} failed; {summary.prompt_tokens} tokens in, "
        f"{summary.completion_tokens} out; {summary.seconds:.1f} s",
        err=True,
    )
    if summary.failed:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(summary.failures.items())) or "in earlier runs"
        where = f"{rows}/*.parquet, column `error`"
        typer.echo(f"{summary.failed} rows failed ({kinds}): see {where}", err=True)
