"""The UDF runner."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.engine.udf import run_udf
from openeo_gfmap.local.errors import OpenEOError

DAYS = np.array(["2023-04-02", "2023-04-12"], dtype="datetime64[ns]")
GRID = GeoBox((4, 6), Affine(10, 0, 600000, 0, -10, 5700000), "EPSG:32631")


@pytest.fixture
def cube() -> Cube:
    data = np.arange(2 * 3 * 4 * 6, dtype="uint16").reshape(2, 3, 4, 6)
    labels = {"t": DAYS, "bands": np.array(["B02", "B03", "SCL"])}
    return Cube(data, ("t", "bands", "y", "x"), labels, GRID, 65535)


HEAD = "import numpy as np\nimport xarray as xr\nfrom openeo.udf import XarrayDataCube, UdfData\n"


def run(body: str, data: Cube, context: dict | None = None) -> Cube:
    return run_udf(HEAD + body, "Python", data, context)


def test_what_a_udf_sees(cube: Cube) -> None:
    body = """
def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:
    array = cube.get_array()
    assert array.dims == ("t", "bands", "y", "x")
    assert array.dtype == np.uint16
    assert array.bands.values.tolist() == ["B02", "B03", "SCL"]
    assert array.t.dtype.kind == "M"
    assert array.x.values[0] == 600005 and array.y.values[0] == 5699995
    assert context == {"factor": 3}
    array *= context.pop("factor")
    return XarrayDataCube(array)
"""
    before = cube.data.copy()
    context = {"factor": 3}
    result = run(body, cube, context)
    np.testing.assert_array_equal(result.data, before * 3)
    np.testing.assert_array_equal(cube.data, before)  # the input is not the UDF's to change
    assert context == {"factor": 3}
    assert result.geobox is GRID
    assert result.nodata is None
    assert result.labels["bands"].tolist() == ["B02", "B03", "SCL"]


def test_missing_pixels_are_nan(cube: Cube) -> None:
    cube.data[0, 0, 0, 0] = 65535
    body = "def apply_datacube(cube, context):\n    return XarrayDataCube(cube.get_array() + 1)\n"
    result = run(body, cube)
    assert result.data.dtype == np.float32
    assert np.isnan(result.data[0, 0, 0, 0])
    assert result.data[0, 0, 0, 1] == 2


def test_data_array_and_udf_data(cube: Cube) -> None:
    array = """
def apply_datacube(cube: "xr.DataArray", context: dict) -> "xr.DataArray":
    return cube.isel(bands=[0])
"""
    assert run(array, cube).labels["bands"].tolist() == ["B02"]
    udf_data = """
def apply_udf_data(data: UdfData) -> UdfData:
    assert data.proj == {"EPSG": 32631}
    array = data.get_datacube_list()[0].get_array().mean("t")
    array = array * data.user_context["k"]
    data.set_datacube_list([XarrayDataCube(array)])
"""
    result = run(udf_data, cube, {"k": 2.0})
    assert result.dims == ("bands", "y", "x")
    np.testing.assert_allclose(result.data, cube.data.mean(axis=0) * 2)


def test_changed_bands_dates_order_and_names(cube: Cube) -> None:
    body = """
def apply_datacube(cube, context):
    values = cube.get_array().values[:1, :2]
    return XarrayDataCube(xr.DataArray(
        np.moveaxis(values, 0, -1)[:, ::-1], dims=("band", "y", "x", "time"),
        coords={"band": ["ndvi", "evi"], "time": ["2024-01-01"],
                "y": cube.get_array().y.values[::-1]}))
"""
    result = run(body, cube)
    assert result.dims == ("t", "bands", "y", "x")
    assert result.labels["bands"].tolist() == ["ndvi", "evi"]
    assert result.labels["t"].tolist() == [np.datetime64("2024-01-01", "ns").astype(int)]
    np.testing.assert_array_equal(result.data, cube.data[:1, :2])  # turned north up again
    assert result.geobox is GRID
    bare = """
def apply_datacube(cube, context):
    values = cube.get_array().values[:, :2]
    return XarrayDataCube(xr.DataArray(values, dims=("t", "bands", "y", "x")))
"""
    result = run(bare, cube)
    assert result.labels["bands"].tolist() == ["band_0", "band_1"]
    np.testing.assert_array_equal(result.labels["t"], DAYS)


def test_changed_grid(cube: Cube) -> None:
    finer = """
def apply_datacube(cube, context):
    values = cube.get_array().values.repeat(2, axis=2).repeat(2, axis=3)
    return XarrayDataCube(xr.DataArray(values, dims=("t", "bands", "y", "x")))
"""
    result = run(finer, cube)
    assert result.geobox == GeoBox((8, 12), Affine(5, 0, 600000, 0, -5, 5700000), "EPSG:32631")
    smaller = """
def apply_datacube(cube, context):
    return XarrayDataCube(cube.get_array()[:, :, 1:3, 2:5])
"""
    result = run(smaller, cube)
    assert result.geobox == GeoBox((2, 3), Affine(10, 0, 600020, 0, -10, 5699990), "EPSG:32631")


def test_a_module_is_loaded_once_and_may_define_dataclasses(cube: Cube) -> None:
    body = """
from __future__ import annotations
import dataclasses
import numpy as np
import xarray as xr
from openeo.udf import XarrayDataCube

@dataclasses.dataclass
class Counter:
    calls: int = 0

COUNTER = Counter()

def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:
    COUNTER.calls += 1
    return XarrayDataCube(xr.full_like(cube.get_array(), COUNTER.calls))
"""
    assert run_udf(body, "Python", cube).data.max() == 1
    assert run_udf(body, "Python", cube).data.max() == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "def apply_datacube(cube, context):\n    x = 1\n    return helper(cube)\n"
            "def helper(cube):\n    raise ValueError('no cloud band')\n",
            "line 8 in `raise ValueError('no cloud band')`: ValueError: no cloud band",
        ),
        (
            "def apply_datacube(cube, context):\n    return cube.get_array().sel(bands='B99')\n",
            "line 5 in `return cube.get_array().sel(bands='B99')`: KeyError",
        ),
        ("import no_such_module\n", "line 4 in `import no_such_module`: ModuleNotFoundError"),
        ("def apply_datacube(cube:\n", "line 4 in `def apply_datacube(cube:`: SyntaxError"),
        ("def apply(cube): ...\n", "it defines apply"),
        ("def apply_datacube(cube, context):\n    exit(3)\n", "SystemExit: 3"),
        ("def apply_datacube(cube, context): return 3\n", "returned int; return one"),
        (
            "def apply_datacube(cube, context):\n"
            "    return XarrayDataCube(cube.get_array().astype(str))\n",
            "returned <U5 values with the dimensions t, bands, y, x",
        ),
        (
            "def apply_datacube(cube, context):\n"
            "    return XarrayDataCube(xr.DataArray(np.zeros((3, 4, 6)), dims=('t', 'y', 'x')))\n",
            "3 entries along 't' without coordinates, the input has 2",
        ),
    ],
)
def test_errors_show_the_line_of_the_udf(cube: Cube, body: str, message: str) -> None:
    with pytest.raises(OpenEOError) as caught:
        run(body, cube)
    assert caught.value.code == "UdfError"
    assert message in caught.value.message
    assert "Traceback" not in caught.value.message
