"""Measure what the catalogue of a run costs, against pystac, in one run.

Items like those of a run (13 bands and a mask, 60 dates, a label, a quicklook, attributes of a
sample) come in a stream, as from the tracker's store, and are written as a tree of JSON documents
and as one table; "table" writes that alone. Each run is a process of its own. pystac makes the same
collection from the same items in its usual way: add the items, `normalize_hrefs`, `save`.

    python benchmarks/bench_catalog.py
    python benchmarks/bench_catalog.py --sizes 1000 10000 100000 --table-sizes 1000000
    python benchmarks/bench_catalog.py --output docs/benchmarks/catalogue.md
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import linear_regression
from typing import Any

from openeo_gfmap.stac.constants import AUXILIARY, QUICKLOOK, SENTINEL2
from openeo_gfmap.stac.items import CubeFile, Variable, cube_item, modern_item

BANDS = [band["name"] for band in SENTINEL2.properties["bands"]][:13]


def items(count: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Make items, as the store gives them."""
    times = tuple(f"2021-{1 + i // 5:02}-{1 + 5 * (i % 5):02}T00:00:00Z" for i in range(60))
    names = [*BANDS, "S2-L2A-SCL_DILATED_MASK"]
    variables = tuple(Variable(name, "uint16", ("t", "y", "x"), title=name) for name in names)
    label = AUXILIARY.create_asset(href="x").to_dict()
    for i in range(count):
        west, north = 3 + (i % 1000) * 0.02, 50 - (i // 1000) * 0.01
        box = (west, north - 0.006, west + 0.009, north)
        ring = [[box[a], box[b]] for a, b in ((0, 1), (2, 1), (2, 3), (0, 3), (0, 1))]
        cube = CubeFile(
            variables, 32631, None, (5e5, 500630.0, 10.0), (56e5, 5599370.0, -10.0), (64, 64),
            times, ("t", "y", "x"), box, {"type": "Polygon", "coordinates": [ring]},
        )  # fmt: skip
        stem = f"set_{i // 20_000}/32631/31UES/{i}/S2_10m_{i}_32631_2021-01-01_2021-12-31"
        item = cube_item(f"S2_{i}", f"{stem}.nc", cube)
        item["properties"] |= {
            "sample_id": f"s{i}", "ref_id": f"set_{i // 20_000}", "croptype_label": i % 40,
            "valid_date": "2021-06-01", "processing:software": {"openeo-gfmap": "0"},
        }  # fmt: skip
        if i % 3 == 0:
            item["properties"]["confidence"] = 100 if i % 2 else 99.5
        classes = [{"value": i % 40, "name": f"c{i % 40}", "description": f"Crop {i % 40}"}]
        item["assets"]["auxiliary"] = {
            **label, "href": f"{stem}_LABEL.nc", "classification:classes": classes,
        }  # fmt: skip
        item["assets"]["quicklook"] = {**QUICKLOOK.create_asset(href=f"{stem}.png").to_dict()}
        for asset in item["assets"].values():
            asset |= {"file:size": 1_000_000 + i, "file:checksum": f"1220{i:064x}"}
        yield i, modern_item(item)


def ours(count: int, folder: Path) -> None:
    from openeo_gfmap.stac.tree import write_collection

    write_collection(
        folder / "stac", items(count), count=count, output_dir=folder, identifier="C",
        description="Patches.", constellation="sentinel2",
    )  # fmt: skip


def table(count: int, folder: Path) -> None:
    from openeo_gfmap.stac.parquet import ItemTable

    written = ItemTable(folder / "items.parquet")
    for _, item in items(count):
        written.add(item)
    written.finish({"type": "Collection", "id": "C"})


def pystac(count: int, folder: Path) -> None:
    import pystac as peer

    extent = peer.Extent(
        peer.SpatialExtent([[-180, -90, 180, 90]]), peer.TemporalExtent([[None, None]])
    )
    collection = peer.Collection("C", "Patches.", extent)
    for _, item in items(count):
        collection.add_item(peer.Item.from_dict(item))
    collection.update_extent_from_items()
    collection.normalize_hrefs(str(folder / "stac"))
    collection.save(peer.CatalogType.SELF_CONTAINED)


def generator(count: int, folder: Path) -> None:
    """Make the items and nothing of them: what the benchmark itself costs."""
    for _ in items(count):
        pass


WRITERS = {"tree and table": ours, "table": table, "pystac": pystac, "items made": generator}


def child(who: str, count: int, folder: Path) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    WRITERS[who](count, folder)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    largest = max((p.stat().st_size for p in folder.glob("stac/*.json")), default=0)
    print(json.dumps({"wall": wall, "cpu": cpu, "memory": memory, "collection": largest}))


def run(who: str, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench_catalog_") as folder:
        command = [sys.executable, __file__, "--child", who, str(count), folder]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {"items": count, **json.loads(answer)}


def exponent(runs: list[dict[str, float]]) -> float:
    """Return how CPU time grows with the number of items: 1 is in proportion."""
    if len(runs) < 2:
        return math.nan
    x, y = ([math.log(each[name]) for each in runs] for name in ("items", "cpu"))
    return linear_regression(x, y).slope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--table-sizes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--pystac-sizes", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--output", type=Path, help="write the table to this file, too")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        who, count, folder = arguments.child
        child(who, int(count), Path(folder))
        return
    plan = {
        "tree and table": arguments.sizes,
        "table": arguments.table_sizes,
        "pystac": arguments.pystac_sizes,
        "items made": arguments.pystac_sizes,
    }
    lines = [
        "| | items | s | CPU s | ms of CPU an item | most memory, MB | collection.json, MB |",
        "|-|-|-|-|-|-|-|",
    ]
    print(*lines, sep="\n", flush=True)
    growth = []
    for who, sizes in plan.items():
        runs = []
        for count in sizes:
            found = run(who, count)
            runs.append(found)
            lines.append(
                f"| {who} | {count:,} | {found['wall']:.1f} | {found['cpu']:.1f} "
                f"| {1000 * found['cpu'] / count:.2f} | {found['memory'] / 1e6:.0f} "
                f"| {found['collection'] / 1e6:.2f} |"
            )
            print(lines[-1], flush=True)
        if len(runs) > 1:
            growth.append(f"CPU time of {who} grows as items to the power of {exponent(runs):.2f}.")
    lines += ["", *growth, "", f"Python {platform.python_version()}, {platform.machine()}."]
    print(*lines[-len(growth) - 3 :], sep="\n")
    if arguments.output:
        arguments.output.write_text("\n".join(["# Catalogue", "", *lines, ""]))


if __name__ == "__main__":
    main()
