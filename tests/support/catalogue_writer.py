"""Writes of a catalogue that are killed: each in a process of its own, which costs only a fork.

``python -m support.catalogue_writer`` reads one order a line, JSON, and forks for it: the child
writes, and dies by SIGKILL a while after it has taken so many items.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ITEMS = 400
TESTS = Path(__file__).parents[1]


def items(version: int) -> Iterator[dict[str, Any]]:
    """Make the items of one of two versions; of each, a tenth is not in the other.

    No document is the same in both, and some columns of the table come late, or change their type.
    """
    chance = random.Random(version)
    for number in range(ITEMS):
        late = number > ITEMS // 2
        name = f"s{number:04}{f'-only{version}' * (number % 10 == 3)}"
        west = round(chance.uniform(2, 28), 4)
        ring = [[west, 51.0], [west + 1, 51.0], [west + 1, 52.0], [west, 52.0], [west, 51.0]]
        properties = {
            "datetime": "2021-05-01T00:00:00Z",
            "ref_id": f"set{number % (3 + version)}",
            "version": version,
            "number": number + 0.5 if late else number,
        }
        yield {
            "type": "Feature",
            "stac_version": "1.1.0",
            "stac_extensions": [],
            "id": name,
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": [west, 51.0, west + 1, 52.0],
            "properties": {**properties, **({"late": [version]} if late else {})},
            "links": [{"rel": "processing-expression", "href": "provenance/job.json"}],
            "assets": {"data": {"href": f"data/{name}.nc", "roles": ["data"]}},
        }


def write(order: dict[str, Any], progress: int) -> None:
    """Write the catalogue of an order; a byte goes to `progress` with each item."""
    from openeo_gfmap.stac import parquet, tree

    # As if there were many: the table in several parts, the tree in several catalogues.
    parquet._BATCH, parquet._ROW_GROUP = 40, 120
    if order["split"]:
        tree.MOST_LINKS = 80

    def told() -> Iterator[tuple[int, dict[str, Any]]]:
        for numbered in enumerate(items(order["version"])):
            yield numbered
            os.write(progress, b".")

    out = Path(order["folder"])
    tree.write_collection(
        out / "stac", told(), count=ITEMS, output_dir=out, identifier="C", description="Patches."
    )


def live(order: dict[str, Any], progress: int) -> None:
    status = 1
    try:
        write(order, progress)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def serve() -> None:
    """Fork for each order; tell how the child ended, and how long it took after its last item."""
    import openeo_gfmap.stac.tree  # noqa: F401 - imported before the forks

    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            live(order, writing)
        os.close(writing)
        left = order.get("after", ITEMS)
        while left and (taken := os.read(reading, left)):
            left -= len(taken)
        then = time.monotonic()
        if "after" in order:
            time.sleep(order["seconds"])
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(reading)
        print(os.waitstatus_to_exitcode(status), time.monotonic() - then, flush=True)


class Writers:
    """Starts writes and says how they ended."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.catalogue_writer"],
            cwd=TESTS,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(self, folder: Path, version: int, **order: Any) -> tuple[int, float]:
        """Write; return the exit status, and the seconds from the last item waited for to the end.

        With ``after`` and ``seconds`` it is killed so long after it has taken so many items.
        """
        assert self._process.stdin and self._process.stdout
        order |= {"folder": str(folder), "version": version}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status, seconds = self._process.stdout.readline().split()
        return int(status), float(seconds)

    def close(self) -> None:
        self._process.communicate(timeout=60)


if __name__ == "__main__":
    serve()
