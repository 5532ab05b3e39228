"""``python -m openeo_gfmap.local``: run the server in the foreground."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .errors import OpenEOError
from .settings import Settings, parse_size, parse_source

__all__ = ["main"]

T = TypeVar("T")

# Options that are settings of the same name as they are.
_OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "parallel_jobs": (int, "jobs that run at a time (default: by CPUs and memory)"),
    "public_url": (str, "address that clients use, where a reverse proxy stands before the server"),
    "user_jobs": (int, "jobs of one user that run at a time (default: no limit)"),
    "user_header": (str, "request header in which a reverse proxy names the user"),
    "memory": (parse_size, "memory of all jobs together, e.g. 48G"),
    "job_memory": (parse_size, "most memory of one job, e.g. 4G"),
    "job_seconds": (float, "longest run of a batch job"),
    "sync_seconds": (float, "longest run of a synchronous request"),
    "udf_seconds": (float, "longest call of a UDF"),
    "udf_cpu_seconds": (float, "CPU time of a call of a UDF"),
    "udf_memory": (parse_size, "memory of a process that runs UDFs (default: that of the job)"),
    "scheduler": (str, "address of a Dask scheduler whose workers evaluate batch jobs"),
    "result_store": (str, "shared folder or object store for result files"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and serve; the exit status is 2 for settings that cannot be."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        settings = Settings.load(
            os.environ,
            home=given.home,
            host=given.host,
            port=given.port,
            idle_seconds=given.idle_seconds,
            sources=dict(given.source) if given.source else None,
            **{name: getattr(given, name) for name in _OPTIONS},
        )
        # Imported when the arguments are known to be good: it takes a second.
        try:
            from .server import serve  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise OpenEOError(
                "Incomplete",
                f"The local back-end needs more packages ({error}): "
                'pip install "openeo-gfmap[local]"',
            ) from None
        serve(settings)
    except OpenEOError as error:
        sys.stderr.write(f"openeo_gfmap.local: {error.message}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m openeo_gfmap.local",
        description="Serve the embedded openEO back-end on this machine.",
        epilog="Each option can also be set by an environment variable: OPENEO_GFMAP_ and its "
        "name in upper case, such as OPENEO_GFMAP_PARALLEL_JOBS.",
    )
    add = parser.add_argument
    add("--home", type=Path, help="state folder (default: OPENEO_GFMAP_HOME)")
    add("--host", help="loopback address to listen on (default: 127.0.0.1)")
    add("--port", type=int, help="port; 0 for the last one or any free one (default)")
    add("--idle-seconds", type=float, help="end when unused for so long; 0: never (default)")
    add("--source", type=_typed(parse_source), action="append", metavar="ID=URL_OR_FOLDER",
        help="what a collection reads; may be repeated")  # fmt: skip
    for name, (parse, text) in _OPTIONS.items():
        add(f"--{name.replace('_', '-')}", type=_typed(parse), help=text)
    return parser


def _typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Show a parser's own message for a bad value, which argparse would replace."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


if __name__ == "__main__":
    sys.exit(main())
