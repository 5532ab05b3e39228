"""Running user-defined functions: Python code of the user's, on the pixels of one window.

A UDF is a module with one of these entry points::

    apply_datacube(cube: openeo.udf.XarrayDataCube, context: dict) -> XarrayDataCube
    apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray
    apply_udf_data(udf_data: openeo.udf.UdfData) -> UdfData

It sees the cube's dimensions in the order t, bands, y, x, with cell centres, datetimes and band
names as coordinates, and may change the values, their type, the bands and the dates. It must keep
the pixels: a result on others is refused where the window is put together.

Its code runs in a process of its own (:mod:`udf_child`), which lives as long as the process that
evaluates windows. Here cubes become plain arrays with names, and back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from ..errors import OpenEOError
from .cube import Cube
from .udf_limits import UdfLimits
from .udf_messages import Call, PlainArray
from .udf_process import UdfProcess

__all__ = ["UdfSession", "run_udf", "use"]

# Names that UDFs in the wild give to the dimensions of what they return.
_ALIASES = {"time": "t", "band": "bands", "lat": "y", "latitude": "y", "lon": "x", "longitude": "x"}


def _log_here(level: str, message: str) -> None:
    logging.getLogger(__name__).log(logging.getLevelNamesMapping()[level.upper()], message)


@dataclass
class UdfSession:
    """The process for UDFs of one thread: started when first needed, again after it has ended.

    Attributes
    ----------
    limits
        What the process may use.
    log
        Takes level and message of what UDFs log.
    """

    limits: UdfLimits = field(default_factory=UdfLimits)
    log: Callable[[str, str], None] = _log_here
    _process: UdfProcess | None = None

    def start(self) -> UdfProcess:
        """Return the process; a new one gets ready while the caller does other things."""
        if self._process is not None and not self._process.usable:
            self.close()
        if self._process is None:
            self._process = UdfProcess(self.limits, self._note)
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _note(self, level: str, message: str) -> None:
        self.log(level, message)


class _Threads(threading.local):
    session: UdfSession | None = None


_threads = _Threads()


def use(limits: UdfLimits, log: Callable[[str, str], None]) -> UdfSession:
    """Set limits and log of the UDFs that this thread runs from now on.

    A process that has the same limits already is kept, with the modules it has loaded.
    """
    session = _threads.session
    if session is None or session.limits != limits:
        if session is not None:
            session.close()
        session = _threads.session = UdfSession(limits, log)
    session.log = log
    return session


def run_udf(code: str, runtime: str, data: Cube, context: Mapping[str, Any] | None = None) -> Cube:
    """Run a UDF on a cube.

    Parameters
    ----------
    code
        Python source with an entry point, see the module's description. It is loaded once per
        process, so a UDF can keep a model in a global variable.
    runtime
        Name of the runtime, for messages.
    data
        Cube with dims t, bands, y, x or a subset. Integers come as they are when no pixel is
        missing, as float32 (float64 above 16 bits) with NaN otherwise.
    context
        Handed to the UDF; a copy, so that it cannot change what the next window gets.

    Returns
    -------
    Cube
        What the UDF returned, dims in the order t, bands, others, y, x. Coordinates that it left
        out are those of the input where the length is the same; a grid of another shape without
        coordinates covers the same extent. Floats have NaN for missing, integers have no nodata.

    Raises
    ------
    OpenEOError
        UdfError: no entry point, an error in the UDF (with the line of its source), or a result
        that is no cube. UdfDependencyMissing. MemoryLimitExceeded, TimeLimitExceeded: see
        :func:`use`.
    """
    if _threads.session is None:
        _threads.session = UdfSession()
    session = _threads.session
    epsg = None if data.geobox is None or data.geobox.crs is None else data.geobox.crs.to_epsg()
    limit = session.limits.cpu_seconds
    call = Call(code, runtime, _to_plain(data), epsg, dict(context or {}), limit)
    return _from_plain(session.start().call(call), data)


def _to_plain(data: Cube) -> PlainArray:
    # No copy: the UDF, which may write into its input, gets one by being somewhere else.
    values = data.as_float().data if data.missing().any() else data.data
    coords: dict[str, Any] = {d: data.labels[d] for d in data.dims if d in data.labels}
    if data.geobox is not None:
        coords.update(_centres(data.geobox))
    return PlainArray(
        np.ascontiguousarray(values), data.dims, {d: c for d, c in coords.items() if d in data.dims}
    )


def _centres(geobox: GeoBox) -> dict[str, np.ndarray[Any, Any]]:
    affine, (rows, columns) = geobox.affine, geobox.shape
    return {
        "y": affine.f + (np.arange(rows) + 0.5) * affine.e,
        "x": affine.c + (np.arange(columns) + 0.5) * affine.a,
    }


def _from_plain(array: PlainArray, source: Cube) -> Cube:
    array = _renamed(array, source)
    unknown = [d for d in array.dims if d not in ("t", "bands", "y", "x", *source.dims)]
    if unknown:
        raise OpenEOError(
            "UdfError",
            f"The UDF returned {array.values.dtype} values with the dimensions "
            f"{', '.join(array.dims) or 'none'}; expected numbers with dimensions out "
            f"of {', '.join(source.dims)}.",
        )
    extra = [d for d in array.dims if d not in ("t", "bands", "y", "x")]
    order = [d for d in ("t", "bands", *extra, "y", "x") if d in array.dims]
    values = np.transpose(array.values, [array.dims.index(d) for d in order])
    array = PlainArray(values, tuple(order), array.coords)
    geobox = None
    if "y" in order and "x" in order and source.geobox is not None:
        array = _north_up(array)
        geobox = _grid(array, source.geobox)
    labels = {d: _labels(array, d, source) for d in order if d not in ("y", "x")}
    return Cube(np.ascontiguousarray(array.values), tuple(order), labels, geobox, None)


def _renamed(array: PlainArray, source: Cube) -> PlainArray:
    names = {d: _ALIASES.get(d, d) if d not in source.dims else d for d in array.dims}
    if len(set(names.values())) < len(names):
        return array  # both "t" and "time": refused with the names that the UDF gave
    coords = {names[d]: c for d, c in array.coords.items()}
    return PlainArray(array.values, tuple(names[d] for d in array.dims), coords)


def _size(array: PlainArray, dim: str) -> int:
    return int(array.values.shape[array.dims.index(dim)])


def _labels(array: PlainArray, dim: str, source: Cube) -> np.ndarray[Any, Any]:
    size = _size(array, dim)
    values = array.coords.get(dim)
    if values is not None:
        if dim == "t":
            return _datetimes(values)
        return values.astype(str) if dim == "bands" else values
    known = source.labels.get(dim)
    if known is not None and len(known) == size:
        return known
    if dim == "bands":
        return np.asarray([f"band_{i}" for i in range(size)])
    raise OpenEOError(
        "UdfError",
        f"The UDF returned {size} entries along {dim!r} without coordinates, the input has "
        f"{0 if known is None else len(known)}; return them with coordinates.",
    )


def _datetimes(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    try:
        return values.astype("datetime64[ns]")
    except ValueError as error:
        raise OpenEOError(
            "UdfError",
            f"The UDF returned the dates {values[:3].tolist()}…; return datetime64.",
        ) from error


def _north_up(array: PlainArray) -> PlainArray:
    rows = array.coords.get("y")
    if rows is None or rows.size < 2 or float(rows[0]) > float(rows[-1]):
        return array
    flipped = np.flip(array.values, array.dims.index("y"))
    return PlainArray(flipped, array.dims, {**array.coords, "y": rows[::-1]})


def _grid(array: PlainArray, source: GeoBox) -> GeoBox:
    """Return the pixel grid: from the coordinates, else the input's extent at the new shape."""
    shape = (_size(array, "y"), _size(array, "x"))
    affine = source.affine
    centres = _centres(source)
    steps, starts = [], []
    for dim, size, original in (("y", shape[0], affine.e), ("x", shape[1], affine.a)):
        values = array.coords.get(dim)
        if values is None:
            step = original * len(centres[dim]) / size
            starts.append(affine.f if dim == "y" else affine.c)
        else:
            step = (values[-1] - values[0]) / (size - 1) if size > 1 else original
            starts.append(values[0] - step / 2)
        steps.append(step)
    found = Affine(steps[1], 0, starts[1], 0, steps[0], starts[0])
    # Coordinates that came through unchanged give back the very grid, without float noise.
    tolerance = 1e-6 * abs(affine.a)
    if shape == tuple(source.shape) and found.almost_equals(affine, precision=tolerance):
        return source
    return GeoBox(shape, found, source.crs)
