"""What every command says, and how it ends: text or JSON, errors in one line, exit statuses.

====== ====================================================================
status meaning
====== ====================================================================
0      all is there
1      done, but samples are missing or rejected, or jobs failed
2      the input or the configuration is wrong; nothing was done
3      a back-end, the disk or something else failed; the same again resumes
130    Ctrl-C; the same again resumes
====== ====================================================================
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Annotated, Any

import typer

from openeo_gfmap.cli.words import TOML
from openeo_gfmap.errors import GfmapError, InputError, TrackerLocked

__all__ = ["Exit", "Json", "Out", "Quiet", "Verbose", "speaking"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say all that happens, and where errors are from.")
]


class Exit(IntEnum):
    """Exit statuses."""

    OK = 0
    INCOMPLETE = 1
    WRONG_INPUT = 2
    FAILED = 3
    INTERRUPTED = 130


class Out:
    """Says results on standard output; all else goes to standard error.

    Parameters
    ----------
    as_json : bool
        Print a document instead of text.
    quiet : bool
        Print no text.
    """

    def __init__(self, *, as_json: bool, quiet: bool):
        self.as_json = as_json
        self.quiet = quiet

    def say(self, text: object = "", *, style: str | None = None) -> None:
        """Print text, unless a document is wanted, or nothing.

        Colours are for a terminal, and NO_COLOR turns them off.
        """
        if self.as_json or self.quiet:
            return
        from rich.console import Console  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        console = Console(highlight=False, soft_wrap=True)
        console.print(Text(str(text)), style=style)

    def document(self, content: Mapping[str, Any]) -> None:
        """Print a document, where that is wanted."""
        if self.as_json:
            typer.echo(json.dumps(content, indent=2, default=str, ensure_ascii=False))

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show on a terminal that something takes its time; elsewhere show nothing."""
        if self.as_json or self.quiet or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console  # noqa: PLC0415

        with Console(stderr=True).status(what, spinner="line"):
            yield

    def end(self, status: Exit) -> None:
        """End the command; does not return unless all is well."""
        if status is not Exit.OK:
            raise typer.Exit(status)


@contextmanager
def speaking(*, as_json: bool, quiet: bool, verbose: bool) -> Iterator[Out]:
    """Set up what a command says, and turn errors into a line and an exit status."""
    _log_to_stderr(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    out = Out(as_json=as_json, quiet=quiet)
    try:
        yield out
    except typer.Exit:
        raise
    except InputError as error:
        _fail(out, error, Exit.WRONG_INPUT, verbose=verbose)
    except (TrackerLocked, OSError, GfmapError) as error:
        _fail(out, error, Exit.FAILED, verbose=verbose)
    except KeyboardInterrupt as error:
        message = str(error) or "Stopped. Nothing is lost: the same again goes on from here."
        _fail(out, KeyboardInterrupt(message), Exit.INTERRUPTED, verbose=False)
    except Exception as error:  # noqa: BLE001 - told in one line; --verbose shows where it is from
        if _is_of_the_client(error):
            _fail(out, error, Exit.FAILED, verbose=verbose)
        hint = "" if verbose else " Run it with --verbose to see where, and report it please."
        told = GfmapError(f"{type(error).__name__}: {error}.{hint}")
        told.__cause__ = error
        _fail(out, told, Exit.FAILED, verbose=verbose)


def _is_of_the_client(error: Exception) -> bool:
    """Tell whether an openEO back-end, or the way to it, said no: that is no bug."""
    import requests  # noqa: PLC0415
    from openeo import BaseOpenEoException  # noqa: PLC0415

    return isinstance(error, BaseOpenEoException | requests.RequestException)


def _fail(out: Out, error: BaseException, status: Exit, *, verbose: bool) -> None:
    if verbose:
        import traceback  # noqa: PLC0415

        traceback.print_exception(error)
    told = error.told(TOML) if isinstance(error, InputError) else str(error)
    message = " ".join(told.split())
    if out.as_json:
        out.document({"error": message, "status": int(status)})
    mark = "" if status is Exit.INTERRUPTED else "Error: "
    style = {"fg": "red"} if mark and _colours() else {"reset": False}
    typer.secho(f"{mark}{message}", err=True, **style)
    raise typer.Exit(status) from None


def _colours() -> bool:
    import os  # noqa: PLC0415

    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def _log_to_stderr(level: int) -> None:
    """Show the package's log lines; others' only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("openeo_gfmap").setLevel(level)
