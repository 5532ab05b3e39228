"""`gfmap run` and `gfmap retry`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openeo_gfmap.cli.arguments import (
    BackendName,
    ConfigFile,
    Folder,
    Output,
    Parallel,
    Samples,
    Set,
    folder_of,
    loaded,
    opened,
    option_pairs,
)
from openeo_gfmap.cli.out import Exit, Json, Out, Quiet, Verbose, speaking
from openeo_gfmap.files import whole

if TYPE_CHECKING:
    from openeo_gfmap.cli.config import Config

__all__ = ["conclude", "extract", "retry", "run"]


def run(
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
    """Extract all samples; the same again goes on where it stopped.

    Example: gfmap run --backend cdse --parallel-jobs 4
    """
    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        chosen = loaded(
            config, samples=samples, backend=backend, output=output,
            parallel_jobs=parallel_jobs, more=more,
        )  # fmt: skip
        extract(out, chosen)
        conclude(out, chosen.folder)


def retry(
    folder: Folder = None,
    *,
    rejected: Annotated[
        bool,
        typer.Option("--rejected", help="Also ask for samples that the same gates have rejected."),
    ] = False,
    refetch: Annotated[
        bool, typer.Option("--refetch", help="Also fetch files that are gone, or of another size.")
    ] = False,
    checksums: Annotated[
        bool,
        typer.Option("--checksums", help="Like --refetch, also by checksum: reads all files."),
    ] = False,
    more: Set = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make jobs again that failed, and fetch files that are missing.

    Finished jobs are left alone, and so are samples that the same gates would reject again. It goes
    by the settings that the run was begun with, and keeps what is changed with --set.

    Example: gfmap retry patches

    Example: gfmap retry patches --set gates.min_clear_dates=3
    """
    from openeo_gfmap.account.rejected import to_ask_again  # noqa: PLC0415
    from openeo_gfmap.cli.config import FILE_NAME, load_config  # noqa: PLC0415
    from openeo_gfmap.errors import InputError  # noqa: PLC0415

    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        place = folder_of(folder)
        path = place / FILE_NAME
        if not path.is_file():
            raise InputError(
                f"{path} is not there, which `gfmap run` writes; run again with "
                "restart_failed=True what a program of yours has run."
            )
        now = chosen = load_config(path, option_pairs(more))
        with opened(place) as run:
            again = to_ask_again(run, chosen.gates, rejected=rejected)
        if refetch or checksums:
            how = "checksum" if checksums else "size"
            now = replace(chosen, options=replace(chosen.options, refetch_lost=how))
        if again.rejected:
            out.say(
                f"Rejected samples that are asked for again: {again.rejected:,}. Should the "
                f"back-end no longer have their files, those in {place / 'quarantine'} stay."
            )
        extract(out, now, noted=chosen, restart_failed=again.rows)
        if again.spared:
            out.say()
            out.say(
                f"Not asked for again: {again.spared:,} samples, which the same gates would reject "
                "again; --rejected asks for them all the same.",
                style="yellow",
            )
        conclude(out, chosen.folder, not_asked_again=again.spared)


def extract(out: Out, config: Config, *, noted: Config | None = None, **arguments: Any) -> None:
    """Run an extraction; its folder then has what later commands go by.

    Parameters
    ----------
    out : Out
        Says what is done.
    config : Config
        What holds now.
    noted : Config, optional
        What later commands go by, where that is something else.
    **arguments
        For the manager.
    """
    from openeo_gfmap.cli.config import FILE_NAME, WRITTEN  # noqa: PLC0415
    from openeo_gfmap.errors import InputError, TrackerLocked  # noqa: PLC0415
    from openeo_gfmap.manager.disk import make_folder  # noqa: PLC0415

    with out.working("Reading the samples"):
        extraction = config.extraction()
    folder = config.folder
    out.say(
        f"{extraction.plan().samples:,} patches in {len(extraction.parts.jobs):,} jobs on "
        f"{config.backend.name}, into {folder}"
    )
    config.check(extraction)
    # What later commands go by: they need no more than the folder.
    settings = folder / FILE_NAME
    make_folder(folder)
    earlier = settings.read_bytes() if settings.is_file() else None
    # One that somebody has written stays: the output folder may be where it lies.
    if earlier is None or earlier.startswith(WRITTEN.encode()):
        _replace(settings, (noted or config).to_toml().encode())
    try:
        config.run(extraction, show_progress=not out.quiet, **arguments)
    except (InputError, TrackerLocked):
        # Nothing was done: what held for the folder still does.
        if earlier is None:
            settings.unlink(missing_ok=True)
        else:
            _replace(settings, earlier)
        raise


def _replace(path: Path, content: bytes) -> None:
    with whole(path) as part:
        part.write_bytes(content)


def conclude(out: Out, folder: Path, **more: Any) -> None:
    """Say what is in a folder after a run, and more in its document; end with the status."""
    from openeo_gfmap.account import RunFolder  # noqa: PLC0415
    from openeo_gfmap.manager.register import UNSUCCESSFUL  # noqa: PLC0415

    with RunFolder(folder) as done:
        sums = done.sums()
        failed = sum(job.status in UNSUCCESSFUL for job in done.jobs())
    out.say()
    out.say(f"{sums}.", style="green" if sums.complete else "yellow")
    out.say(f"  {folder / 'stac' / 'collection.json'}   the catalogue")
    out.say(f"  {folder / 'samples.parquet'}   the account of every sample")
    if not sums.complete:
        out.say(f"Why, by kind: gfmap status {folder}")
        if sums.received + sums.rejected < sums.expected:
            out.say(f"To try again: gfmap retry {folder}")
        if sums.rejected:
            out.say(f"Under other gates: gfmap retry {folder} --set gates.KEY=VALUE")
    out.say(f"To see it: gfmap report {folder}, gfmap preview {folder}")
    out.document(
        {
            "folder": folder, "expected": sums.expected, "received": sums.received,
            "missing": sums.missing, "rejected": sums.rejected, "open": sums.open,
            "failed_jobs": failed, **more,
        }
    )  # fmt: skip
    out.end(Exit.OK if sums.complete and not failed else Exit.INCOMPLETE)
