"""Make ``src/openeo_gfmap/report/html/land.json``: the outline of land for the report's map.

From Natural Earth's land polygons at 1:110 million (public domain), as the npm package world-atlas
packs them (TopoJSON, ISC licence)::

    npm pack world-atlas && tar xzf world-atlas-*.tgz
    python tools/make_land_outline.py package/land-110m.json

The result is a list of rings, each a flat list of longitudes and latitudes in hundredths of a
degree.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "src/openeo_gfmap/report/html/land.json"


def rings(topology: dict[str, Any]) -> list[list[int]]:
    """Return the outer rings of all polygons."""
    (scale_x, scale_y), (shift_x, shift_y) = topology["transform"].values()
    arcs = []
    for arc in topology["arcs"]:
        x = y = 0
        points = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            points.append(
                (round(100 * (x * scale_x + shift_x)), round(100 * (y * scale_y + shift_y)))
            )
        arcs.append(points)
    found = []
    for geometry in topology["objects"]["land"]["geometries"]:
        polygons = geometry["arcs"] if geometry["type"] == "MultiPolygon" else [geometry["arcs"]]
        for polygon in polygons:
            ring: list[tuple[int, int]] = []
            for index in polygon[0]:
                points = arcs[index] if index >= 0 else arcs[~index][::-1]
                ring += points[1:] if ring else points
            found.append([number for point in ring for number in point])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topology", type=Path)
    found = rings(json.loads(parser.parse_args().topology.read_bytes()))
    TARGET.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{len(found)} rings, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
