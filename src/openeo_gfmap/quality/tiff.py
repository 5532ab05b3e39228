"""GeoTIFF files for the gates: what they say of themselves, and their bands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openeo_gfmap.quality.pixels import Array, Read
from openeo_gfmap.stac.items import CubeFile, Variable

__all__ = ["open_tiff"]


@contextmanager
def open_tiff(path: Path) -> Iterator[tuple[CubeFile | None, Read]]:
    """Open a GeoTIFF: what it says, and a function that reads its bands.

    A band is called as its description says, which is the band's name in files of openEO
    back-ends, else "B1", "B2" and so on. There are no dates: back-ends write a file for each.

    Yields
    ------
    (CubeFile or None, callable)
        None for a file without a CRS.

    Raises
    ------
    ModuleNotFoundError
        Without rasterio.
    OSError
        When it cannot be read.
    """
    import rasterio  # noqa: PLC0415 - only in the extra `local`
    from rasterio.warp import transform_bounds  # noqa: PLC0415

    try:
        with rasterio.open(path) as source:
            names = [text or f"B{i}" for i, text in enumerate(source.descriptions, start=1)]

            def read(variable: Variable) -> Array:
                values: Array = source.read(names.index(variable.name) + 1)
                return values

            if source.crs is None:
                yield None, read
                return
            bands = zip(names, source.dtypes, source.nodatavals, strict=True)
            at, (rows, columns) = source.transform, source.shape
            west, south, east, north = transform_bounds(source.crs, 4326, *source.bounds)
            cube = CubeFile(
                variables=tuple(Variable(n, t, ("y", "x"), nodata) for n, t, nodata in bands),
                epsg=source.crs.to_epsg(),
                wkt=source.crs.to_wkt(),
                x=(at.c + at.a / 2, at.c + at.a * (columns - 0.5), at.a),
                y=(at.f + at.e / 2, at.f + at.e * (rows - 0.5), at.e),
                shape=(rows, columns),
                times=(),
                dimensions=(None, "y", "x"),
                bbox=(west, south, east, north),
                geometry={
                    "type": "Polygon",
                    "coordinates": [
                        [[west, south], [east, south], [east, north], [west, north], [west, south]]
                    ],
                },
            )
            yield cube, read
    except rasterio.errors.RasterioError as error:
        raise OSError(str(error)) from error
