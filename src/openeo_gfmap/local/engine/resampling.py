"""From a target grid to source pixels: which source pixel each target pixel takes.

A target pixel takes the source pixel that holds its centre. Inside one CRS this separates into
an index per row and one per column, and is exact between nested grids (10, 20 and 60 m), where
it is block replication. Across CRSs the centres are transformed one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from ..errors import OpenEOError

__all__ = [
    "METHODS",
    "PixelMap",
    "SourceGrid",
    "Span",
    "method_of",
    "pixel_map",
    "source_window",
    "warp",
]

Span = tuple[int, int, int, int]
"""Rows and columns of a raster: top, bottom, left, right, ends exclusive."""

_SNAP = 1e-6  # px: float noise on a pixel edge is no reason to take the pixel before it

# openEO's names, as in resample_spatial.
METHODS: dict[str, Resampling] = {
    "near": Resampling.nearest,
    "bilinear": Resampling.bilinear,
    "cubic": Resampling.cubic,
    "cubicspline": Resampling.cubic_spline,
    "lanczos": Resampling.lanczos,
    "average": Resampling.average,
    "mode": Resampling.mode,
    "max": Resampling.max,
    "min": Resampling.min,
    "med": Resampling.med,
    "q1": Resampling.q1,
    "q3": Resampling.q3,
    "rms": Resampling.rms,
    "sum": Resampling.sum,
}


@dataclass(frozen=True)
class SourceGrid:
    """Pixel grid of a source raster.

    Attributes
    ----------
    crs
        Anything pyproj understands, hashable: an EPSG code or WKT.
    transform
        Affine pixel to CRS transform.
    shape
        Rows and columns.
    """

    crs: int | str
    transform: Affine
    shape: tuple[int, int]

    def cut(self, top: int, bottom: int, left: int, right: int) -> SourceGrid:
        """Return the grid of a part: rows top to bottom, columns left to right, ends exclusive."""
        t = self.transform
        x, y = t.a * left + t.b * top + t.c, t.d * left + t.e * top + t.f
        corner = Affine(t.a, t.b, x, t.d, t.e, y)
        return SourceGrid(self.crs, corner, (bottom - top, right - left))


@dataclass(frozen=True)
class PixelMap:
    """Source pixels for a target grid.

    Attributes
    ----------
    shape
        Rows and columns of the target.
    window
        Source rows and columns needed.
    rows, columns
        Indices inside the window. 1-D each (all pairs are meant) or 2-D (pixel by pixel).
    inside
        None if every target pixel has a source pixel. Else slices of the target (1-D indices:
        ``rows`` and ``columns`` cover only these), or a 2-D mask.
    """

    shape: tuple[int, int]
    window: Span
    rows: np.ndarray[Any, Any]
    columns: np.ndarray[Any, Any]
    inside: tuple[slice, slice] | np.ndarray[Any, Any] | None

    def gather(self, source: np.ndarray[Any, Any], missing: float) -> np.ndarray[Any, Any]:
        """Return the target pixels, taken from the pixels of the source window.

        Parameters
        ----------
        source
            Pixels of the window (..., rows, columns).
        missing
            Stands where there is no source pixel.
        """
        if self.rows.ndim == 1:
            picked = _take(source, self.rows, self.columns)
        else:
            picked = np.asarray(source[..., self.rows, self.columns])
        if self.inside is None:
            return picked
        out = np.full((*source.shape[:-2], *self.shape), missing, dtype=source.dtype)
        if isinstance(self.inside, tuple):
            out[..., *self.inside] = picked
        else:
            np.copyto(out, picked, where=self.inside)
        return out


def _take(
    source: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], columns: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    ascending = rows[0] <= rows[-1] and columns[0] <= columns[-1]
    if ascending and source.shape[-2:] == (len(rows), len(columns)):
        return source  # evenly spaced, and as many as there are: they can only be 0, 1, 2, ...
    return np.asarray(source.take(columns, axis=-1).take(rows, axis=-2))


def pixel_map(target: GeoBox, source: SourceGrid) -> PixelMap | None:
    """Return which source pixels a target grid takes, None if it takes none."""
    aligned = _axis_aligned(source.transform) and _axis_aligned(target.affine)
    if aligned and _same_crs(target, source.crs):
        return _separable(target, source)
    return _pixel_by_pixel(target, source)


def _separable(target: GeoBox, source: SourceGrid) -> PixelMap | None:
    a, b = target.affine, source.transform
    columns = _indices(a.c, a.a, target.shape[1], b.c, b.a)
    rows = _indices(a.f, a.e, target.shape[0], b.f, b.e)
    down = np.flatnonzero((rows >= 0) & (rows < source.shape[0]))
    across = np.flatnonzero((columns >= 0) & (columns < source.shape[1]))
    if not len(down) or not len(across):
        return None
    inside = (slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1))
    rows, columns = rows[inside[0]], columns[inside[1]]
    top, left = int(rows.min()), int(columns.min())
    window = (top, int(rows.max()) + 1, left, int(columns.max()) + 1)
    shape = (target.shape[0], target.shape[1])
    whole = shape == (len(rows), len(columns))
    return PixelMap(shape, window, rows - top, columns - left, None if whole else inside)


def _indices(
    origin: float, step: float, count: int, source_origin: float, source_step: float
) -> np.ndarray[Any, Any]:
    centres = origin + (np.arange(count) + 0.5) * step
    return np.asarray(np.floor((centres - source_origin) / source_step + _SNAP), dtype=np.int64)


def _pixel_by_pixel(target: GeoBox, source: SourceGrid) -> PixelMap | None:
    height, width = target.shape
    across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = _affine(target.affine, across, down)
    if not _same_crs(target, source.crs):
        x, y = _transformer(_wkt(target), source.crs).transform(x, y)
    column, row = _affine(~source.transform, x, y)
    with np.errstate(invalid="ignore"):  # points outside the projection come out infinite
        inside = (row >= 0) & (row < source.shape[0]) & (column >= 0) & (column < source.shape[1])
    if not inside.any():
        return None
    rows = np.floor(np.where(inside, row, 0) + _SNAP).astype(np.int64)
    columns = np.floor(np.where(inside, column, 0) + _SNAP).astype(np.int64)
    rows, columns = np.minimum(rows, source.shape[0] - 1), np.minimum(columns, source.shape[1] - 1)
    top, left = int(rows[inside].min()), int(columns[inside].min())
    window = (top, int(rows[inside].max()) + 1, left, int(columns[inside].max()) + 1)
    rows, columns = np.where(inside, rows - top, 0), np.where(inside, columns - left, 0)
    return PixelMap((height, width), window, rows, columns, None if inside.all() else inside)


def warp(
    source: np.ndarray[Any, Any],
    grid: SourceGrid,
    target: GeoBox,
    method: str,
    nodata: float,
) -> np.ndarray[Any, Any]:
    """Return a source window (rows, columns) resampled onto the target grid by GDAL.

    Parameters
    ----------
    source
        Pixels, ``nodata`` where missing (NaN for floats).
    grid
        Grid of just these pixels.
    method
        An openEO resampling method, a key of :data:`METHODS`.
    """
    out = np.full(tuple(target.shape), nodata, dtype=source.dtype)
    across, down = (max(1.0, round(ratio, 1)) for ratio in _pixel_ratios(target, grid))
    reproject(
        source,
        out,
        src_transform=grid.transform,
        src_crs=CRS.from_user_input(grid.crs).to_wkt(),
        src_nodata=nodata,
        dst_transform=target.affine,
        dst_crs=_wkt(target),
        dst_nodata=nodata,
        resampling=method_of(method),
        # Neighbouring windows must meet without a seam: each pixel is transformed exactly, and
        # kernels are as wide as stated (GDAL would derive that from the size of the window).
        tolerance=0,
        XSCALE=1 / across,
        YSCALE=1 / down,
    )
    return out


def method_of(name: str) -> Resampling:
    """Return rasterio's name of an openEO resampling method.

    Raises
    ------
    OpenEOError
        ProcessParameterInvalid for a name that is no openEO method, or one not offered.
    """
    try:
        return METHODS[name]
    except KeyError:
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"Resampling method {name!r} is not available; use one of {', '.join(METHODS)}.",
        ) from None


def source_window(target: GeoBox, grid: SourceGrid) -> Span | None:
    """Return the source pixels (top, bottom, left, right) that resampling onto a target needs.

    Every method but "near" weighs the neighbours of a pixel: the footprint of the target grows
    by three pixels of the coarser of both grids (Lanczos, the widest kernel, needs them all).
    """
    xs, ys = _affine(target.affine, *_ring(target.shape[0], target.shape[1]))
    if not _same_crs(target, grid.crs):
        xs, ys = _transformer(_wkt(target), grid.crs).transform(xs, ys)
    columns, rows = _affine(~grid.transform, xs, ys)
    if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        return None
    margin = math.ceil(3 * max(1.0, *_pixel_ratios(target, grid))) + 1
    top = max(0, int(np.floor(rows.min())) - margin)
    bottom = min(grid.shape[0], int(np.ceil(rows.max())) + margin)
    left = max(0, int(np.floor(columns.min())) - margin)
    right = min(grid.shape[1], int(np.ceil(columns.max())) + margin)
    return (top, bottom, left, right) if top < bottom and left < right else None


def _pixel_ratios(target: GeoBox, grid: SourceGrid) -> tuple[float, float]:
    """Return how many source pixels one target pixel is wide and high, in the window's middle."""
    y, x = target.shape[0] / 2, target.shape[1] / 2
    xs, ys = _affine(target.affine, np.array([x, x + 1, x]), np.array([y, y, y + 1]))
    if not _same_crs(target, grid.crs):
        xs, ys = _transformer(_wkt(target), grid.crs).transform(xs, ys)
    columns, rows = _affine(~grid.transform, xs, ys)
    steps = np.hypot(columns[1:] - columns[0], rows[1:] - rows[0])
    return float(steps[0]), float(steps[1])


def _ring(
    height: int, width: int, points: int = 16
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return pixel coordinates (x, y) along the edge of a grid that is one pixel larger around."""
    x, y = np.linspace(-1, width + 1, points), np.linspace(-1, height + 1, points)
    left, right = np.full(points, -1.0), np.full(points, width + 1.0)
    top, bottom = np.full(points, -1.0), np.full(points, height + 1.0)
    return np.concatenate([x, x, left, right]), np.concatenate([top, bottom, y, y])


def _affine(
    transform: Affine, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    t = transform
    return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f


def _wkt(geobox: GeoBox) -> str:
    if geobox.crs is None:
        raise ValueError("A pixel grid without a CRS cannot be read into; give the GeoBox one.")
    return str(geobox.crs.to_wkt())


def _axis_aligned(transform: Affine) -> bool:
    return bool(transform.b == 0 and transform.d == 0)


@lru_cache(maxsize=1024)
def _equal(wkt: str, source: int | str) -> bool:
    crs = CRS.from_wkt(wkt)
    return crs.to_epsg() == source if isinstance(source, int) else crs == CRS(source)


def _same_crs(target: GeoBox, source: int | str) -> bool:
    return _equal(_wkt(target), source)


@lru_cache(maxsize=64)
def _transformer(target_wkt: str, source: int | str) -> Transformer:
    return Transformer.from_crs(target_wkt, source, always_xy=True)
