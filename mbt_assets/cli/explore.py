"""`mbt explore`: the web app that shows figures and what they are of."""

from __future__ import annotations

import contextlib
import webbrowser
from typing import Annotated

import typer

from mbt_assets.cli.common import StudyOption, err, listening, platform_of, ready_warehouse


def explore(
    study: StudyOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 3001,
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine only.")] = "127.0.0.1",
    name: Annotated[
        list[str] | None, typer.Option(help="A further name under which browsers may call it; repeat for several.")
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of the run with this seed.")] = None,
) -> None:
    """Look at grids, cells, traces, comparisons and training rows in the browser, and ask SQL. Ctrl-C ends it.

    It reads the warehouse, which it builds where there is none, and the lake; what studies have made it never changes.
    """
    _needs_extra()
    import uvicorn

    from mbt_assets.explore.app import LOOPBACK, build
    from mbt_assets.explore.source import Source

    platform = platform_of(study, seed)
    ready_warehouse(platform)
    source = Source(platform)
    made = listening(host, port)
    address = f"http://{'[' + host + ']' if ':' in host else host}:{made.getsockname()[1]}"
    err.print(f"{address}   study {platform.study.name}   Ctrl-C ends it", highlight=False, soft_wrap=True)
    if host not in ("127.0.0.1", "localhost", "::1"):
        err.print("[yellow]warning:[/] whoever reaches this address reads the study: nobody is asked who they are")
    hosts = (*LOOPBACK, f"[{host}]" if ":" in host else host, *(name or ()))
    if open_browser:
        webbrowser.open(address)
    server = uvicorn.Server(uvicorn.Config(build(source, hosts), log_level="warning", server_header=False))
    with contextlib.suppress(KeyboardInterrupt), made:
        server.run(sockets=[made])


def _needs_extra() -> None:
    from mbt_assets.explore import ExploreError

    try:
        import rapidfuzz  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise ExploreError(f"the explorer needs the package {error.name}: pip install -e .[explore]") from error
