"""`gfmap status`, `gfmap logs`, `gfmap report` and `gfmap preview`: looking at a run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from openeo_gfmap.cli.arguments import Folder, connection_to, folder_of, opened
from openeo_gfmap.cli.out import Exit, Json, Out, Quiet, Verbose, speaking

if TYPE_CHECKING:
    from openeo_gfmap.account import RunFolder
    from openeo_gfmap.manager.model import Job

__all__ = ["logs", "preview", "report", "status"]

_REASONS = 5


def status(
    folder: Folder = None,
    *,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say how a run stands, also while it goes on, and what went wrong.

    Example: gfmap status patches
    """
    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out, opened(folder) as run:
        found = _status(run)
        _say_status(out, run, found)
        out.document(found)
        failed = sum(each["jobs"] for each in found["errors"])
        complete = found["samples"]["received"] == found["samples"]["expected"]
        out.end(Exit.OK if complete and not failed else Exit.INCOMPLETE)


def _status(run: RunFolder) -> dict[str, Any]:
    from openeo_gfmap.account.advice import advice_for, kind_of  # noqa: PLC0415
    from openeo_gfmap.manager.ledger import commonest  # noqa: PLC0415
    from openeo_gfmap.manager.register import UNSUCCESSFUL  # noqa: PLC0415

    jobs, sums, costs = run.jobs(), run.sums(), run.costs()
    kinds = Counter(kind_of(job) for job in jobs if job.status in UNSUCCESSFUL)
    return {
        "folder": str(run.output_dir),
        "running": run.holder(),
        "samples": {
            "expected": sums.expected, "received": sums.received, "missing": sums.missing,
            "rejected": sums.rejected, "open": sums.open,
        },
        "jobs": dict(Counter(job.status.shown for job in jobs)),
        "costs": {"spent": costs.spent, "left": costs.left, "by_backend": dict(costs.by_backend)},
        "errors": [
            {"kind": kind, "jobs": count, "advice": advice_for(kind)}
            for kind, count in kinds.most_common()
        ],
        "reasons": [
            {"reason": reason, "samples": count}
            for reason, count in commonest(run.samples(), _REASONS)
        ],
    }  # fmt: skip


def _say_status(out: Out, run: RunFolder, found: dict[str, Any]) -> None:
    from openeo_gfmap.manager.progress import amount  # noqa: PLC0415

    sums = run.sums()
    running = found["running"]
    out.say(f"{found['folder']}: {f'run by {running}' if running else 'nobody runs it now'}")
    still = f", {sums.open:,} open" if sums.open else ""
    out.say(f"{sums}{still}.", style="green" if sums.complete else "yellow")
    states = ", ".join(f"{count} {state}" for state, count in found["jobs"].items())
    out.say(f"Jobs: {states or 'none'}.")
    if found["costs"]["spent"]:
        left = found["costs"]["left"]
        rest = f", about {amount(left)} more to come" if left else ""
        out.say(f"Costs: {amount(found['costs']['spent'])}{rest}.")
    for each in found["errors"]:
        out.say()
        out.say(f"{each['jobs']} jobs failed: {each['kind']}", style="red")
        out.say(f"  {each['advice']}")
    if found["reasons"]:
        out.say()
        out.say("Why samples are missing or rejected:")
        for each in found["reasons"]:
            out.say(f"  {each['samples']:>6,}  {each['reason']}")
    if found["errors"]:
        out.say(f"To try again: gfmap retry {found['folder']}")


def logs(
    job: Annotated[str, typer.Argument(help="Id of the job, or the number of its row.")],
    folder: Folder = None,
    *,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show the log of a job, by its id or row.

    That is the log that was saved, else the back-end's.

    Example: gfmap logs 3 patches
    """
    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out, opened(folder) as run:
        found = _job(run, job)
        text = _saved_log(run, found) or _log_of_backend(found)
        out.say(text.rstrip())
        out.document({"row": found.row, "id": found.id, "log": text.splitlines()})


def _job(run: RunFolder, wanted: str) -> Job:
    from openeo_gfmap.errors import InputError  # noqa: PLC0415

    jobs = run.jobs()
    of_id = [each for each in [*jobs, *run.past_jobs()] if each.id == wanted]
    if of_id:
        return of_id[0]
    if wanted.isdigit() and int(wanted) < len(jobs):
        return jobs[int(wanted)]
    raise InputError(
        f"{run.output_dir} has no job {wanted!r}; name an id of the tracker, or a row from 0 to "
        f"{len(jobs) - 1}."
    )


def _saved_log(run: RunFolder, job: Job) -> str | None:
    from openeo_gfmap.files import safe_name  # noqa: PLC0415

    if not job.id:
        return None
    # Before the id stands the title, which may be another one by now.
    name = safe_name(job.id, 80)
    for folder, ending in (
        ("failed_jobs", f"_{name}.log"),
        ("provenance", f"_{name}_{job.row}.log"),
    ):
        for path in sorted((run.output_dir / folder).glob("*.log")):
            if path.name.endswith(ending):
                return path.read_text(encoding="utf-8")
    return None


def _log_of_backend(job: Job) -> str:
    from openeo import BaseOpenEoException  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    from openeo_gfmap.errors import BackendError, BackendUnavailable, InputError  # noqa: PLC0415
    from openeo_gfmap.manager.answers import is_gone, one_line  # noqa: PLC0415

    if not job.id or not job.backend:
        reason = f": {job.message}" if job.message else ""
        raise InputError(
            f"row {job.row} has no job on a back-end; it is {job.status.shown}{reason}."
        )
    lines, where = [], f"back-end {job.backend!r}"
    try:
        connection = connection_to(job.backend)()
        where += f" at {connection.root_url}"
        for entry in connection.job(job.id).logs():
            level = str(entry.get("level") or "info").upper()
            lines.append(f"{entry.get('time') or ''} {level}: {entry.get('message') or ''}".strip())
    except (BaseOpenEoException, RequestException) as error:
        if is_gone(error):
            raise BackendError(
                f"{where} has no job {job.id}, which ran there for row {job.row}, and no log of it "
                f"was saved. {_why_gone(job.backend)} With logs_of_finished = true in [limits] the "
                "next run saves the logs of all jobs."
            ) from error
        raise BackendUnavailable(
            f"{where} was asked for the log of job {job.id} and did not give it "
            f"({one_line(error)}). Ask again later, or look what is wrong: gfmap doctor --backend "
            f"{job.backend}"
        ) from error
    return "\n".join(lines) or "The back-end has no log of this job."


def _why_gone(backend: str) -> str:
    """Return why a back-end may no longer have a job, and what to do then."""
    if backend != "local":
        return "It may have been removed there, or belong to another log-in."
    from openeo_gfmap.launcher import state_folder  # noqa: PLC0415

    return (
        f"The embedded back-end keeps its jobs in OPENEO_GFMAP_HOME, which is {state_folder()} "
        "now: if the run had another one, set that and ask again."
    )


def report(
    folder: Folder = None,
    *,
    to: Annotated[
        Path | None, typer.Option("--to", help="File to write; by default report.html there.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write one HTML page that shows the whole run.

    It is a single file, and needs no network.

    Example: gfmap report patches
    """
    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out, opened(folder) as run:
        from openeo_gfmap.report import write_report  # noqa: PLC0415

        with out.working("Writing the report"):
            path = write_report(run, to)
        out.say(f"Wrote {path}. Open it in a browser.")
        out.document({"report": str(path)})


def preview(
    folder: Folder = None,
    *,
    sample: Annotated[
        list[str] | None, typer.Option("--sample", "-s", help="Id of a sample to show by itself.")
    ] = None,
    pages: Annotated[int, typer.Option(min=1, help="Most contact sheets.")] = 3,
    by: Annotated[
        str | None, typer.Option(help="Property to choose samples by: each value alike.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Choose samples at random; the same seed, the same ones.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder to write to; by default preview/ there.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw contact sheets of the patches, or a page for single samples.

    Example: gfmap preview patches --by croptype_name --pages 5

    Example: gfmap preview patches --sample 2021_BEL_17
    """
    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        from openeo_gfmap.report import contact_sheets, sample_page  # noqa: PLC0415

        place = folder_of(folder)
        target = to or place / "preview"
        with out.working("Drawing"):
            if sample:
                paths = [sample_page(place, name, target) for name in sample]
            else:
                choose: Literal["even", "random"] = "even" if seed is None else "random"
                paths = contact_sheets(
                    place, target, pages=pages, choose=choose, by=by, seed=seed or 0
                )
        for path in paths:
            out.say(f"Wrote {path}")
        out.document({"images": [str(path) for path in paths]})
