"""From labelled field polygons to machine-learning-ready satellite patches.

The names most programs need; everything else lives in the submodules, which load on import.
"""

from importlib.metadata import version as _version

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
