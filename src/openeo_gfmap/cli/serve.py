"""`gfmap serve`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from openeo_gfmap.cli.out import Quiet, Verbose

__all__ = ["serve"]


def serve(
    *,
    home: Annotated[
        Path | None,
        typer.Option(help="State folder. Default: OPENEO_GFMAP_HOME or the user's data folder."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port on 127.0.0.1; by default the last one, or a free one.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID=URL_OR_FOLDER",
            help="What a collection reads, such as SENTINEL2_L2A=https://earth-search.aws."
            "element84.com/v1#sentinel-2-l2a. Default: a simulated archive.",
        ),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Memory of all jobs together. Default: 3/4 of all.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler whose workers evaluate batch jobs.")
    ] = None,
    result_store: Annotated[
        str | None,
        typer.Option(help="Shared folder or object store for results, as s3://bucket/path."),
    ] = None,
    parallel_jobs: Annotated[
        int | None, typer.Option(help="Jobs that run at a time. Default: by CPUs and memory.")
    ] = None,
    job_memory: Annotated[
        str | None, typer.Option(help="Most memory of one job, such as 4G. Default: 3/4 of all.")
    ] = None,
    idle_seconds: Annotated[
        float | None, typer.Option(help="End when unused for so long. Default: 0, never.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print address and file of the password as JSON.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Serve the embedded openEO back-end on this machine, until Ctrl-C.

    Example: gfmap serve --port 8080
    """
    import logging  # noqa: PLC0415
    import os  # noqa: PLC0415

    from openeo_gfmap.launcher import state_folder  # noqa: PLC0415

    try:
        from openeo_gfmap.local.display import TerminalDisplay  # noqa: PLC0415
        from openeo_gfmap.local.errors import OpenEOError  # noqa: PLC0415
        from openeo_gfmap.local.server import serve as run  # noqa: PLC0415
        from openeo_gfmap.local.settings import (  # noqa: PLC0415
            Settings,
            parse_size,
            parse_source,
        )
    except ImportError as error:
        typer.echo(
            f'The local back-end needs more packages ({error}): pip install "openeo-gfmap[local]"',
            err=True,
        )
        raise typer.Exit(2) from None

    from rich.console import Console  # noqa: PLC0415
    from rich.logging import RichHandler  # noqa: PLC0415

    console = Console()
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    tell = _tell_json if json else _tell
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, log_time_format="%X")
        logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
    else:
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = Settings.load(
            os.environ,
            home=home or state_folder(),
            port=port,
            idle_seconds=idle_seconds,
            sources=dict(parse_source(text) for text in source) if source else None,
            parallel_jobs=parallel_jobs,
            memory=parse_size(memory) if memory else None,
            job_memory=parse_size(job_memory) if job_memory else None,
            scheduler=scheduler,
            result_store=result_store,
        )
        # As one line each, so that the address can be clicked and copied.
        write = partial(console.print, soft_wrap=True, markup=False, highlight=False)
        if console.is_terminal and not (json or quiet):
            with TerminalDisplay(console) as display:
                run(settings, on_ready=partial(tell, write, True), watch=display.update)
        else:
            # What goes to a file must not hold the link: it signs in whoever reads it first.
            run(settings, on_ready=partial(tell, typer.echo, console.is_terminal))
    except (OpenEOError, ValueError) as error:
        typer.echo(f"gfmap serve: {error}", err=True)
        raise typer.Exit(2) from None


def _tell(say: Callable[[str], None], person: bool, url: str, server_file: Path, link: str) -> None:
    page = f"{link}\n  (signs in once, within ten minutes)" if person else f"{url}/"
    say(
        f"""\
openEO back-end at {url}

In a browser: {page}

  from openeo_gfmap.backend import local_connection
  connection = local_connection()

Any other openEO client: authenticate_basic with user and password of
{server_file}. Ctrl-C ends it; jobs that were running start over when it runs again."""
    )


def _tell_json(
    say: Callable[[str], None], person: bool, url: str, server_file: Path, link: str
) -> None:
    import json  # noqa: PLC0415

    say(json.dumps({"url": url, "server_file": str(server_file)}))
