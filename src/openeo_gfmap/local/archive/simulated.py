"""The simulated archive as a source of STAC items: makes scenes on demand and keeps them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import cache, lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyproj

from ...tiling import TileInfo, tile_info, tiles_at
from .clouds import cloud_share
from .cog import encode_cog, write_atomically, write_once
from .grid import Cell, cells_within
from .items import Scene, asset_file, catalog, collection, item, item_id
from .landscape import world_plane
from .orbits import acquisitions, acquisitions_of, covering_orbits, swath_margin
from .scene import LAYOUT, Picture, render

__all__ = ["SimulatedArchive"]

_log = logging.getLogger(__name__)

Area = tuple[float, float, float, float]

_MEGABYTES = 0.12  # size of a scene part on disk
_SURVEY = 12  # points along each side of a tile at which its clouds are counted


class SimulatedArchive:
    """A Sentinel-2 L2A archive whose pixels are invented, for any place and date.

    Scenes are made when a search first touches them, and only in the 1,440 m cells touched:
    per tile, acquisition and cell one STAC item with three GeoTIFFs (10, 20 and 60 m bands).
    The folder is a static STAC collection of all that was made so far.

    Every value is a function of place and pass alone. So several processes may share a folder
    without locks: they write the same bytes, each file appears at once as a whole, and an item
    appears after its files.

    Parameters
    ----------
    folder
        Where scenes are kept; made when missing.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder).resolve()

    def search(self, areas: Sequence[Area], start: date, end: date) -> list[dict[str, Any]]:
        """Items of the scene-cells that touch any of the areas, made now where missing.

        Parameters
        ----------
        areas
            Boxes (west, south, east, north) in WGS 84 degrees. West greater than east means a
            box across the antimeridian.
        start, end
            UTC days; start is included, end is not.

        Returns
        -------
        STAC items with absolute hrefs, sorted by datetime and id.

        Raises
        ------
        ValueError
            An area that is not a box of degrees.
        """
        wanted = {
            cell: [scene for tile in sorted(tiles) for scene in _scenes_of(tile, cell, start, end)]
            for cell, tiles in sorted(_cells(areas).items())
        }
        missing = {cell: self._missing(cell, scenes) for cell, scenes in wanted.items()}
        self._make({cell: scenes for cell, scenes in missing.items() if scenes})
        found = [
            self._absolute(item(scene, cell), scene, cell)
            for cell, scenes in wanted.items()
            for scene in scenes
        ]
        return sorted(found, key=lambda each: (each["properties"]["datetime"], each["id"]))

    def _place(self, tile_id: str, cell: Cell) -> Path:
        return self.folder / tile_id / cell.name

    def _missing(self, cell: Cell, scenes: list[Scene]) -> list[Scene]:
        """Pick the scenes whose item is not in the folder yet."""
        present: set[tuple[str, str]] = set()
        for tile_id in {scene.tile.id for scene in scenes}:
            place = self._place(tile_id, cell)
            if place.is_dir():
                present |= {(tile_id, path.name) for path in place.iterdir()}
        return [
            scene
            for scene in scenes
            if (scene.tile.id, f"{item_id(scene, cell)}.json") not in present
        ]

    def _make(self, missing: dict[Cell, list[Scene]]) -> None:
        """Render the cells for the scenes they miss, and list them in the catalogs."""
        if not missing:
            return
        count = sum(len(scenes) for scenes in missing.values())
        _log.info(
            "Simulated Sentinel-2 archive: making %d scene parts in %d cells, about %.0f MB. "
            "The pixels are invented, not observed.",
            count, len(missing), count * _MEGABYTES,
        )  # fmt: skip
        began = perf_counter()
        for cell, scenes in missing.items():
            # A pass is rendered once for all tiles that show the cell.
            by_pass: dict[tuple[int, int], list[Scene]] = {}
            for scene in scenes:
                seen = scene.acquisition
                by_pass.setdefault((seen.turn, seen.orbit), []).append(scene)
                self._place(scene.tile.id, cell).mkdir(parents=True, exist_ok=True)
            passes = acquisitions_of(sorted(by_pass), *cell.centre)
            for picture in render(cell, passes):
                seen = picture.acquisition
                self._write(cell, by_pass[seen.turn, seen.orbit], picture)
        self._link(
            {self._place(scene.tile.id, cell) for cell, each in missing.items() for scene in each}
        )
        _log.info(
            "Simulated Sentinel-2 archive: made %d scene parts in %.1f s.",
            count, perf_counter() - began,
        )  # fmt: skip

    def _write(self, cell: Cell, scenes: list[Scene], picture: Picture) -> None:
        """Write one pass for each tile; tiles that hold the whole cell share the encoding."""
        encoded: dict[bytes, dict[int, bytes]] = {}
        for scene in scenes:
            inside = _inside(cell, scene.tile)
            files = encoded.setdefault(inside.tobytes(), {})
            place = self._place(scene.tile.id, cell)
            for resolution in LAYOUT:
                if resolution not in files:
                    files[resolution] = _encode(cell, picture, inside, resolution)
                write_once(place / asset_file(scene, cell, resolution), files[resolution])
            # The item comes last: where it is, its files are.
            write_once(place / f"{item_id(scene, cell)}.json", _dump(item(scene, cell)))

    def _absolute(self, document: dict[str, Any], scene: Scene, cell: Cell) -> dict[str, Any]:
        """Turn an item's relative hrefs into paths."""
        place = self._place(scene.tile.id, cell)
        for each in (*document["links"], *document["assets"].values()):
            each["href"] = os.path.normpath(place / each["href"])
        return document

    def _link(self, touched: set[Path]) -> None:
        """Bring the catalogs of the touched cell folders, and the collection, up to date."""
        for place in sorted(touched):
            _publish(place / "catalog.json", partial(_items_in, place), partial(catalog, place))
        if touched:
            root = self.folder
            _publish(root / "collection.json", partial(_cells_in, root), collection)


def _encode(
    cell: Cell, picture: Picture, inside: np.ndarray[Any, np.dtype[np.bool_]], resolution: int
) -> bytes:
    """Encode the bands of one resolution, nodata outside of the tile."""
    bands = picture.bands[resolution]
    if not inside.all():
        factor = 60 // resolution
        bands = bands * inside.repeat(factor, axis=0).repeat(factor, axis=1)
    west, _, _, north = cell.bounds
    return encode_cog(
        bands, LAYOUT[resolution], epsg=cell.epsg, west=west, north=north, resolution=resolution,
        description="Simulated Sentinel-2 L2A. These pixels are invented, not observed.",
    )  # fmt: skip


def _items_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.glob("SIMULATED_*.json"))


def _cells_in(root: Path) -> list[str]:
    return sorted(
        path.parent.relative_to(root).as_posix() for path in root.glob("*/*/catalog.json")
    )


def _publish(
    path: Path,
    scan: Callable[[], list[str]],
    build: Callable[[list[str]], dict[str, Any]],
) -> None:
    """Write a document that lists a folder, until it lists what is there.

    Another process may add to the folder at any time. Whoever writes last has looked again
    afterwards, so the document ends complete without a lock.
    """
    listed = None
    while (present := scan()) != listed:
        write_atomically(path, _dump(build(present)))
        listed = present


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _cells(areas: Sequence[Area]) -> dict[Cell, set[str]]:
    """Cells that the areas touch, each with the tiles that show it."""
    cells: dict[Cell, set[str]] = {}
    for area in areas:
        for west, south, east, north in _boxes(area):
            # A tile that touches a box holds one of these points: tiles are 0.99 degrees high.
            lon, lat = np.meshgrid(_steps(west, east), _steps(south, north))
            for tile_id in sorted({each for ids in tiles_at(lon, lat) for each in ids}):
                tile = tile_info(tile_id)
                box = _from_lonlat(tile.epsg).transform_bounds(west, south, east, north)
                inner = (
                    *np.maximum(box[:2], tile.bounds[:2]),
                    *np.minimum(box[2:], tile.bounds[2:]),
                )
                for cell in cells_within(tile.epsg, inner):
                    cells.setdefault(cell, set()).add(tile_id)
    return cells


def _boxes(area: Area) -> Iterator[Area]:
    """Check an area, and cut it at the antimeridian."""
    west, south, east, north = area
    longitudes_fit = -180 <= west <= 180 and -180 <= east <= 180
    if not (longitudes_fit and -90 <= south <= north <= 90):
        raise ValueError(
            f"The area {area} is not a box of degrees (west, south, east, north). Give longitudes "
            "in [-180, 180] and latitudes in [-90, 90], south first."
        )
    if west <= east:
        yield area
    else:
        yield west, south, 180.0, north
        yield -180.0, south, east, north


def _steps(low: float, high: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.linspace(low, high, 2 + int((high - low) / 0.4))


@cache
def _from_lonlat(epsg: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(4326, epsg, always_xy=True)


def _scenes_of(tile_id: str, cell: Cell, start: date, end: date) -> list[Scene]:
    """Scenes of a tile whose swath reaches a cell."""
    scenes = _scenes(tile_id, start, end)
    orbits = sorted({scene.acquisition.orbit for scene in scenes})
    lon, lat = cell.corners
    margin = swath_margin(lon.reshape(-1, 1), lat.reshape(-1, 1), np.array(orbits, dtype=int))
    reaching = {orbit for orbit, each in zip(orbits, margin.T, strict=True) if each.max() > 0}
    return [scene for scene in scenes if scene.acquisition.orbit in reaching]


@lru_cache(maxsize=256)
def _scenes(tile_id: str, start: date, end: date) -> tuple[Scene, ...]:
    """Scenes of a tile, with the figures that belong to the tile as a whole."""
    tile = tile_info(tile_id)
    steps = (np.arange(_SURVEY) + 0.5) / _SURVEY
    x, y = np.meshgrid(
        tile.xmin + steps * (tile.xmax - tile.xmin), tile.ymax - steps * (tile.ymax - tile.ymin)
    )
    lon, lat = _from_lonlat(tile.epsg).transform(x, y, direction="INVERSE")
    orbits = covering_orbits(lon, lat)
    passes = acquisitions(tile.lon, tile.lat, orbits, start, end)
    if not passes:
        return ()
    cloudy = cloud_share(*world_plane(tile.epsg, x, y), passes)
    margin = swath_margin(lon.reshape(-1, 1), lat.reshape(-1, 1), np.array(orbits))
    outside = dict(zip(orbits, 100 * (margin <= 0).mean(axis=0), strict=True))
    return tuple(
        Scene(tile, each, round(100 * float(share), 2), round(float(outside[each.orbit]), 2))
        for each, share in zip(passes, cloudy, strict=True)
    )


def _inside(cell: Cell, tile: TileInfo) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which 60 m pixels of a cell lie in a tile; tiles have whole such pixels."""
    x, y = cell.centres(60)
    result: np.ndarray[Any, np.dtype[np.bool_]] = (
        (x > tile.xmin) & (x < tile.xmax) & (y > tile.ymin) & (y < tile.ymax)
    )
    return result
