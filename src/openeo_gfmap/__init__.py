"""From labelled field polygons to machine-learning-ready satellite patches.

The names most programs need; everything else lives in the submodules. All of them load when they
are first asked for: the command line has something to say before the openEO client is there.
"""

import typing as _typing
from importlib import import_module as _import_module
from importlib.metadata import version as _version

if _typing.TYPE_CHECKING:
    from openeo_gfmap.backend import Backend, BackendContext
    from openeo_gfmap.fetching import FetchType
    from openeo_gfmap.metadata import FakeMetadata
    from openeo_gfmap.spatial import BoundingBoxExtent, SpatialContext
    from openeo_gfmap.temporal import TemporalContext

__version__ = _version("openeo_gfmap")

__all__ = [
    "Backend",
    "BackendContext",
    "BoundingBoxExtent",
    "FakeMetadata",
    "FetchType",
    "SpatialContext",
    "TemporalContext",
    "__version__",
]

_HOMES = {
    "Backend": "backend",
    "BackendContext": "backend",
    "BoundingBoxExtent": "spatial",
    "FakeMetadata": "metadata",
    "FetchType": "fetching",
    "SpatialContext": "spatial",
    "TemporalContext": "temporal",
}


def __getattr__(name: str) -> object:
    try:
        home = _import_module(f"{__name__}.{_HOMES[name]}")
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
