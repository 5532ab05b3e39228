"""`gfmap merge`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from openeo_gfmap.cli.out import Json, Quiet, Verbose, speaking

__all__ = ["merge"]


class OnClash(StrEnum):
    """What becomes of items with the same id and different files."""

    ERROR = "error"
    RENAME = "rename"
    FIRST = "first"
    LAST = "last"


def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Output folders of runs, or collections; two or more.", metavar="DIR"),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the new collection.")],
    on_clash: Annotated[
        OnClash,
        typer.Option(
            help="Where the same id stands for different files: refuse, rename the later ones, or "
            "take only the first or the last."
        ),
    ] = OnClash.ERROR,
    name: Annotated[
        str | None, typer.Option("--id", help="Of the new collection; by default the first's.")
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="Of the new collection; by default the first's.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make one STAC collection of several.

    The files stay where they are. An item that is in several with the same files is taken once.

    Example: gfmap merge belgium austria --output all
    """
    from openeo_gfmap.errors import InputError  # noqa: PLC0415

    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        if len(folders) < 2:
            raise InputError(f"{folders[0]} alone is nothing to merge; name two or more folders.")
        _refuse_run(output)
        from pyarrow.parquet import read_metadata  # noqa: PLC0415

        from openeo_gfmap.stac import merge as merged  # noqa: PLC0415

        with out.working("Merging"):
            path = merged(
                folders, output, identifier=name, description=description, on_clash=on_clash.value
            )
        items = read_metadata(path.with_name("items.parquet")).num_rows
        out.say(f"{items:,} items of {len(folders)} collections are in {path}")
        out.say(f"To see them: gfmap preview {output}; to check all files: gfmap verify {output}")
        out.document(
            {"collection": str(path), "items": items, "sources": [str(each) for each in folders]}
        )


def _refuse_run(output: Path) -> None:
    """See to it that the folder is none whose catalogue a run writes.

    Raises
    ------
    InputError
        When it is one.
    """
    from openeo_gfmap.errors import InputError  # noqa: PLC0415

    folder = output.absolute()
    if folder.name == "stac":
        folder = folder.parent
    if any(folder.glob("*.csv.sqlite")):
        raise InputError(
            f"{folder} holds a run, which writes its own catalogue anew each time; name another "
            "folder with --output."
        )
