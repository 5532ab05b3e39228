"""Real CDSE results come back from the embedded back-end, through HTTP, client and engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import openeo
import pytest
import xarray as xr

from openeo_gfmap import Backend, BoundingBoxExtent, FetchType, TemporalContext
from openeo_gfmap.fetching import build_sentinel2_l2a_extractor
from support.service import ServerProcess
from support.stac_folder import write_stac_folder

Serve = Callable[..., openeo.Connection]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a back-end that reads a collection from a source; return a connection to it."""
    servers = []

    def start(*options: str) -> openeo.Connection:
        server = ServerProcess(tmp_path / f"home{len(servers)}", *options).start()
        servers.append(server)
        return server.connect()

    yield start
    for server in servers:
        server.stop()


def test_a_real_tile_comes_back_exactly(shared_data: Path, serve: Serve, tmp_path: Path) -> None:
    """12 dates, 6 bands: the very values, coordinates and dates that CDSE returned."""
    connection = serve("--source", f"SENTINEL2_L2A={shared_data / 's2_series' / 'items'}")
    bands = ["S2-L2A-B01", "S2-L2A-B04", "S2-L2A-B08", "S2-L2A-B11", "S2-L2A-SCL", "S2-L2A-AOT"]
    place = BoundingBoxExtent(
        5.0515130512706845, 51.215806593713, 5.060320484557499, 51.22149744530769
    )
    cube = build_sentinel2_l2a_extractor(Backend.LOCAL, bands, FetchType.TILE).get_cube(
        connection, place, TemporalContext("2023-04-01", "2023-05-01")
    )
    cube.download(tmp_path / "tile.nc", format="NetCDF")
    oracle = shared_data / "s2_series" / "oracle_cdse_sentinel2_l2a.nc"
    with (
        xr.open_dataset(oracle, mask_and_scale=False) as theirs,
        xr.open_dataset(tmp_path / "tile.nc", mask_and_scale=False) as ours,
    ):
        assert list(ours.data_vars) == list(theirs.data_vars)
        for name in (*bands, "t", "x", "y"):
            assert ours[name].dims == theirs[name].dims
            np.testing.assert_array_equal(ours[name].values, theirs[name].values)
            assert ours[name].dtype == theirs[name].dtype


def test_patches_have_the_windows_masks_and_structure_of_a_real_job(
    shared_data: Path, serve: Serve, tmp_path: Path
) -> None:
    """Six polygons of a real job, on its own grid.

    CDSE anchored the job's grid at a corner of its tile layout, which the caller cannot know; so
    the test's source lies on that grid. Its pixels cannot be had: ours count up instead.
    """
    job = shared_data / "cdse_job"
    real = [xr.open_dataset(job / f"openEO_{i}.nc", mask_and_scale=False) for i in range(6)]
    left = min(f.x.values[0] for f in real) - 105
    top = max(f.y.values[0] for f in real) + 105
    columns = round((max(f.x.values[-1] for f in real) - left) / 10) + 20
    rows = round((top - min(f.y.values[-1] for f in real)) / 10) + 20
    days = [str(day)[:10] for day in real[0].t.values]
    pixels = 1 + np.arange(rows * columns, dtype="uint32").reshape(rows, columns) % 9000
    names = ["S2-L2A-B02", "S2-L2A-B03", "S2-L2A-B04"]
    source = write_stac_folder(
        tmp_path / "source", days=days, bands=dict.fromkeys(names, pixels), epsg=3035,
        left=left, top=top,
    )  # fmt: skip

    connection = serve()
    polygons = gpd.read_file(job / "puglia_extraction_polygons.gpkg")[["geometry"]]
    cube = connection.load_stac(
        str(source), temporal_extent=["2023-06-21", "2023-09-23"], bands=names
    )
    cube = cube.filter_spatial(polygons.__geo_interface__)
    cube = cube.resample_spatial(resolution=10, projection=3035)
    cube = cube.linear_scale_range(0, 65534, 0, 65534)
    batch = cube.create_job(out_format="NetCDF", sample_by_feature=True)
    batch.start_and_wait(print=lambda _: None, max_poll_interval=0.5)
    batch.get_results().download_files(tmp_path / "out")

    for number, theirs in enumerate(real):
        with xr.open_dataset(tmp_path / f"out/openEO_{number}.nc", mask_and_scale=False) as ours:
            assert dict(ours.sizes) == dict(theirs.sizes)
            assert list(ours.data_vars) == list(theirs.data_vars)
            np.testing.assert_allclose(ours.x, theirs.x, rtol=0, atol=1e-6)
            np.testing.assert_allclose(ours.y, theirs.y, rtol=0, atol=1e-6)
            np.testing.assert_array_equal(ours.t, theirs.t)
            column = np.rint((ours.x.values - left - 5) / 10).astype(int)
            row = np.rint((top - 5 - ours.y.values) / 10).astype(int)
            for name in names:
                assert ours[name].dims == ("t", "y", "x")
                assert ours[name].dtype == theirs[name].dtype
                assert {**theirs[name].attrs}.items() <= {**ours[name].attrs}.items()
                mine = ours[name].values.view("uint16")
                missing = theirs[name].values.view("uint16") == 65535
                np.testing.assert_array_equal(mine == 65535, missing)
                wanted = np.where(missing, 65535, pixels[np.ix_(row, column)])
                np.testing.assert_array_equal(mine, wanted)
        theirs.close()
