"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openeo_gfmap.errors import InputError

if TYPE_CHECKING:
    from openeo_gfmap.account import RunFolder
    from openeo_gfmap.cli.config import Config

__all__ = [
    "BackendName",
    "ConfigFile",
    "Folder",
    "Output",
    "Parallel",
    "Samples",
    "Set",
    "backend_names",
    "connection_to",
    "folder_of",
    "loaded",
    "opened",
    "option_pairs",
]

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; by default gfmap.toml here, if there is one."),
]
Samples = Annotated[
    Path | None, typer.Option("--samples", help="Vector file of the samples: [samples] path.")
]


def backend_names() -> list[str]:
    """Return the names of all back-ends, to complete one without loading the openEO client."""
    return ["local", "cdse", "cdse-staging", "terrascope", "eodc", "fed"]


BackendName = Annotated[
    str | None,
    typer.Option(
        "--backend",
        "-b",
        help="Such as local or cdse: [backend] name.",
        autocompletion=backend_names,
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Output folder: [output] folder.")
]
Parallel = Annotated[
    int | None, typer.Option("--parallel-jobs", help="Most active jobs: [backend] parallel_jobs.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.KEY=VALUE", help="Any other setting, as recipe.size=32."
    ),
]
Folder = Annotated[
    Path | None,
    typer.Argument(
        help="Output folder of a run; by default that of gfmap.toml.", show_default=False
    ),
]


def loaded(
    config: Path | None,
    *,
    samples: Path | None = None,
    backend: str | None = None,
    output: Path | None = None,
    parallel_jobs: int | None = None,
    more: Iterable[str] | None = None,
) -> Config:
    """Return the configuration that the options of a command ask for."""
    from openeo_gfmap.cli.config import find_config, load_config  # noqa: PLC0415

    options = option_pairs(more)
    # Paths given on the command line begin here, not at the file's folder.
    for key, value in (
        ("samples.path", samples and samples.absolute()),
        ("backend.name", backend),
        ("output.folder", output and output.absolute()),
        ("backend.parallel_jobs", parallel_jobs),
    ):
        if value is not None:
            options.append((key, str(value)))
    path = find_config(config)
    if path is None and samples is None:
        raise InputError(
            "there is no gfmap.toml here; write one with `gfmap init FIELDS`, name one with "
            "--config, or give --samples."
        )
    return load_config(path, options)


def option_pairs(more: Iterable[str] | None) -> list[tuple[str, str]]:
    """Return section and key, and text, of each --set.

    Raises
    ------
    InputError
        When one is none.
    """
    return [_pair(text) for text in more or ()]


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise InputError(f"--set {text!r} is no SECTION.KEY=VALUE, such as recipe.size=32.")
    return key.strip(), value.strip()


def folder_of(given: Path | None) -> Path:
    """Return the output folder that was named, or that of the configuration here.

    Raises
    ------
    InputError
        When there is neither.
    """
    from openeo_gfmap.cli.config import find_config, load_config  # noqa: PLC0415

    if given is not None:
        return given
    path = find_config(None)
    if path is None:
        raise InputError("name the output folder of a run; there is no gfmap.toml here to say it.")
    return load_config(path).folder


def opened(given: Path | None) -> RunFolder:
    """Return the run in a folder, to be read."""
    from openeo_gfmap.account import RunFolder  # noqa: PLC0415

    return RunFolder(folder_of(given))


def connection_to(backend: str) -> Callable[[], Any]:
    """Return the function that connects to a back-end.

    Raises
    ------
    InputError
        When it is not known.
    """
    from openeo_gfmap.backend import BACKEND_CONNECTIONS, Backend  # noqa: PLC0415

    try:
        return BACKEND_CONNECTIONS[Backend(backend)]
    except (KeyError, ValueError):
        raise InputError(
            f"back-end {backend!r} is not known here; ask it with the program that ran the jobs."
        ) from None
