"""Cube processes against plain numpy, on small windows of the collection without files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from openeo_gfmap.local.engine import validate
from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import FIRST_DAY, FakeCatalog, FakeCollection, pixel_values
from support.graphs import (
    MONTH,
    Graph,
    box_geojson,
    callback,
    dataset,
    load,
    on_data,
    on_x,
    run,
    utm_box,
)

WEST, NORTH, SIZE = 500000, 5600800, 12
PLACE = utm_box(WEST, NORTH - 10 * SIZE, 10 * SIZE, 10 * SIZE)
DAYS = [np.datetime64(FIRST_DAY.date()) + np.timedelta64(5 * i, "D") for i in range(6)]
X = WEST + 10 * np.arange(SIZE) + 5.0
Y = NORTH - 10 * np.arange(SIZE) - 5.0


def truth(band: str) -> np.ndarray[Any, Any]:
    """Values with dims (t, y, x)."""
    xx, yy = np.meshgrid(X, Y)
    return np.stack([pixel_values(band, day, xx, yy) for day in DAYS])


@pytest.fixture
def result(tmp_path: Path) -> Callable[..., xr.Dataset]:
    """Run a chain on a loaded cube and read the NetCDF file."""

    def execute(
        chain: Callable[[Graph, Any], Any], bands: tuple[str, ...] = ("B02", "B04"), **more: Any
    ) -> xr.Dataset:
        g = Graph()
        graph = g.result(chain(g, load(g, bands, more.pop("place", PLACE))))
        (asset,) = run(graph, tmp_path, **more).assets
        return dataset(tmp_path / asset.name)

    return execute


def unsigned(values: xr.DataArray) -> np.ndarray[Any, Any]:
    return values.values.view("uint16")


def test_loading_keeps_type_place_and_time(result: Any) -> None:
    got = result(lambda g, c: c)
    assert list(got.data_vars) == ["crs", "B02", "B04"] or set(got.data_vars) == {
        "crs", "B02", "B04",
    }  # fmt: skip
    np.testing.assert_array_equal(got.x, X)
    np.testing.assert_array_equal(got.y, Y)
    np.testing.assert_array_equal(got.t.values, np.asarray(DAYS, "datetime64[ns]"))
    assert got.B02.dtype == np.int16
    np.testing.assert_array_equal(unsigned(got.B02), truth("B02"))


def test_coarse_bands_are_block_replicated(result: Any) -> None:
    got = result(lambda g, c: c, ("B02", "B11"))
    values = unsigned(got.B11)
    np.testing.assert_array_equal(values[:, ::2, ::2], values[:, 1::2, 1::2])
    np.testing.assert_array_equal(values, truth("B11"))


def test_coarse_bands_alone_stay_coarse(result: Any) -> None:
    got = result(lambda g, c: c, ("B11",))
    assert dict(got.sizes) == {"t": 6, "y": SIZE // 2, "x": SIZE // 2}
    np.testing.assert_array_equal(unsigned(got.B11), truth("B11")[:, ::2, ::2])


def test_a_direct_linear_scale_range_is_a_cast(result: Any) -> None:
    scale = {"inputMin": 0, "inputMax": 3000, "outputMin": 0, "outputMax": 254}
    got = result(lambda g, c: g.apply(data=c, process=on_x("linear_scale_range", **scale)))
    expected = np.floor(np.clip(truth("B02"), 0, 3000) / 3000 * 254)
    np.testing.assert_array_equal(got.B02.values.view("uint8"), expected)


def test_value_processes_work_on_a_cube_directly(result: Any) -> None:
    got = result(lambda g, c: g.absolute(x=g.subtract(x=c, y=2000)))
    np.testing.assert_allclose(got.B04, np.abs(truth("B04").astype("float32") - 2000))


def test_apply_gives_floats(result: Any) -> None:
    got = result(lambda g, c: g.apply(data=c, process=on_x("multiply", y=0.5)))
    assert got.B02.dtype == np.float32
    np.testing.assert_allclose(got.B02, truth("B02") * 0.5)


def test_filter_bands_orders_bands(result: Any) -> None:
    got = result(lambda g, c: g.filter_bands(data=c, bands=["B04", "B02"]))
    assert [v for v in got.data_vars if v != "crs"] == ["B04", "B02"]


def test_filter_bbox_narrows(result: Any) -> None:
    extent = utm_box(WEST + 21, NORTH - 79, 30, 20)
    got = result(lambda g, c: g.filter_bbox(data=c, extent=extent))
    np.testing.assert_array_equal(got.x, X[2:5])  # those whose centre lies inside
    np.testing.assert_array_equal(unsigned(got.B02), truth("B02")[:, 6:8, 2:5])


def test_filter_spatial_hides_pixels_outside(result: Any) -> None:
    shapes = box_geojson(
        (WEST, NORTH - 40, WEST + 40, NORTH), (WEST + 60, NORTH - 80, WEST + 80, NORTH - 60)
    )
    got = result(lambda g, c: g.filter_spatial(data=c, geometries=shapes))
    values = unsigned(got.B02)
    inside = np.zeros((8, 8), dtype=bool)
    inside[:4, :4] = inside[6:, 6:] = True
    assert (values[:, ~inside] == 65535).all()
    np.testing.assert_array_equal(values[:, inside], truth("B02")[:, :8, :8][:, inside])


def test_rename_and_drop_and_add_dimensions(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        c = g.rename_labels(data=c, dimension="bands", source=["B04"], target=["red"])
        c = g.filter_bands(data=c, bands=["red"])
        c = g.drop_dimension(data=c, name="bands")
        return g.add_dimension(data=c, name="bands", label="again", type="bands")

    got = result(chain)
    np.testing.assert_array_equal(unsigned(got["again"]), truth("B04"))


@pytest.mark.parametrize("name", ["", ".", "a/b", "crs"])
def test_a_dimension_that_no_file_can_have_is_refused(name: str) -> None:
    for process, arguments in {
        "add_dimension": {"name": name, "label": "one"},
        "rename_dimension": {"source": "bands", "target": name},
        "flatten_dimensions": {"dimensions": ["t", "bands"], "target_dimension": name},
    }.items():
        g = Graph()
        made = getattr(g, process)(data=load(g, ["B02", "B04"], PLACE), **arguments)
        (problem,) = validate(g.result(made), catalog=FakeCatalog())
        assert problem.code == "ProcessParameterInvalid"
        assert f"{name!r} cannot name a dimension" in problem.message


def test_a_band_may_be_called_as_a_dimension(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        c = g.rename_labels(data=c, dimension="bands", source=["B04", "B02"], target=["d", "."])
        return g.add_dimension(data=c, name="d", label="one")

    got = result(chain)
    assert got["d"].values.tolist() == ["one"]
    np.testing.assert_array_equal(unsigned(got["d_band"]).squeeze(), truth("B04"))
    np.testing.assert_array_equal(unsigned(got["._band"]).squeeze(), truth("B02"))


def test_rename_labels_by_place_when_only_some_are_wanted(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        c = g.rename_labels(data=c, dimension="bands", target=["a", "b"])
        return g.filter_bands(data=c, bands=["b"])

    np.testing.assert_array_equal(unsigned(result(chain)["b"]), truth("B04"))


def test_dimension_labels_feed_other_processes(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        names = g.dimension_labels(data=c, dimension="bands")
        renamed = g.rename_labels(data=c, dimension="bands", target=["x1", "x2"])
        return g.rename_labels(data=renamed, dimension="bands", target=names)

    assert {"B02", "B04"} <= set(result(chain).data_vars)


@pytest.mark.parametrize(
    ("reducer", "numpy"),
    [
        ("mean", np.mean),
        ("max", np.max),
        ("median", np.median),
        ("sd", lambda v, axis: np.std(v, axis=axis, ddof=1)),
    ],
)
def test_reducing_time(result: Any, reducer: str, numpy: Callable[..., Any]) -> None:
    got = result(lambda g, c: g.reduce_dimension(data=c, dimension="t", reducer=on_data(reducer)))
    np.testing.assert_allclose(got.B02, numpy(truth("B02").astype(float), axis=0), rtol=1e-5)


def ndvi_callback() -> dict[str, Any]:
    data = {"from_parameter": "data"}
    return {
        "process_graph": {
            "n": {"process_id": "array_element", "arguments": {"data": data, "label": "B08"}},
            "r": {"process_id": "array_element", "arguments": {"data": data, "label": "B04"}},
            "d": {
                "process_id": "normalized_difference",
                "arguments": {"x": {"from_node": "n"}, "y": {"from_node": "r"}},
                "result": True,
            },
        }
    }


def test_reducing_bands_reads_only_those_picked(tmp_path: Path) -> None:
    from support.fake_source import FakeReader

    reader = FakeReader()
    g = Graph()
    c = load(g, ["B02", "B04", "B08"], PLACE)
    c = g.reduce_dimension(data=c, dimension="bands", reducer=ndvi_callback())
    c = g.add_dimension(data=c, name="bands", label="NDVI")
    run(g.result(c), tmp_path, reader=reader)
    a, b = truth("B08").astype(float), truth("B04").astype(float)
    got = dataset(tmp_path / "openEO.nc")
    np.testing.assert_allclose(got.NDVI, (a - b) / (a + b), rtol=1e-5)
    assert reader.reads == [(("B04", "B08"), (SIZE, SIZE))]


def test_ndvi(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        names = {"source": ["B04", "B08"], "target": ["S2-L2A-B04", "S2-L2A-B08"]}
        c = g.rename_labels(data=c, dimension="bands", **names)
        return g.ndvi(data=c, target_band="NDVI")

    got = result(chain, ("B04", "B08"))
    a, b = truth("B08").astype(float), truth("B04").astype(float)
    np.testing.assert_allclose(got.NDVI, (a - b) / (a + b), rtol=1e-5)
    np.testing.assert_allclose(got["S2-L2A-B04"], b)


def test_apply_dimension_along_time_keeps_dates(result: Any) -> None:
    got = result(lambda g, c: g.apply_dimension(data=c, dimension="t", process=on_data("cumsum")))
    np.testing.assert_array_equal(got.t.values, np.asarray(DAYS, "datetime64[ns]"))
    np.testing.assert_allclose(got.B02, np.cumsum(truth("B02").astype(float), axis=0))


def test_apply_dimension_from_time_into_bands(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        c = g.apply_dimension(
            data=c, dimension="t", target_dimension="bands",
            process=on_data("quantiles", probabilities=[0.25, 0.75]),
        )  # fmt: skip
        return g.rename_labels(data=c, dimension="bands", target=["a25", "a75", "b25", "b75"])

    got = result(chain)
    np.testing.assert_allclose(got.b75, np.quantile(truth("B04"), 0.75, axis=0), rtol=1e-5)
    np.testing.assert_allclose(got.a25, np.quantile(truth("B02"), 0.25, axis=0), rtol=1e-5)


def test_periods_have_dates_and_none_is_left_out(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        reducer = on_data("mean")
        return g.aggregate_temporal_period(data=c, period="dekad", reducer=reducer)

    got = result(chain, collection=FakeCollection(count=2))
    assert [str(t)[:10] for t in got.t.values] == ["2022-01-01", "2022-01-11", "2022-01-21"]
    np.testing.assert_allclose(got.B02[0], truth("B02")[:2].mean(axis=0))
    assert np.isnan(got.B02[1:]).all()


def test_interpolation_fills_a_period(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        first = g.filter_temporal(data=c, extent=["2022-01-01", "2022-01-05"])
        last = g.filter_temporal(data=c, extent=["2022-01-25", "2022-02-01"])
        c = g.merge_cubes(cube1=first, cube2=last)
        c = g.aggregate_temporal_period(data=c, period="dekad", reducer=on_data("first"))
        process = on_data("array_interpolate_linear")
        return g.apply_dimension(data=c, dimension="t", process=process)

    got = result(chain)
    values = truth("B02").astype(float)
    np.testing.assert_allclose(got.B02[1], (values[0] + values[5]) / 2)


def test_aggregate_temporal_by_intervals(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        intervals = [["2022-01-01", "2022-01-11"], ["2022-01-11", "2022-02-01"]]
        return g.aggregate_temporal(data=c, intervals=intervals, reducer=on_data("max"))

    got = result(chain)
    assert [str(t)[:10] for t in got.t.values] == ["2022-01-01", "2022-01-11"]
    np.testing.assert_allclose(got.B04[1], truth("B04")[2:].max(axis=0))


def test_a_mask_hides(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        high = g.apply(data=g.filter_bands(data=c, bands=["B04"]), process=on_x("gt", y=2000))
        return g.mask(data=c, mask=high)

    got = result(chain)
    high = truth("B04") > 2000
    np.testing.assert_array_equal(unsigned(got.B02), np.where(high, 65535, truth("B02")))


def test_a_mask_replaces(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        high = g.reduce_dimension(
            data=g.apply(data=c, process=on_x("gt", y=2000)), dimension="bands",
            reducer=on_data("any"),
        )  # fmt: skip
        return g.mask(data=c, mask=high, replacement=7)

    got = result(chain)
    high = (truth("B02") > 2000) | (truth("B04") > 2000)
    np.testing.assert_array_equal(unsigned(got.B02), np.where(high, 7, truth("B02")))


@pytest.mark.parametrize("inside", [False, True])
def test_polygon_masks(result: Any, inside: bool) -> None:
    shape = box_geojson((WEST, NORTH - 40, WEST + 40, NORTH))
    got = result(lambda g, c: g.mask_polygon(data=c, mask=shape, inside=inside))
    held = np.zeros((SIZE, SIZE), dtype=bool)
    held[:4, :4] = True
    expected = np.where(held == inside, 65535, truth("B02"))
    np.testing.assert_array_equal(unsigned(got.B02), expected)


def test_merging_bands_of_other_types(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        signed = g.apply(data=c, process=on_x("subtract", y=5000))
        signed = g.rename_labels(data=signed, dimension="bands", target=["a", "b"])
        return g.merge_cubes(cube1=c, cube2=signed)

    got = result(chain)
    assert [v for v in got.data_vars if v != "crs"] == ["B02", "B04", "a", "b"]
    np.testing.assert_allclose(got.B02, truth("B02"))
    np.testing.assert_allclose(got.b, truth("B04").astype(float) - 5000)


def test_merging_dates_that_only_one_cube_has(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        b04 = g.filter_temporal(
            data=g.filter_bands(data=c, bands=["B04"]), extent=["2022-01-10", "2022-01-20"]
        )
        return g.merge_cubes(cube1=g.filter_bands(data=c, bands=["B02"]), cube2=b04)

    got = result(chain)
    assert len(got.t) == 6
    expected = truth("B04")
    expected[[0, 1, 4, 5]] = 65535
    np.testing.assert_array_equal(unsigned(got.B04), expected)
    np.testing.assert_array_equal(unsigned(got.B02), truth("B02"))


def test_overlaps_are_resolved(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        double = g.apply(data=c, process=on_x("multiply", y=2))
        resolver = callback("max", data=[{"from_parameter": "x"}, {"from_parameter": "y"}])
        return g.merge_cubes(cube1=c, cube2=double, overlap_resolver=resolver)

    np.testing.assert_allclose(result(chain).B04, truth("B04") * 2.0)


def test_a_cube_without_dates_is_joined_with_each_date(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        mean = g.reduce_dimension(data=c, dimension="t", reducer=on_data("mean"))
        minus = callback("subtract", x={"from_parameter": "x"}, y={"from_parameter": "y"})
        return g.merge_cubes(cube1=c, cube2=mean, overlap_resolver=minus)

    values = truth("B02").astype(float)
    np.testing.assert_allclose(result(chain).B02, values - values.mean(axis=0), atol=1e-3)


def test_an_overlap_without_resolver_is_refused(tmp_path: Path) -> None:
    g = Graph()
    c = load(g, ["B02"], PLACE)
    double = g.apply(data=c, process=on_x("multiply", y=2))
    with pytest.raises(OpenEOError) as caught:
        run(g.result(g.merge_cubes(cube1=c, cube2=double)), tmp_path)
    assert (caught.value.code, caught.value.node) == ("OverlapResolverMissing", "merge_cubes2")


def test_resampling_to_coarser_pixels(result: Any) -> None:
    got = result(lambda g, c: g.resample_spatial(data=c, resolution=20, method="average"), ("B04",))
    assert (got.x.values[0], got.y.values[0]) == (WEST + 10, NORTH - 10)
    blocks = truth("B04").astype(float).reshape(6, SIZE // 2, 2, SIZE // 2, 2).mean(axis=(2, 4))
    # GDAL averages integers to the nearest integer.
    np.testing.assert_allclose(unsigned(got.B04), blocks, atol=0.51)


def test_resampling_onto_another_cube(result: Any) -> None:
    def chain(g: Graph, c: Any) -> Any:
        scl = load(g, ["SCL"], PLACE)
        return g.merge_cubes(cube1=c, cube2=g.resample_cube_spatial(data=scl, target=c))

    np.testing.assert_array_equal(unsigned(result(chain).SCL), truth("SCL"))


def test_single_pixel_neighbourhoods_work_along_time(result: Any) -> None:
    """The best pixel of each dekad: 1 where a value is not the dekad's largest."""
    best = callback(
        "array_apply",
        data={"from_parameter": "data"},
        process={
            "process_graph": {
                "m": {"process_id": "max", "arguments": {"data": {"from_parameter": "data"}}},
                "n": {
                    "process_id": "neq",
                    "arguments": {"x": {"from_parameter": "x"}, "y": {"from_node": "m"}},
                    "result": True,
                },
            }
        },
    )
    size = [{"dimension": d, "unit": "px", "value": 1} for d in "xy"]
    size.append({"dimension": "t", "value": "dekad"})
    got = result(lambda g, c: g.apply_neighborhood(data=c, process=best, size=size))
    values = truth("B02").reshape(3, 2, SIZE, SIZE)  # two dates in each dekad of January
    expected = (values != values.max(axis=1, keepdims=True)).reshape(6, SIZE, SIZE)
    np.testing.assert_array_equal(got.B02, expected)


SHAPE_UDF = """
import numpy as np
from openeo.udf import XarrayDataCube

def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:
    array = cube.get_array()
    assert array.dims == ("t", "bands", "y", "x")
    size = np.full(array.shape, float(array.shape[-1]))
    return XarrayDataCube(array.copy(data=size + context["add"]))
"""


def run_udf(code: str, **context: Any) -> dict[str, Any]:
    data = {"from_parameter": "data"}
    return callback("run_udf", data=data, udf=code, runtime="Python", context=context)


def test_udfs_get_chunks_with_overlap(result: Any) -> None:
    size = [{"dimension": d, "unit": "px", "value": 8} for d in "xy"]
    overlap = [{"dimension": d, "unit": "m", "value": 20} for d in "xy"]
    got = result(
        lambda g, c: g.apply_neighborhood(
            data=c, process=run_udf(SHAPE_UDF, add=0), size=size, overlap=overlap
        )
    )
    assert np.unique(got.B02.values[..., :8]).tolist() == [8 + 4]
    assert np.unique(got.B02.values[..., 8:]).tolist() == [4 + 4]  # cut at the extent's edge


@pytest.mark.parametrize("where", ["apply", "direct", "apply_dimension"])
def test_udfs_elsewhere(result: Any, where: str) -> None:
    def chain(g: Graph, c: Any) -> Any:
        if where == "direct":
            return g.run_udf(data=c, udf=SHAPE_UDF, runtime="Python", context={"add": 1})
        udf = run_udf(SHAPE_UDF, add=1)
        if where == "apply":
            udf["process_graph"]["run_udf"]["arguments"]["data"] = {"from_parameter": "x"}
            return g.apply(data=c, process=udf)
        return g.apply_dimension(data=c, dimension="t", process=udf)

    assert (result(chain).B04 == SIZE + 1).all()


def test_a_udf_in_a_file(result: Any, tmp_path: Path) -> None:
    (tmp_path / "shape.py").write_text(SHAPE_UDF)
    udf = run_udf(str(tmp_path / "shape.py"), add=2)
    got = result(lambda g, c: g.apply_dimension(data=c, dimension="t", process=udf))
    assert (got.B04 == SIZE + 2).all()


def test_an_error_in_a_udf_is_told_with_the_node(tmp_path: Path) -> None:
    g = Graph()
    c = g.run_udf(data=load(g, ["B02"], PLACE), udf=SHAPE_UDF, runtime="Python", context={})
    with pytest.raises(OpenEOError, match="add") as caught:
        run(g.result(c), tmp_path)
    assert caught.value.node == "run_udf1"


def test_property_filters_choose_scenes(tmp_path: Path) -> None:
    g = Graph()
    value = {"from_parameter": "value"}
    clear = {"eo:cloud_cover": callback("lte", x=value, y=20)}
    run(g.result(load(g, ["B02"], PLACE, properties=clear)), tmp_path)
    assert len(dataset(tmp_path / "openEO.nc").t) == 3


def test_no_scenes_is_an_error(tmp_path: Path) -> None:
    g = Graph()
    with pytest.raises(OpenEOError, match="no scenes") as caught:
        run(g.result(load(g, ["B02"], PLACE, ["2021-01-01", "2021-02-01"])), tmp_path)
    assert (caught.value.code, caught.value.node) == ("NoDataAvailable", "load_collection0")


def test_plain_values_are_json(tmp_path: Path) -> None:
    g = Graph()
    (asset,) = run(g.result(g.add(x=1, y=g.multiply(x=2, y=3))), tmp_path).assets
    assert asset.media_type == "application/json"
    assert (tmp_path / asset.name).read_text() == "7"


def test_geotiffs_are_one_per_date(tmp_path: Path) -> None:
    import rasterio

    g = Graph()
    saved = g.save_result(data=load(g, ["B02"], PLACE, MONTH), format="GTiff")
    assets = run(g.result(saved), tmp_path).assets
    assert len(assets) == 6
    with rasterio.open(tmp_path / assets[0].name) as file:
        np.testing.assert_array_equal(file.read(1), truth("B02")[0])
