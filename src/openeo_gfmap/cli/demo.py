"""`gfmap demo`: the whole way on 16 fields, on this machine."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from openeo_gfmap.cli.out import Exit, Json, Quiet, Verbose, speaking

__all__ = ["demo"]

_DAYS = 45  # before and after the date of the labels: a season's best part


def demo(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all results.")] = Path(
        "gfmap-demo"
    ),
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Extract 16 patches of simulated scenes on the embedded back-end: no account, no network.

    Example: gfmap demo
    """
    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        from dataclasses import replace  # noqa: PLC0415

        from openeo_gfmap.account import RunFolder  # noqa: PLC0415
        from openeo_gfmap.manager.options import ManagerOptions  # noqa: PLC0415
        from openeo_gfmap.recipes import (  # noqa: PLC0415
            AroundDate,
            Extraction,
            Labels,
            Sentinel2Patches,
        )
        from openeo_gfmap.report import contact_sheets, write_report  # noqa: PLC0415

        recipe = Sentinel2Patches(
            period=AroundDate(_DAYS, _DAYS), labels=Labels("croptype_label", "croptype_name")
        )
        with as_file(files("openeo_gfmap") / "data" / "demo_fields.gpkg") as fields:
            extraction = Extraction(recipe, fields)
        plan = extraction.plan()
        out.say(
            f"{plan.samples} of {len(extraction.samples)} fields get a patch of 64 x 64 pixels "
            f"with all Sentinel-2 dates from {plan.start} to {plan.end}, on a back-end of your own "
            "that starts now. Its scenes are simulated, and made on the way."
        )
        options = replace(ManagerOptions(), show_progress=not out.quiet)
        extraction.run(output, parallel_jobs=2, poll_sleep=1.0, options=options)
        with RunFolder(output) as done:
            sums = done.sums()
            page = write_report(done)
        sheet = contact_sheets(output, output / "preview", pages=1)[0]
        out.say()
        out.say(f"{sums}. What was made:", style="green" if sums.complete else "yellow")
        for path, what in (
            (page, "the report: open it in a browser"),
            (sheet, "a picture of the patches"),
            (output / "stac" / "collection.json", "the STAC collection"),
            (output / "samples.parquet", "the account of every sample"),
        ):
            out.say(f"  {path}   {what}")
        out.say("The same with fields of your own: gfmap init FIELDS, then gfmap run.")
        out.document(
            {
                "folder": output, "expected": sums.expected, "received": sums.received,
                "report": page, "picture": sheet,
            }
        )  # fmt: skip
        out.end(Exit.OK if sums.complete else Exit.INCOMPLETE)
