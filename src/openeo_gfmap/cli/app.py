"""All commands, in the order of their use."""

from __future__ import annotations

from typing import Annotated

import typer

from openeo_gfmap.cli import check, demo, doctor, look, make, merge, run, serve, split, steer

__all__ = ["app"]

app = typer.Typer(
    name="gfmap",
    help="From labelled field polygons to machine-learning-ready satellite patches.",
    epilog="Begin with `gfmap demo`, or with `gfmap init fields.gpkg` for fields of your own.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"openeo-gfmap {version('openeo-gfmap')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which it is.")
    ] = False,
) -> None:
    """From labelled field polygons to machine-learning-ready satellite patches."""


for command in (
    make.init,
    make.plan,
    run.run,
    look.status,
    look.logs,
    run.retry,
    steer.cancel,
    check.verify,
    look.report,
    look.preview,
    merge.merge,
    split.split,
    serve.serve,
    demo.demo,
    doctor.doctor,
):
    app.command()(command)
