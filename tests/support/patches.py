"""Small NetCDF patches as back-ends write them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from pyproj import CRS

BANDS = ("S2-L2A-B04", "S2-L2A-SCL")


def patch_bytes(folder: Path, seed: int = 0, size: int = 8, epsg: int = 32631) -> bytes:
    """Return a file with dims (t, y, x): two dates, two bands of uint16 stored as short."""
    path = folder / f"patch_{seed}_{epsg}.nc"
    random = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file["t"] = np.array([12114, 12119], dtype="int64")  # days
        file["t"].attrs["units"] = np.bytes_(b"days since 1990-01-01")
        file["x"] = 600_005.0 + 10.0 * np.arange(size) + 640 * seed
        file["y"] = 5_700_075.0 - 10.0 * np.arange(size)
        for name in ("t", "y", "x"):
            file[name].make_scale(name)
        crs = file.create_dataset("crs", data=np.bytes_(b""))
        crs.attrs["crs_wkt"] = np.bytes_(CRS.from_epsg(epsg).to_wkt().encode())
        for band in BANDS:
            data = random.integers(0, 5000, (2, size, size)).astype("int16")
            variable = file.create_dataset(band, data=data)
            variable.attrs["_Unsigned"] = np.bytes_(b"true")
            variable.attrs["_FillValue"] = np.int16(-1)
            variable.attrs["long_name"] = np.bytes_(band)
            variable.attrs["grid_mapping"] = np.bytes_(b"crs")
            for axis, name in enumerate(("t", "y", "x")):
                variable.dims[axis].attach_scale(file[name])
    return path.read_bytes()
