"""Write the bitmap of the MGRS squares that are Sentinel-2 tiles.

The package computes everything about a tile from its name; which names exist is read from a
table of tiles once, here, and kept in ``src/openeo_gfmap/data/s2_squares.bin``: one bit for each
(UTM zone, column of 100 km, row of 100 km), packed big-endian, in that order.

Usage: python tools/make_s2_squares.py TABLE.parquet    (a column ``tile`` with the ids)
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from openeo_gfmap import tiling

TARGET = Path(tiling.__file__).parent / "data" / "s2_squares.bin"


def main(table: Path) -> None:
    """Read the tile ids of ``table`` and write the bitmap."""
    shape = (tiling._ZONES, tiling._COLUMNS, tiling._ROWS)
    zone, column, row = (axis.ravel() for axis in np.indices(shape))
    names = tiling._square_ids(zone + 1, column, row + tiling._FIRST_ROW)
    wanted = pd.read_parquet(table, columns=["tile"])["tile"].to_numpy(dtype=str)
    exists = np.isin(names, wanted)
    if exists.sum() != len(wanted):
        unknown = np.setdiff1d(wanted, names)
        raise SystemExit(f"{len(unknown)} ids are no MGRS squares or occur twice: {unknown[:10]}")
    TARGET.write_bytes(np.packbits(exists).tobytes())
    print(f"{exists.sum()} squares in {TARGET.stat().st_size} bytes: {TARGET}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
