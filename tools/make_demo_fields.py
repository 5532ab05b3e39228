"""Make ``examples/data/demo_fields.gpkg``: labelled fields of the simulated landscape.

The simulated archive invents its ground, fields included. This tool reads the fields off that
ground at a few places, with the crop each bears in the demo's year, so that the label rasters of
a demo run match its pictures::

    python tools/make_demo_fields.py

Nothing in the file was observed anywhere.
"""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from pyproj import Transformer
from rasterio.features import shapes
from rasterio.transform import from_origin
from shapely import STRtree
from shapely.geometry import box, shape

from openeo_gfmap.local.archive.landscape import Kind, ground, world_plane
from openeo_gfmap.local.archive.phenology import CROPS, crop_numbers
from openeo_gfmap.tiling import utm_epsg

TARGET = Path(__file__).parents[1] / "examples" / "data" / "demo_fields.gpkg"
YEAR = 2021
# Places in different H3 cells of resolution 4, so that each becomes a job.
SITES = {
    "flanders": (3.72, 50.93),
    "beauce": (1.62, 48.21),
    "po": (10.71, 45.07),
    "mazovia": (20.42, 52.31),
}
PATCHES = 4  # fields with a patch of their own, per site
SIDE = 2600  # m, the square that is searched at each site
STEP = 5  # m, the ground's own sampling
PATCH = 640  # m


def fields_at(site: str, lon: float, lat: float) -> gpd.GeoDataFrame:
    """Return the fields of one site: some to extract, and all that touch their patches."""
    epsg = int(utm_epsg(lon, lat).item())
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    left, top = round(x / 60) * 60 - SIDE / 2, round(y / 60) * 60 + SIDE / 2
    steps = (np.arange(SIDE // STEP) + 0.5) * STEP
    key, kind, _ = ground(*world_plane(epsg, *np.meshgrid(left + steps, top - steps)))
    keys, index = np.unique(key, return_inverse=True)
    crops = np.array(list(CROPS))[crop_numbers(keys, YEAR)]
    outlines = shapes(
        np.where(kind == Kind.FIELD, index, -1).astype("int32").reshape(key.shape),
        mask=(kind == Kind.FIELD).reshape(key.shape),
        transform=from_origin(left, top, STEP, STEP),
    )
    found = [(shape(outline).simplify(STEP * 1.5).buffer(-STEP), int(n)) for outline, n in outlines]
    frame = gpd.GeoDataFrame(
        {"croptype_name": [crops[n] for _, n in found]}, geometry=[g for g, _ in found], crs=epsg
    )
    frame = frame[(frame.geom_type == "Polygon") & (frame.area > 4000)].reset_index(drop=True)
    return _chosen(frame, site, (left, top - SIDE, left + SIDE, top))


def _chosen(frame: gpd.GeoDataFrame, site: str, bounds: tuple[float, ...]) -> gpd.GeoDataFrame:
    """Mark the largest fields of different crops, and keep what touches their patches."""
    inside = box(*bounds).buffer(-PATCH / 2)
    middles = frame.geometry.centroid
    candidates = frame[middles.within(inside)].assign(area=frame.area)
    largest = candidates.sort_values("area", ascending=False).groupby("croptype_name").head(1)
    picked = largest.sort_values("area", ascending=False).index[:PATCHES]
    windows = middles[picked].buffer(PATCH / 2, cap_style="square")
    touching = np.unique(STRtree(frame.geometry).query(windows.values, predicate="intersects")[1])
    kept = frame.loc[touching].copy()
    kept["extract"] = kept.index.isin(picked)
    kept["sample_id"] = [f"{site}_{number:03d}" for number in range(len(kept))]
    return kept.to_crs(4326)


def main() -> None:
    """Write the file and say what is in it."""
    frame = pd.concat([fields_at(site, *place) for site, place in SITES.items()])
    codes = {name: 10 * (number + 1) for number, name in enumerate(CROPS)}
    frame["croptype_label"] = frame.croptype_name.map(codes)
    frame["valid_date"] = f"{YEAR}-06-01"
    frame["ref_id"] = f"{YEAR}_SIMULATED_DEMO"
    columns = ["sample_id", "ref_id", "croptype_label", "croptype_name", "extract", "valid_date"]
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.unlink(missing_ok=True)
    frame[[*columns, "geometry"]].to_file(TARGET)
    print(f"{TARGET.name}: {len(frame)} fields, {frame.extract.sum()} to extract")
    print(frame.groupby(frame.sample_id.str.split("_").str[0]).extract.agg(["size", "sum"]))


if __name__ == "__main__":
    main()
