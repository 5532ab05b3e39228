"""Time the extraction of patches over HTTP, from a server on this machine that answers 20 ms late.

    pip install -e .[local,benchmarks]
    python benchmarks/bench_remote.py
    python benchmarks/bench_remote.py --latency 0.1 --only "engine, HTTP" "engine, local files"

The same work as ``bench_extraction.py``. The server is a process of its own and counts requests
and bytes; ``bytes needed`` is the size of all blocks that any patch touches. It shares the
machine with the reader, which no server on the web would do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import reference_work as work
import tifffile
from bench_extraction import SLOW, Box, Files, blocks_of, measure, window_of

NAMES = {
    "engine, local files": "engine",
    "engine, HTTP": "engine",
    "rasterio, block cache, HTTP": "rasterio, block cache",
    "odc-stac, HTTP": "odc-stac",
}
SLOW_HERE = {**SLOW, "odc-stac": 1}
# What GDAL's documentation recommends for COGs, so that the others do not start behind.
GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "VSI_CACHE": "TRUE",
}


@contextmanager
def server(folder: Path, latency: float) -> Iterator[tuple[str, dict[str, int]]]:
    """Serve a folder; gives the address, and after the end what was asked for."""
    counts: dict[str, int] = {}
    script = Path(__file__).with_name("range_server.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(folder), "--latency", str(latency)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}", counts
        found, _ = process.communicate()
        counts.update(json.loads(found))


def remote_items(folder: Path, address: str, place: Path) -> Path:
    """Write the STAC items with addresses of the server for hrefs."""
    collection = json.loads((folder / "items.json").read_text())
    for item in collection["features"]:
        for asset in item["assets"].values():
            asset["href"] = f"{address}/{asset['href'].removeprefix('./')}"
    (place / "items.json").write_text(json.dumps(collection))
    return place


def needed_bytes(files: Files, boxes: Sequence[Box]) -> int:
    """Size of the blocks that patches touch."""
    wanted = {r: {b for box in boxes for b in blocks_of(window_of(box, r))} for r in (10, 20, 60)}
    total = 0
    for _, resolution, path in files.paths():
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            across = -(-page.imagewidth // page.tilewidth)
            counts = page.databytecounts
            total += sum(counts[row * across + column] for row, column in wanted[resolution])
    return total


def run(name: str, folder: Path, boxes: Sequence[Box], latency: float) -> dict[str, float]:
    if NAMES[name] in SLOW_HERE:
        number = SLOW_HERE[NAMES[name]]
        boxes = boxes[:: max(1, len(boxes) // number)][:number]
    with tempfile.TemporaryDirectory() as place, server(folder, latency) as (address, counts):
        there = folder
        if "HTTP" in name:
            there = remote_items(folder, address, Path(place))
        environment = {**os.environ} if "engine" in name else {**os.environ, **GDAL}
        done = subprocess.run(
            [sys.executable, __file__, "--measure", NAMES[name], str(there), json.dumps(boxes)],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    # The first patch was read once more, to warm up.
    needed = needed_bytes(Files(str(folder)), boxes) + needed_bytes(Files(str(folder)), boxes[:1])
    return result | counts | {"factor": counts["bytes"] / needed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "gfmap-bench",
                        help="where the files are kept")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patches", type=int, default=60)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds")
    parser.add_argument("--only", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        name, folder, boxes = args.measure
        measure(name, folder, json.loads(boxes))
        return
    folder = work.prepare(args.data)
    for file in folder.iterdir():
        file.read_bytes()
    boxes = work.patches("dense", args.patches)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _ in range(args.rounds):
        for name in args.only:
            found[name].append(run(name, folder, boxes, args.latency))
    print(
        f"\n| {1000 * args.latency:.0f} ms | patches/s | of local files | CPU s a patch "
        "| memory MB | requests a patch | bytes of those needed | connections |\n|-|-|-|-|-|-|-|-|"
    )
    middle = {
        name: {key: statistics.median(each[key] for each in runs) for key in runs[0]}
        for name, runs in found.items()
    }
    local = middle.get("engine, local files")
    for name, values in middle.items():
        number = SLOW_HERE.get(NAMES[name], args.patches)
        share = f"{values['rate'] / local['rate']:.3f}" if local else ""
        print(
            f"| {name} | {values['rate']:.2f} | {share} | {values['cpu']:.3f} "
            f"| {values['memory']:.0f} | {values['requests'] / number:.0f} "
            f"| {values['factor']:.2f} | {values['most_open']:.0f} |"
        )


if __name__ == "__main__":
    main()
