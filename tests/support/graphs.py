"""Short ways to write process graphs, and to run them on the collection without files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import shapely
import xarray as xr

from openeo_gfmap.local.engine import execute
from openeo_gfmap.local.engine.plan import Env
from openeo_gfmap.local.engine.result import JobResult
from support.fake_source import FakeCatalog, FakeCollection, FakeReader

MONTH = ["2022-01-01", "2022-02-01"]


class Graph:
    """Collects nodes: each call of a process gives the reference to its node."""

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}

    def __getattr__(self, process: str) -> Callable[..., dict[str, str]]:
        def add(**arguments: Any) -> dict[str, str]:
            id = f"{process}{len(self.nodes)}"
            self.nodes[id] = {"process_id": process, "arguments": arguments}
            return {"from_node": id}

        return add

    def result(self, ref: dict[str, str]) -> dict[str, Any]:
        """Return the graph with a result."""
        self.nodes[ref["from_node"]]["result"] = True
        return self.nodes


def callback(process: str, /, **arguments: Any) -> dict[str, Any]:
    """Return a callback of one process."""
    node = {"process_id": process, "arguments": arguments, "result": True}
    return {"process_graph": {process: node}}


def on_data(process: str, /, **arguments: Any) -> dict[str, Any]:
    """Return a callback of one process on its parameter data."""
    return callback(process, data={"from_parameter": "data"}, **arguments)


def on_x(process: str, /, **arguments: Any) -> dict[str, Any]:
    """Return a callback of one process on its parameter x."""
    return callback(process, x={"from_parameter": "x"}, **arguments)


def box_geojson(*boxes: tuple[float, float, float, float]) -> dict[str, Any]:
    """Return a FeatureCollection of UTM 31N rectangles."""
    features = [
        {"type": "Feature", "properties": {"id": f"f{i}"}, "geometry": geojson(shapely.box(*b))}
        for i, b in enumerate(boxes)
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32631"}}
    return {"type": "FeatureCollection", "features": features, "crs": crs}


def geojson(shape: Any) -> dict[str, Any]:
    """Return a GeoJSON geometry."""
    return dict(shapely.geometry.mapping(shape))


def utm_box(west: float, south: float, width: float, height: float) -> dict[str, Any]:
    """Return an openEO bounding box in UTM 31N."""
    return {
        "west": west, "south": south, "east": west + width, "north": south + height,
        "crs": "EPSG:32631",
    }  # fmt: skip


def load(
    g: Graph, bands: Sequence[str], extent: Any = None, dates: Any = None, **more: Any
) -> dict[str, str]:
    """Add a load_collection."""
    return g.load_collection(
        id="SENTINEL2_L2A",
        spatial_extent=extent,
        temporal_extent=dates or MONTH,
        bands=list(bands),
        **more,
    )


def run(
    graph: dict[str, Any],
    folder: Path,
    *,
    collection: FakeCollection | None = None,
    reader: FakeReader | None = None,
    **settings: Any,
) -> JobResult:
    """Execute a graph on the collection without files."""
    source = collection or FakeCollection()
    env = Env(
        FakeCatalog(source),
        fetch=settings.pop("fetch", Path),
        open_reader=settings.pop("open_reader", lambda: reader or FakeReader(source)),
        **settings,
    )
    return execute(graph, env=env, out_dir=folder)


def dataset(path: Path) -> xr.Dataset:
    """Read a result file as it is stored, without masks."""
    with xr.open_dataset(path, mask_and_scale=False) as file:
        return file.load()
