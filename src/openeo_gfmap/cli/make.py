"""`gfmap init` and `gfmap plan`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openeo_gfmap.cli.arguments import (
    BackendName,
    ConfigFile,
    Output,
    Parallel,
    Samples,
    Set,
    loaded,
    option_pairs,
)
from openeo_gfmap.cli.out import Json, Quiet, Verbose, speaking
from openeo_gfmap.cli.settings_file import nearest
from openeo_gfmap.cli.words import TOML
from openeo_gfmap.files import whole

if TYPE_CHECKING:
    from openeo_gfmap.manager.ledger import Sums
    from openeo_gfmap.recipes import Extraction, Plan

__all__ = ["init", "plan"]


def init(
    fields: Annotated[Path, typer.Argument(help="Vector file of the samples, any CRS.")],
    *,
    to: Annotated[Path, typer.Option("--to", help="File to write.")] = Path("gfmap.toml"),
    backend: BackendName = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="samples.ROLE=COLUMN", help="A column that is not to be guessed."
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a commented gfmap.toml for the samples of a vector file.

    Columns are guessed from their names, and the dates from what is in them.

    Example: gfmap init fields.gpkg

    Example: gfmap init fields.gpkg --set samples.sample_id=code
    """
    from openeo_gfmap.cli.template import guess, write_template  # noqa: PLC0415
    from openeo_gfmap.errors import InputError  # noqa: PLC0415

    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        if to.exists() and not force:
            raise InputError(f"{to} is there already; write another with --to, or add --force.")
        columns = _columns(more)
        try:
            with out.working(f"Reading {fields}"):
                guessed = guess(fields, columns)
        except InputError as error:
            if error.about is None or not error.about.startswith("columns."):
                raise
            role = error.about.partition(".")[2]
            raise InputError(
                f"{error.told(TOML)} Here that is: gfmap init {fields} --set samples.{role}=COLUMN"
            ) from error
        text = write_template(guessed, fields, to.parent, backend or "local")
        with whole(to) as part:
            part.write_text(text, encoding="utf-8")
        for line in guessed.lines():
            out.say(line)
        out.say(f"Wrote {to}. Look at it, then: gfmap plan")
        out.document({"config": str(to), **asdict(guessed)})


def _columns(more: list[str] | None) -> dict[str, str]:
    """Return the columns that were named, by role.

    Raises
    ------
    InputError
        When something else was.
    """
    from openeo_gfmap.errors import InputError  # noqa: PLC0415
    from openeo_gfmap.recipes.samples import ALIASES  # noqa: PLC0415

    known = {f"samples.{role}": role for role in ALIASES}
    found = {}
    for key, column in option_pairs(more):
        if key not in known:
            raise InputError(
                f"--set {key}: here only columns are set; {nearest(key, known)} Set the rest in "
                "the file."
            )
        found[known[key]] = column
    return found


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
    """Say what a run will do, and what it will cost; nothing is spent.

    What cannot be run is refused here. Time and costs are estimated from what samples took in the
    output folder so far.

    Example: gfmap plan --backend cdse --set recipe.size=32
    """
    from openeo_gfmap.cli.doctor import free_space  # noqa: PLC0415

    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        chosen = loaded(
            config, samples=samples, backend=backend, output=output,
            parallel_jobs=parallel_jobs, more=more,
        )  # fmt: skip
        with out.working("Planning"):
            extraction = chosen.extraction()
            chosen.check(extraction)
            planned, done = _planned(extraction, chosen.folder)
        out.say(planned)
        if done is not None:
            out.say(f"There already: {done}. Only the rest is run.")
        free = free_space(chosen.folder)
        if planned.bytes > free:
            out.say(
                f"Only {free / 1e9:,.1f} GB are free for {chosen.folder}: make room, or name "
                "another folder with --output.",
                style="yellow",
            )
        most = chosen.options.max_costs
        if most is not None and (planned.costs or 0) > most:
            out.say(
                f"It stops at costs of {most:g}, the max_costs of [limits]; the rest is made when "
                "that is raised.",
                style="yellow",
            )
        out.document(
            {
                **asdict(planned),
                "there": None if done is None else done.received,
                "free_bytes": free,
            }
        )


def _planned(extraction: Extraction, folder: Path) -> tuple[Plan, Sums | None]:
    """Return the plan, and what is in the folder already; None for nothing."""
    from openeo_gfmap.account import RunFolder  # noqa: PLC0415
    from openeo_gfmap.errors import InputError  # noqa: PLC0415

    try:
        history = RunFolder(folder)
    except InputError:  # nothing was run there yet
        return extraction.plan(), None
    with history:
        return extraction.plan(history), history.sums()
