"""`gfmap init` and `gfmap plan`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from openeo_gfmap.cli.arguments import (
    BackendName,
    ConfigFile,
    Output,
    Parallel,
    Samples,
    Set,
    loaded,
)
from openeo_gfmap.cli.out import Json, Quiet, Verbose, speaking

__all__ = ["init", "plan"]


def init(
    fields: Annotated[Path, typer.Argument(help="Vector file of the samples, any CRS.")],
    *,
    to: Annotated[Path, typer.Option("--to", help="File to write.")] = Path("gfmap.toml"),
    backend: BackendName = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a commented gfmap.toml for the samples of a vector file.

    Columns are guessed from their names, and the dates from what is in them.

    Example: gfmap init fields.gpkg
    """
    from openeo_gfmap.cli.template import guess, write_template  # noqa: PLC0415
    from openeo_gfmap.errors import InputError  # noqa: PLC0415

    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        if to.exists() and not force:
            raise InputError(f"{to} is there already; write another with --to, or add --force.")
        guessed = guess(fields)
        text = write_template(guessed, fields, to.parent, backend or "local")
        part = to.with_name(to.name + ".part")
        part.write_text(text, encoding="utf-8")
        part.replace(to)
        for line in guessed.lines():
            out.say(line)
        out.say(f"Wrote {to}. Look at it, then: gfmap plan")
        out.document({"config": str(to), **asdict(guessed)})


def plan(
    *,
    config: ConfigFile = None,
    samples: Samples = None,
    backend: BackendName = None,
    output: Output = None,
    parallel_jobs: Parallel = None,
    more: Set = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what a run will do, and refuse what it could not; nothing is spent.

    Time and costs are estimated from what samples took in the output folder so far.

    Example: gfmap plan --backend cdse --set recipe.size=32
    """
    from openeo_gfmap.account import RunFolder  # noqa: PLC0415
    from openeo_gfmap.errors import InputError  # noqa: PLC0415

    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        chosen = loaded(
            config, samples=samples, backend=backend, output=output,
            parallel_jobs=parallel_jobs, more=more,
        )  # fmt: skip
        extraction = chosen.extraction()
        chosen.check(extraction)
        try:
            with RunFolder(chosen.folder) as history:
                planned = extraction.plan(history)
                done = history.sums()
        except InputError:  # nothing was run there yet
            planned, done = extraction.plan(), None
        out.say(planned)
        if done is not None:
            out.say(f"There already: {done}. Only the rest is run.")
        out.document({**asdict(planned), "there": None if done is None else done.received})
