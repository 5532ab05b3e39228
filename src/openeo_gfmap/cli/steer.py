"""`gfmap cancel`."""

from __future__ import annotations

from openeo_gfmap.cli.arguments import Folder, folder_of
from openeo_gfmap.cli.out import Json, Quiet, Verbose, speaking

__all__ = ["cancel"]


def cancel(
    folder: Folder = None,
    *,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Cancel the jobs that a stopped run has left on its back-ends.

    A run that goes on is stopped first, with Ctrl-C. `gfmap retry` makes cancelled jobs anew.

    Example: gfmap cancel patches
    """
    from openeo_gfmap.cli.config import FILE_NAME, load_config  # noqa: PLC0415
    from openeo_gfmap.errors import InputError  # noqa: PLC0415

    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        place = folder_of(folder)
        path = place / FILE_NAME
        if not path.is_file():
            raise InputError(f"{path} is not there, which `gfmap run` writes.")
        config = load_config(path)
        extraction = config.extraction()
        manager = extraction.manager(place, options=config.options)
        cancelled = manager.cancel(extraction.parts.jobs, place / "job_tracker.csv")
        out.say(f"Jobs that were cancelled: {len(cancelled)}.")
        for job_id in cancelled:
            out.say(f"  {job_id}")
        out.document({"cancelled": cancelled})
