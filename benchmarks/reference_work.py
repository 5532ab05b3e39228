"""The reference work of the extraction benchmarks: files, patches, and the process graph.

A cut of 2,048 x 2,048 px of one tile, 60 dates, 13 bands, one COG each at the band's native
resolution (deflate, predictor 2, blocks of 512 px), with STAC items; all made by the simulated
archive, so that every machine has the same pixels. 1.5 GB on disk, made once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
from affine import Affine

from openeo_gfmap.local.archive.grid import CELL_SIZE, Cell, cells_within
from openeo_gfmap.local.archive.orbits import Acquisition, acquisitions_of
from openeo_gfmap.local.archive.scene import LAYOUT, render
from openeo_gfmap.local.archive.simulated import _scenes
from openeo_gfmap.tiling import tile_info

TILE = "31UFS"
EPSG = 32631
# A corner of the archive's cells in the middle of the tile, on the grids of 10, 20 and 60 m.
WEST, NORTH = 440 * CELL_SIZE, 3920 * CELL_SIZE
SIDE = 20_480  # metres: 2,048 px of 10 m
BLOCK = 512
DATES = 60
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12", "SCL")
RESOLUTION = {band: r for r, names in LAYOUT.items() for band in names if band in BANDS}
SPAN = ("2023-01-01", "2023-06-20")
PATCH = 64  # px
_DONE = "items.json"
_CHUNK = 15  # dates rendered together: 0.75 GB of pixels


def prepare(folder: Path) -> Path:
    """Make the files where they are missing; the folder of the STAC items and COGs."""
    place = folder / f"extraction-{SIDE // 10}px-{DATES}d"
    if (place / _DONE).exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    passes = _passes()
    print(f"Making {DATES} dates x {len(BANDS)} COGs in {place}, once; some minutes.", flush=True)
    chunks = [passes[start : start + _CHUNK] for start in range(0, DATES, _CHUNK)]
    with ProcessPoolExecutor(2) as pool:
        items = [item for made in pool.map(partial(_make, place), chunks) for item in made]
    collection = {"type": "FeatureCollection", "features": items}
    (place / _DONE).write_text(json.dumps(collection))
    return place


def _passes() -> list[Acquisition]:
    start, end = (date.fromisoformat(day) for day in SPAN)
    first = next(iter(_cells()))
    keys = {(s.acquisition.turn, s.acquisition.orbit) for s in _scenes(TILE, start, end)}
    found = acquisitions_of(sorted(keys), *first.centre)
    by_day = {each.time.date(): each for each in found}
    if len(by_day) < DATES:
        raise SystemExit(f"Only {len(by_day)} dates in {SPAN}; {DATES} are needed.")
    return [by_day[day] for day in sorted(by_day)[:DATES]]


def _cells() -> list[Cell]:
    return list(cells_within(EPSG, (WEST, NORTH - SIDE, WEST + SIDE, NORTH)))


def _make(place: Path, passes: Sequence[Acquisition]) -> list[dict[str, Any]]:
    """Render the cut for some passes and write their files."""
    sides = {r: -(-SIDE // r) for r in LAYOUT}
    pictures = {
        r: np.zeros((len(passes), len(names), sides[r], sides[r]), "uint16")
        for r, names in LAYOUT.items()
    }
    for cell in _cells():
        west, _, _, north = cell.bounds
        for number, picture in enumerate(render(cell, passes)):
            for r, pixels in picture.bands.items():
                top, left = (NORTH - north) // r, (west - WEST) // r
                target = pictures[r][number, :, top : top + 1440 // r, left : left + 1440 // r]
                target[...] = pixels[:, : target.shape[1], : target.shape[2]]
    return [
        _write(place, each, {r: pictures[r][number] for r in LAYOUT})
        for number, each in enumerate(passes)
    ]


def _write(place: Path, each: Acquisition, pixels: dict[int, np.ndarray]) -> dict[str, Any]:
    name = f"SIMULATED_{each.time:%Y%m%dT%H%M%S}_T{TILE}"
    assets: dict[str, Any] = {}
    for band, r in RESOLUTION.items():
        plane = pixels[r][LAYOUT[r].index(band)]
        if band == "SCL":
            plane = plane.astype("uint8")
        transform = Affine(r, 0, WEST, 0, -r, NORTH)
        with rasterio.open(
            place / f"{name}_{band}.tif", "w", driver="COG", count=1, width=plane.shape[1],
            height=plane.shape[0], dtype=plane.dtype.name, crs=f"EPSG:{EPSG}", nodata=0,
            transform=transform, compress="DEFLATE", predictor="YES", blocksize=BLOCK,
        ) as file:  # fmt: skip
            file.write(plane, 1)
        assets[band] = {
            "href": f"./{name}_{band}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "gsd": r,
            "proj:shape": list(plane.shape),
            "proj:transform": list(transform)[:6],
            "raster:bands": [{"data_type": plane.dtype.name, "nodata": 0}],
            "eo:bands": [{"name": band}],
        }
    lon = tile_info(TILE)
    box = rasterio.warp.transform_bounds(EPSG, 4326, WEST, NORTH - SIDE, WEST + SIDE, NORTH)
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": name,
        "collection": "sentinel-2-l2a",
        "bbox": list(box),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": f"{each.time:%Y-%m-%dT%H:%M:%SZ}",
            "proj:epsg": EPSG,
            "s2:mgrs_tile": lon.id,
            "s2:processing_baseline": "05.09",
        },
        "links": [],
        "assets": assets,
    }


def patches(kind: str, count: int = 60) -> list[tuple[float, float, float, float]]:
    """Boxes of 64 x 64 px on the 10 m grid: ``dense`` all over the cut, or 6 ``sparse`` ones."""
    random = np.random.default_rng(4)
    last = SIDE // 10 - PATCH
    if kind == "sparse":
        # One in each of 2 x 3 fields, none of which shares a block with another.
        corners = [
            (row * 1024 + int(random.integers(0, 448)), column * 768 + int(random.integers(0, 64)))
            for row in range(2)
            for column in range(3)
        ]
    else:
        corners = [tuple(map(int, random.integers(0, last + 1, 2))) for _ in range(count)]
    boxes = []
    for row, column in corners:
        west, north = WEST + 10 * column, NORTH - 10 * row
        boxes.append((west, north - 10 * PATCH, west + 10 * PATCH, north))
    return boxes


def process_graph(boxes: Sequence[tuple[float, float, float, float]]) -> dict[str, Any]:
    """Load 13 bands, one NetCDF file per patch."""
    features = [
        {
            "type": "Feature",
            "properties": {"id": index},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[w, s], [e, s], [e, n], [w, n], [w, s]]],
            },
        }
        for index, (w, s, e, n) in enumerate(boxes)
    ]
    crs = {"type": "name", "properties": {"name": f"EPSG:{EPSG}"}}
    geometries = {"type": "FeatureCollection", "features": features, "crs": crs}
    return {
        "load": {
            "process_id": "load_collection",
            "arguments": {
                "id": "SENTINEL2_L2A",
                "spatial_extent": None,
                "temporal_extent": ["2023-01-01", "2023-07-01"],
                "bands": list(BANDS),
            },
        },
        "patches": {
            "process_id": "filter_spatial",
            "arguments": {"data": {"from_node": "load"}, "geometries": geometries},
        },
        "save": {
            "process_id": "save_result",
            "arguments": {
                "data": {"from_node": "patches"},
                "format": "NetCDF",
                "options": {"sample_by_feature": True},
            },
            "result": True,
        },
    }
