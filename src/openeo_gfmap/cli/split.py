"""`gfmap split`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openeo_gfmap.cli.out import Json, Quiet, Verbose, speaking

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["split"]


class Grid(StrEnum):
    """What jobs are cells of."""

    HEX = "hex"
    S2GRID = "s2grid"
    S2SPHERE = "s2sphere"


def split(
    fields: Annotated[Path, typer.Argument(help="Vector file, any CRS.")],
    *,
    by: Annotated[Grid, typer.Option(help="H3 cells, Sentinel-2 tiles, or S2 cells.")] = Grid.HEX,
    max_points: Annotated[int, typer.Option(min=1, help="Most geometries of a job.")] = 500,
    resolution: Annotated[
        int | None, typer.Option(help="Of the cells; by default 3 for H3, level 8 for S2.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="GeoPackage or GeoParquet to write, with a column job."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Split geometries into compact jobs, and say how many they are.

    Example: gfmap split fields.gpkg --by s2grid --to jobs.gpkg
    """
    with speaking(as_json=json, quiet=quiet, verbose=verbose) as out:
        from openeo_gfmap.recipes.samples import read_samples  # noqa: PLC0415

        with out.working(f"Splitting {fields}"):
            frame, _ = read_samples(fields)
            jobs = _split(frame, by, max_points, resolution)
        sizes = sorted(map(len, jobs))
        out.say(
            f"{sum(sizes):,} geometries in {len(jobs):,} jobs of {sizes[0]:,} to {sizes[-1]:,}, "
            f"{sizes[len(sizes) // 2]:,} in the middle."
        )
        if to is not None:
            _write(jobs, to)
            out.say(f"Wrote {to}, with the number of its job in the column job of each geometry.")
        out.document({"jobs": len(jobs), "sizes": sizes, "file": None if to is None else str(to)})


def _split(
    frame: gpd.GeoDataFrame, by: Grid, max_points: int, resolution: int | None
) -> list[gpd.GeoDataFrame]:
    from openeo_gfmap.errors import InputError  # noqa: PLC0415
    from openeo_gfmap.manager.job_splitters import (  # noqa: PLC0415
        split_job_hex,
        split_job_s2grid,
        split_job_s2sphere,
    )

    if by is Grid.S2GRID:
        if resolution is not None:
            raise InputError("--resolution says nothing of Sentinel-2 tiles; leave it out.")
        return split_job_s2grid(frame, max_points)
    if by is Grid.S2SPHERE:
        return split_job_s2sphere(frame, max_points, 8 if resolution is None else resolution)
    return split_job_hex(frame, max_points, 3 if resolution is None else resolution)


def _write(jobs: list[gpd.GeoDataFrame], path: Path) -> None:
    import geopandas as gpd  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    from openeo_gfmap.errors import InputError  # noqa: PLC0415

    numbered = [job.assign(job=number) for number, job in enumerate(jobs)]
    table = gpd.GeoDataFrame(pd.concat(numbered), crs=jobs[0].crs)
    if path.suffix in {".parquet", ".geoparquet"}:
        table.to_parquet(path)
    elif path.suffix == ".gpkg":
        table.to_file(path, driver="GPKG")
    else:
        raise InputError(f"{path} is neither .gpkg nor .parquet; name one of those.")
