"""Running user-defined functions: Python code of the user's, on the pixels of one window.

A UDF is a module with one of these entry points::

    apply_datacube(cube: openeo.udf.XarrayDataCube, context: dict) -> XarrayDataCube
    apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray
    apply_udf_data(udf_data: openeo.udf.UdfData) -> UdfData

It sees the cube's dimensions in the order t, bands, y, x, with cell centres, datetimes and band
names as coordinates, and may change the values, their type, the bands and the dates. It must keep
the pixels: a result on others is refused where the window is put together. Its code runs with the
rights of this process; it is the user's own machine.
"""

from __future__ import annotations

import hashlib
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from ..errors import OpenEOError
from .cube import Cube

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["run_udf"]

_ENTRY_POINTS = ("apply_datacube", "apply_hypercube", "apply_udf_data")

# Names that UDFs in the wild give to the dimensions of what they return.
_ALIASES = {"time": "t", "band": "bands", "lat": "y", "latitude": "y", "lon": "x", "longitude": "x"}


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
        that is no cube.
    """
    module = _load(code)
    name, function = _entry_point(module, runtime)
    array = _to_xarray(data)
    try:
        result = _call(name, function, array, data, dict(context or {}))
    except MemoryError:
        raise  # the job's memory limit has a message of its own
    except (Exception, SystemExit) as error:  # any error of the user's code is the user's to see
        raise _failure(error, module.__file__ or "", name) from error
    return _from_xarray(_unwrap(result, name), data)


@lru_cache(maxsize=32)
def _load(code: str) -> ModuleType:
    """Execute the source as a module of its own."""
    digest = hashlib.sha256(code.encode()).hexdigest()[:12]
    module = ModuleType(f"openeo_udf_{digest}")
    file = f"<udf {digest}>"
    module.__file__ = file
    # Dataclasses and pickle look a class's module up; tracebacks and inspect its source.
    sys.modules[module.__name__] = module
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    try:
        exec(compile(code, file, "exec"), module.__dict__)  # noqa: S102  (what a UDF is)
    except (Exception, SystemExit) as error:  # any error of the user's code is the user's to see
        del sys.modules[module.__name__]
        raise _failure(error, file, "the import of the UDF") from error
    return module


def _entry_point(module: ModuleType, runtime: str) -> tuple[str, Callable[..., Any]]:
    for name in _ENTRY_POINTS:
        function = getattr(module, name, None)
        if callable(function):
            return name, function
    defined = [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    raise OpenEOError(
        "UdfError",
        f"The {runtime} UDF has no apply_datacube(cube, context) or apply_udf_data(udf_data); it "
        f"defines {', '.join(defined) or 'no function'}.",
    )


def _call(
    name: str,
    function: Callable[..., Any],
    array: xr.DataArray,
    data: Cube,
    context: dict[str, Any],
) -> Any:
    from openeo.udf.udf_data import UdfData  # noqa: PLC0415  (imports all of xarray)
    from openeo.udf.xarraydatacube import XarrayDataCube  # noqa: PLC0415

    if name == "apply_udf_data":
        crs = None if data.geobox is None else data.geobox.crs
        udf_data = UdfData(
            proj={} if crs is None else {"EPSG": crs.to_epsg()},
            datacube_list=[XarrayDataCube(array)],
            user_context=context,
        )
        result = function(udf_data)
        return udf_data if result is None else result
    parameters = list(inspect.signature(function).parameters.values())
    # The annotation may be text (`from __future__ import annotations`), so its name decides.
    wants_array = bool(parameters) and "DataArray" in str(parameters[0].annotation)
    cube = array if wants_array else XarrayDataCube(array)
    return function(cube, context) if len(parameters) > 1 else function(cube)


def _unwrap(result: Any, name: str) -> xr.DataArray:
    """Return the one array in whatever a UDF returned."""
    import xarray as xr  # noqa: PLC0415  (slow to import, and only UDFs need it)
    from openeo.udf.udf_data import UdfData  # noqa: PLC0415
    from openeo.udf.xarraydatacube import XarrayDataCube  # noqa: PLC0415

    if isinstance(result, UdfData):
        cubes = result.get_datacube_list() or []
        result = cubes[0] if len(cubes) == 1 else cubes
    if isinstance(result, XarrayDataCube):
        result = result.get_array()
    if isinstance(result, xr.DataArray):
        return result
    raise OpenEOError(
        "UdfError",
        f"{name} of the UDF returned {type(result).__name__}; return one XarrayDataCube.",
    )


def _failure(error: BaseException, file: str, name: str) -> OpenEOError:
    """Make an error that shows the user's own line, and nothing of what is around it."""
    if isinstance(error, SyntaxError) and error.filename == file:
        line, text = error.lineno, error.text or ""
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        line, text = (frames[-1].lineno, frames[-1].line or "") if frames else (None, "")
    detail = error.msg if isinstance(error, SyntaxError) else str(error)
    where = f"line {line}" if line else name
    source = f" in `{text.strip()}`" if text.strip() else ""
    return OpenEOError(
        "UdfError", f"The UDF failed at {where}{source}: {type(error).__name__}: {detail}"
    )


def _to_xarray(data: Cube) -> xr.DataArray:
    import xarray as xr  # noqa: PLC0415  (slow to import, and only UDFs need it)

    # A copy: a UDF may write into its input, which other processes still read.
    values = data.as_float().data if data.missing().any() else data.data
    values = values.copy() if values is data.data else values
    coords: dict[str, Any] = {d: data.labels[d] for d in data.dims if d in data.labels}
    if data.geobox is not None:
        coords.update(_centres(data.geobox))
    return xr.DataArray(
        values, dims=data.dims, coords={d: c for d, c in coords.items() if d in data.dims}
    )


def _centres(geobox: GeoBox) -> dict[str, np.ndarray[Any, Any]]:
    affine, (rows, columns) = geobox.affine, geobox.shape
    return {
        "y": affine.f + (np.arange(rows) + 0.5) * affine.e,
        "x": affine.c + (np.arange(columns) + 0.5) * affine.a,
    }


def _from_xarray(array: xr.DataArray, source: Cube) -> Cube:
    renamed = {d: _ALIASES[d] for d in array.dims if d not in source.dims and d in _ALIASES}
    array = array.rename(renamed) if renamed else array
    extra = [str(d) for d in array.dims if d not in ("t", "bands", "y", "x")]
    unknown = [d for d in extra if d not in source.dims]
    if unknown or array.dtype.kind not in "biuf":
        raise OpenEOError(
            "UdfError",
            f"The UDF returned {array.dtype} values with the dimensions "
            f"{', '.join(map(str, array.dims)) or 'none'}; expected numbers with dimensions out "
            f"of {', '.join(source.dims)}.",
        )
    order = [d for d in ("t", "bands", *extra, "y", "x") if d in array.dims]
    array = array.transpose(*order)
    geobox = None
    if "y" in array.dims and "x" in array.dims and source.geobox is not None:
        array = _north_up(array)
        geobox = _grid(array, source.geobox)
    labels = {d: _labels(array, d, source) for d in order if d not in ("y", "x")}
    return Cube(np.ascontiguousarray(array.values), tuple(order), labels, geobox, None)


def _labels(array: xr.DataArray, dim: str, source: Cube) -> np.ndarray[Any, Any]:
    size = array.sizes[dim]
    if dim in array.coords and array.coords[dim].ndim == 1:
        values: np.ndarray[Any, Any] = array.coords[dim].values
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


def _north_up(array: xr.DataArray) -> xr.DataArray:
    rows = array.coords.get("y")
    if rows is not None and rows.size > 1 and float(rows[0]) < float(rows[-1]):
        return array.isel(y=slice(None, None, -1))
    return array


def _grid(array: xr.DataArray, source: GeoBox) -> GeoBox:
    """Return the pixel grid: from the coordinates, else the input's extent at the new shape."""
    shape = (array.sizes["y"], array.sizes["x"])
    affine = source.affine
    centres = _centres(source)
    steps, starts = [], []
    for dim, size, original in (("y", shape[0], affine.e), ("x", shape[1], affine.a)):
        values = array.coords[dim].values if dim in array.coords else None
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
