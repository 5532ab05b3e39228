"""The process that user-defined functions run in.

Started as ``python -m openeo_gfmap.local.engine.udf_child``, it loads a UDF once, so that a UDF can
keep a model in a global variable, and ends with the process that has started it. Its limits guard
against accidents. They are no sandbox: the code has the rights of the user who runs the back-end.
"""

from __future__ import annotations

import hashlib
import inspect
import linecache
import logging
import os
import resource
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

import numpy as np
import xarray as xr
from openeo.udf.udf_data import UdfData
from openeo.udf.xarraydatacube import XarrayDataCube

from ..errors import OpenEOError
from .udf_messages import Call, Channel, Failure, Hello, PlainArray, Record
from .udf_source import check_needs

__all__ = ["main"]

_ENTRY_POINTS = ("apply_datacube", "apply_hypercube", "apply_udf_data")
# Log records of one call; a UDF that logs each pixel must not drown the job's log.
_MOST_RECORDS = 200
_MOST_FRAMES = 8


def main(socket: int, incoming: int, outgoing: int, life: int, memory: int) -> None:
    """Serve calls until the other side is gone.

    Parameters
    ----------
    socket, incoming, outgoing
        File descriptors of the channel that calls come by, as seen from here.
    life
        File descriptor of a pipe that is closed when the other side ends.
    memory
        Bytes this process may allocate; 0 for no limit.
    """
    threading.Thread(target=_end_with, args=(life,), daemon=True).start()
    if memory:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if hard == resource.RLIM_INFINITY or memory < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))
    channel = Channel(Connection(socket), outgoing, incoming)
    log = _Log(channel)
    logging.getLogger().addHandler(log)
    logging.getLogger().setLevel(logging.INFO)
    channel.send(Hello())
    while True:
        try:
            call: Call = channel.receive()
        except (EOFError, ConnectionResetError):
            return
        log.left = _MOST_RECORDS
        _limit_cpu(call.cpu_seconds)
        answer = _answer(call)
        _flush()
        with log.alone():
            channel.send(answer)


def _answer(call: Call) -> PlainArray | Failure:
    try:
        return _run(call)
    except OpenEOError as error:
        return Failure(error.code, error.message)
    except MemoryError:
        return Failure("MemoryLimitExceeded", "")  # the other side knows the limit


def _run(call: Call) -> PlainArray:
    module = _load(call.code)
    name, function = _entry_point(module, call.runtime)
    array = xr.DataArray(call.array.values, dims=call.array.dims, coords=dict(call.array.coords))
    try:
        result = _call(name, function, array, call)
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # any error of the user's code is the user's to see
        raise _failure(error, module.__file__ or "", name) from error
    return _plain(_unwrap(result, name))


@lru_cache(maxsize=32)
def _load(code: str) -> ModuleType:
    """Execute the source as a module of its own."""
    check_needs(code)
    digest = hashlib.sha256(code.encode()).hexdigest()[:12]
    module = ModuleType(f"openeo_udf_{digest}")
    file = f"<udf {digest}>"
    module.__file__ = file
    # Dataclasses and pickle look a class's module up; tracebacks and inspect its source.
    sys.modules[module.__name__] = module
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    try:
        exec(compile(code, file, "exec"), module.__dict__)  # noqa: S102  (what a UDF is)
    except MemoryError:
        del sys.modules[module.__name__]
        raise
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


def _call(name: str, function: Callable[..., Any], array: xr.DataArray, call: Call) -> Any:
    context = dict(call.context)
    if name == "apply_udf_data":
        udf_data = UdfData(
            proj={} if call.epsg is None else {"EPSG": call.epsg},
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


def _plain(array: xr.DataArray) -> PlainArray:
    dims = tuple(map(str, array.dims))
    if array.dtype.kind not in "biuf":
        raise OpenEOError(
            "UdfError",
            f"The UDF returned {array.dtype} values with the dimensions "
            f"{', '.join(dims) or 'none'}; expected numbers.",
        )
    coords = {
        str(dim): np.asarray(array.coords[dim].values)
        for dim in array.dims
        if dim in array.coords and array.coords[dim].ndim == 1
    }
    return PlainArray(np.ascontiguousarray(array.values), dims, coords)


def _failure(error: BaseException, file: str, name: str) -> OpenEOError:
    """Make an error that shows the user's own lines, and nothing of what is around them."""
    if isinstance(error, SyntaxError) and error.filename == file:
        line, text = error.lineno, error.text or ""
        way: list[traceback.FrameSummary] = []
    else:
        way = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        line, text = (way[-1].lineno, way[-1].line or "") if way else (None, "")
    detail = error.msg if isinstance(error, SyntaxError) else str(error)
    where = f"line {line}" if line else name
    source = f" in `{text.strip()}`" if text.strip() else ""
    called = "".join(
        f"\n  called from line {f.lineno} in {f.name}: {(f.line or '').strip()}"
        for f in reversed(way[-_MOST_FRAMES:-1])
    )
    return OpenEOError(
        "UdfError", f"The UDF failed at {where}{source}: {type(error).__name__}: {detail}{called}"
    )


class _Log(logging.Handler):
    """Python log records of a UDF go to the job's log."""

    def __init__(self, channel: Channel):
        super().__init__(logging.INFO)
        self._channel = channel
        self.left = 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep threads that a UDF has left behind from writing into another message."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def emit(self, record: logging.LogRecord) -> None:
        self.left -= 1
        if self.left < -1:
            return
        names = ((logging.ERROR, "error"), (logging.WARNING, "warning"))
        level = next((name for least, name in names if record.levelno >= least), "info")
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            self.handleError(record)
            return
        if self.left < 0:
            level = "warning"
            message = f"The UDF logged more than {_MOST_RECORDS} records; the rest is left out."
        self._channel.send(Record(level, message))


def _flush() -> None:
    """Let what a UDF prints show in its order, and not only when the process ends."""
    sys.stdout.flush()
    sys.stderr.flush()


def _limit_cpu(seconds: float) -> None:
    """Let this call use so much CPU time more; the system ends a process that goes beyond."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _end_with(life: int) -> None:
    """End this process when the other side is gone, also in the middle of a UDF."""
    os.read(life, 1)
    os._exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
