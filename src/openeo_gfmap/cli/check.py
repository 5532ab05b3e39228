"""`gfmap verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from openeo_gfmap.cli.arguments import Folder, folder_of
from openeo_gfmap.cli.out import Exit, Json, Out, Quiet, Verbose, speaking

__all__ = ["verify"]


def verify(
    folder: Folder = None,
    *,
    checksums: Annotated[
        bool, typer.Option(help="Read all files for their checksums; else only sizes count.")
    ] = True,
    gates: Annotated[
        bool, typer.Option(help="Also apply the quality gates that the run was made with.")
    ] = True,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find files that are lost, changed or not good enough.

    Goes by size, checksum and quality gates. Takes any folder with a STAC collection, too.

    Example: gfmap verify patches
    """
    from openeo_gfmap.account.verify import verify as check  # noqa: PLC0415
    from openeo_gfmap.cli.config import FILE_NAME, load_config  # noqa: PLC0415

    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        place = folder_of(folder)
        config = place / FILE_NAME
        wanted = load_config(config).gates if gates and config.is_file() else None
        with _progress(out) as progress:
            found = check(place, wanted, checksums=checksums, progress=progress)
        out.say(str(found), style=None if found.ok else "yellow")
        out.document(found.to_dict())
        out.end(Exit.OK if found.ok else Exit.INCOMPLETE)


class _Bar:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, *, shown: bool):
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import Progress  # noqa: PLC0415

        console = Console(stderr=True)
        self._bar = Progress(console=console, disable=not (shown and console.is_terminal))
        self._task = self._bar.add_task("files")

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _progress(out: Out) -> _Bar:
    return _Bar(shown=not (out.quiet or out.as_json))
