"""`gfmap demo`: the whole way on 16 fields, on this machine."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from openeo_gfmap.cli.out import Exit, Json, Quiet, Verbose, speaking
from openeo_gfmap.cli.run import extract

__all__ = ["demo"]

#: A season's best part, before and after the date of the labels.
_SETTINGS = {
    "recipe.period.before": "45",
    "recipe.period.after": "45",
    "recipe.labels.attribute": "croptype_label",
    "recipe.labels.names": "croptype_name",
    "backend.poll_sleep": "1",
}


def demo(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all results.")] = Path(
        "gfmap-demo"
    ),
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Extract 16 patches of simulated scenes, on this machine.

    Needs no account and no network: the embedded back-end makes the scenes.

    Example: gfmap demo
    """
    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        from openeo_gfmap.account import RunFolder  # noqa: PLC0415
        from openeo_gfmap.cli.config import load_config  # noqa: PLC0415
        from openeo_gfmap.report import contact_sheets, write_report  # noqa: PLC0415

        out.say(
            "Sixteen labelled fields become patches of 64 x 64 pixels with all Sentinel-2 dates of "
            "a season, on a back-end of your own that starts now. Its scenes are simulated, and "
            "made on the way: no account, no network."
        )
        with as_file(files("openeo_gfmap") / "data" / "demo_fields.gpkg") as fields:
            settings = {**_SETTINGS, "samples.path": str(fields), "output.folder": str(output)}
            # Whatever variables say: this is the demo, not a run of one's own.
            extract(out, load_config(None, settings.items(), environment={}))
        with out.working("Drawing"), RunFolder(output) as done:
            sums = done.sums()
            page = write_report(done)
            sheet = contact_sheets(done, done.output_dir / "preview", pages=1)[0]
        out.say()
        out.say(f"{sums}. What was made:", style="green" if sums.complete else "yellow")
        for path, what in (
            (page, "the report: open it in a browser"),
            (sheet, "a picture of the patches"),
            (output / "stac" / "collection.json", "the STAC collection"),
            (output / "samples.parquet", "the account of every sample"),
        ):
            out.say(f"  {output / Path(path).absolute().relative_to(output.absolute())}   {what}")
        out.say("The same with fields of your own: gfmap init FIELDS, then gfmap run.")
        out.document(
            {
                "folder": output, "expected": sums.expected, "received": sums.received,
                "report": page, "picture": sheet,
            }
        )  # fmt: skip
        out.end(Exit.OK if sums.complete else Exit.INCOMPLETE)
