"""The command ``gfmap``.

Only what shows the help is imported at the top; each command imports what it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="gfmap",
    help="From labelled field polygons to machine-learning-ready satellite patches.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def main() -> None:
    """Keep ``serve`` a command of its own while it is the only one."""


@app.command()
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
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, log_time_format="%X")
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
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
        if console.is_terminal:
            with TerminalDisplay(console) as display:
                run(settings, on_ready=partial(_tell, console.print), watch=display.update)
        else:
            run(settings, on_ready=partial(_tell, typer.echo))
    except (OpenEOError, ValueError) as error:
        typer.echo(f"gfmap serve: {error}", err=True)
        raise typer.Exit(2) from None


def _tell(say: Callable[[str], None], url: str, server_file: Path) -> None:
    say(
        f"""\
openEO back-end at {url}

  from openeo_gfmap.backend import local_connection
  connection = local_connection()

Any other openEO client: authenticate_basic with user and password of
{server_file}. Ctrl-C ends it; jobs that were running start over when it runs again."""
    )
