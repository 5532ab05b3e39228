"""`gfmap cancel`."""

from __future__ import annotations

from openeo_gfmap.cli.arguments import Folder, connection_to, opened
from openeo_gfmap.cli.out import Exit, Json, Quiet, Verbose, speaking

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
    import pandas as pd  # noqa: PLC0415

    from openeo_gfmap.errors import TrackerLocked  # noqa: PLC0415
    from openeo_gfmap.manager.job_manager import GFMAPJobManager  # noqa: PLC0415
    from openeo_gfmap.manager.model import JobStatus  # noqa: PLC0415

    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        with opened(folder) as run:
            if holder := run.holder():
                raise TrackerLocked(f"{run.output_dir} is run by {holder}; stop that first.")
            place, tracker = run.output_dir, run.tracker
            constellation = run.asked().get("constellation")
            active = {JobStatus.QUEUED, JobStatus.RUNNING}
            left = [job for job in run.jobs() if job.status in active]
        cancelled: list[str] = []
        if left:
            # No file comes, so none needs a path; the rows are those that the tracker has.
            manager = GFMAPJobManager(place, lambda root_folder, geometry_index, row: root_folder)
            manager.setup_stac(constellation)
            for name in sorted({job.backend or "" for job in left}):
                manager.add_backend(name, connection_to(name))
            with out.working("Cancelling"):
                cancelled = manager.cancel(
                    pd.DataFrame(), tracker, "cancelled by the user, with `gfmap cancel`"
                )
        out.say(f"Jobs that were cancelled: {len(cancelled)} of {len(left)}.")
        for job_id in cancelled:
            out.say(f"  {job_id}")
        out.document({"cancelled": cancelled, "left": len(left) - len(cancelled)})
        out.end(Exit.OK if len(cancelled) == len(left) else Exit.FAILED)
