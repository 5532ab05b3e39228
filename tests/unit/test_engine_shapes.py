"""Cube processes that look around themselves, change a cube's shape, or make several results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
from scipy import ndimage

from openeo_gfmap.local.engine import validate
from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import FakeCatalog, FakeCollection, FakeReader, pixel_values
from support.graphs import (
    MONTH,
    Graph,
    box_geojson,
    callback,
    dataset,
    geojson,
    load,
    on_data,
    on_x,
    run,
    utm_box,
)

WEST, NORTH = 500_000, 5_600_000
WIDTH, HEIGHT = 24, 16
PLACE = utm_box(WEST, NORTH - 10 * HEIGHT, 10 * WIDTH, 10 * HEIGHT)
DAYS = pd.date_range("2022-01-01", periods=6, freq="5D").to_numpy()

Change = Callable[[Graph, Any], Any]


def truth(band: str = "B02", margin: int = 0) -> np.ndarray:
    """Pixels of the place, and of some around it, with dims (t, y, x)."""
    x = WEST + 10 * (np.arange(-margin, WIDTH + margin) + 0.5)
    y = NORTH - 10 * (np.arange(-margin, HEIGHT + margin) + 0.5)
    xx, yy = np.meshgrid(x, y)
    return np.stack([pixel_values(band, day, xx, yy) for day in DAYS]).astype("float64")


@pytest.fixture
def result(tmp_path: Path) -> Callable[[Change], xr.Dataset]:
    def made(change: Change, bands: tuple[str, ...] = ("B02", "B03")) -> xr.Dataset:
        g = Graph()
        run(g.result(change(g, load(g, bands, PLACE))), tmp_path, fetch=Path)
        return dataset(tmp_path / "openEO.nc")

    return made


def problem(change: Change) -> OpenEOError:
    g = Graph()
    (found,) = validate(g.result(change(g, load(g, ["B02", "B03"], PLACE))), catalog=FakeCatalog())
    return found


KERNEL = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_a_kernel_sees_real_pixels_beyond_the_extent(result: Any) -> None:
    got = result(lambda g, c: g.apply_kernel(data=c, kernel=KERNEL, factor=0.5))
    wanted = ndimage.correlate(truth(margin=1), np.asarray(KERNEL, float)[None], mode="constant")
    np.testing.assert_allclose(got.B02, 0.5 * wanted[:, 1:-1, 1:-1], rtol=1e-12)


@pytest.mark.parametrize(
    ("border", "mode"),
    [("replicate", "nearest"), ("reflect", "reflect"), ("reflect_pixel", "mirror"),
     ("wrap", "grid-wrap")],
)  # fmt: skip
def test_named_borders_stay_inside_the_extent(result: Any, border: str, mode: str) -> None:
    kernel = np.arange(35.0).reshape(5, 7).tolist()
    got = result(lambda g, c: g.apply_kernel(data=c, kernel=kernel, border=border))
    wanted = ndimage.correlate(truth(), np.asarray(kernel)[None], mode=mode)
    np.testing.assert_allclose(got.B02, wanted, rtol=1e-12)


def test_a_large_kernel_gives_the_sums_of_products(result: Any) -> None:
    kernel = np.random.default_rng(0).normal(size=(21, 23)).tolist()
    got = result(lambda g, c: g.apply_kernel(data=c, kernel=kernel))
    wanted = ndimage.correlate(truth(margin=11), np.asarray(kernel)[None], mode="constant")
    np.testing.assert_allclose(got.B02, wanted[:, 11:-11, 11:-11], atol=1e-7)


def chunks(x: int, y: int) -> list[dict[str, Any]]:
    return [{"dimension": d, "unit": "px", "value": v} for d, v in (("x", x), ("y", y))]


def test_reducers_give_one_value_for_each_chunk(result: Any) -> None:
    got = result(lambda g, c: g.apply_neighborhood(
        data=c, size=chunks(8, 4), process=on_data("mean")))  # fmt: skip
    blocks = truth().reshape(6, 4, 4, 3, 8).mean(axis=(0, 2, 4))
    wanted = np.broadcast_to(np.kron(blocks, np.ones((4, 8))), (6, HEIGHT, WIDTH))
    np.testing.assert_allclose(got.B02, wanted, rtol=1e-5)


def test_callbacks_on_chunks_may_give_as_many_values(result: Any) -> None:
    size = [*chunks(8, 8), {"dimension": "t", "value": "month"}]
    doubled = callback(
        "array_apply", data={"from_parameter": "data"}, process=on_x("multiply", y=2)
    )
    got = result(lambda g, c: g.apply_neighborhood(
        data=c, size=size, overlap=chunks(2, 2), process=doubled))  # fmt: skip
    np.testing.assert_allclose(got.B02, 2 * truth())


FIELDS = box_geojson(
    (WEST + 20, NORTH - 60, WEST + 60, NORTH - 20), (WEST + 100, NORTH - 150, WEST + 220, NORTH)
)


@pytest.mark.parametrize(
    ("process", "name"), [("apply_polygon", "geometries"), ("chunk_polygon", "chunks")]
)
def test_callbacks_on_polygons(result: Any, process: str, name: str) -> None:
    def change(g: Graph, c: Any) -> Any:
        return getattr(g, process)(data=c, process=on_data("max"), **{name: FIELDS})

    got = result(change).B02.values
    wanted = np.full((HEIGHT, WIDTH), np.nan)
    for rows, columns in ((slice(2, 6), slice(2, 6)), (slice(0, 15), slice(10, 22))):
        wanted[rows, columns] = truth()[:, rows, columns].max()
    np.testing.assert_array_equal(got, np.broadcast_to(wanted, got.shape).astype("float32"))


def test_polygons_that_share_pixels_are_refused(tmp_path: Path) -> None:
    g = Graph()
    twice = box_geojson((WEST, NORTH - 50, WEST + 50, NORTH), (WEST, NORTH - 90, WEST + 20, NORTH))
    ref = g.apply_polygon(data=load(g, ["B02"], PLACE), geometries=twice, process=on_data("max"))
    with pytest.raises(OpenEOError, match="share pixels") as caught:
        run(g.result(ref), tmp_path)
    assert caught.value.code == "GeometriesOverlap"


@pytest.mark.parametrize(
    ("align", "corner"),
    [("lower-left", (0, -160)), ("lower-right", (240, -160)), ("upper-right", (240, 0))],
)
def test_a_grid_can_be_aligned_to_a_corner(result: Any, align: str, corner: Any) -> None:
    got = result(lambda g, c: g.resample_spatial(data=c, resolution=35, align=align))
    for values, line, first in ((got.x, corner[0], WEST), (got.y, corner[1], NORTH)):
        steps = (values.values - 17.5 - first - line) / 35
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)


def test_dates_of_another_cube(result: Any) -> None:
    def change(g: Graph, c: Any) -> Any:
        monthly = g.aggregate_temporal(
            data=c, reducer=on_data("mean"), intervals=[["2022-01-01", "2022-01-09"],
                                                        ["2022-01-09", "2022-02-01"]])  # fmt: skip
        return g.resample_cube_temporal(data=c, target=monthly)

    got = result(change)
    assert got.t.values.astype("datetime64[D]").astype(str).tolist() == ["2022-01-01", "2022-01-09"]
    assert got.B02.dtype == np.int16  # nothing was computed: still the unsigned integers
    np.testing.assert_array_equal(got.B02.values.view("uint16"), truth()[[0, 2]])


def test_the_nearest_valid_value_within_some_days(result: Any) -> None:
    def change(g: Graph, c: Any) -> Any:
        odd = callback("gt", x={"from_parameter": "x"}, y=2000)
        holes = g.mask(data=c, mask=g.apply(data=c, process=odd))
        return g.resample_cube_temporal(data=holes, target=g.aggregate_temporal(
            data=c, reducer=on_data("first"), intervals=[["2022-01-12", "2022-02-01"]]),
            valid_within=7)  # fmt: skip

    data = np.where(truth() > 2000, np.nan, truth())
    near = [2, 3, 1]  # the 11th is 1 day away, the 16th 4, the 6th 6 of the 12th
    wanted = np.full(data.shape[1:], np.nan)
    for k in near:
        wanted = np.where(np.isnan(wanted), data[k], wanted)
    np.testing.assert_array_equal(result(change).B02.values[0], wanted)


def test_dimensions_are_flattened_and_split_again(result: Any) -> None:
    def change(g: Graph, c: Any) -> Any:
        flat = g.flatten_dimensions(data=c, dimensions=["bands", "t"], target_dimension="both")
        split = g.unflatten_dimension(data=flat, dimension="both", target_dimensions=["b", "time"])
        return g.rename_dimension(
            data=g.rename_dimension(data=split, source="time", target="when"),
            source="b", target="what",
        )  # fmt: skip

    got = result(change)
    (values,) = (v for v in got.data_vars.values() if v.ndim == 4)
    values = values.transpose("what", "when", "y", "x")
    assert values.what.values.astype(str).tolist() == ["B02", "B03"]
    np.testing.assert_array_equal(values.values.view("uint16")[0], truth())


def test_a_dimension_keeps_its_type_under_another_name(result: Any) -> None:
    def change(g: Graph, c: Any) -> Any:
        renamed = g.rename_dimension(data=c, source="t", target="when")
        late = g.filter_temporal(data=renamed, extent=["2022-01-10", None])
        back = g.rename_dimension(data=late, source="when", target="t")
        return g.aggregate_temporal_period(data=back, period="month", reducer=on_data("mean"))

    np.testing.assert_allclose(result(change).B02.values[0], truth()[2:].mean(0), rtol=1e-5)


def test_bands_are_chosen_by_a_condition(result: Any) -> None:
    def change(g: Graph, c: Any) -> Any:
        two = callback("text_ends", data={"from_parameter": "value"}, pattern="2")
        return g.filter_labels(data=c, condition=two, dimension="bands")

    assert set(result(change).data_vars) == {"B02", "crs"}


def test_trimming_removes_what_is_empty_for_a_feature(tmp_path: Path) -> None:
    g = Graph()
    only = g.aggregate_temporal(
        data=load(g, ["B02"]),
        intervals=[["2021-01-01", "2021-02-01"], ["2022-01-01", "2022-02-01"]],
        reducer=on_data("mean"),
    )
    cube = g.filter_spatial(data=g.trim_cube(data=only), geometries=FIELDS)
    saved = g.save_result(data=cube, format="NetCDF", options={"sample_by_feature": True})
    run(g.result(saved), tmp_path)
    assert dataset(tmp_path / "openEO_0.nc").sizes["t"] == 1


def test_several_results(tmp_path: Path) -> None:
    g = Graph()
    cube = load(g, ["B02"], PLACE)
    mean = g.reduce_dimension(data=cube, dimension="t", reducer=on_data("mean"))
    table = g.aggregate_spatial(data=cube, geometries=FIELDS, reducer=on_data("max"))
    g.save_result(data=mean, format="GTiff")
    g.save_result(data=table, format="CSV", options={"filename_prefix": "fields"})
    g.save_result(data=table, format="JSON", options={"filename_prefix": "fields"})
    seen: list[float] = []
    made = run(g.result(g.save_result(data=cube, format="NetCDF")), tmp_path, progress=seen.append)
    assert [a.name for a in made.assets] == [
        "openEO.nc", "openEO_save_result3.tif", "fields.csv", "fields_save_result5.json",
    ]  # fmt: skip
    assert all((tmp_path / a.name).is_file() for a in made.assets)
    assert seen == sorted(seen)
    assert seen[-1] == 100


def test_counts_of_pixels_beside_the_values_of_features(tmp_path: Path) -> None:
    g = Graph()
    cube = g.filter_bbox(data=load(g, ["B02"]), extent=utm_box(WEST, NORTH - 160, 50, 160))
    table = g.aggregate_spatial(
        data=cube, geometries=FIELDS, reducer=on_data("mean"), target_dimension="what"
    )
    run(g.result(g.save_result(data=table, format="CSV")), tmp_path)
    rows = pd.read_csv(tmp_path / "openEO.csv")
    first = rows[rows.feature_index == 0].iloc[0]
    inside = truth()[0, 2:6, 2:5]
    assert first["B02_value"] == pytest.approx(inside.mean())
    assert (first["B02_total_count"], first["B02_valid_count"]) == (16, 12)


def test_processes_on_values_per_feature(tmp_path: Path) -> None:
    g = Graph()
    table = g.aggregate_spatial(
        data=load(g, ["B02", "B03"]), geometries=FIELDS, reducer=on_data("mean")
    )
    halved = g.apply(data=table, process=on_x("divide", y=2))
    named = g.rename_labels(data=halved, dimension="bands", target=["a", "b"])
    month = g.aggregate_temporal_period(data=named, period="month", reducer=on_data("max"))
    run(g.result(g.save_result(data=month, format="CSV")), tmp_path)
    rows = pd.read_csv(tmp_path / "openEO.csv")
    assert rows.a[0] == pytest.approx(truth()[:, 2:6, 2:6].mean(axis=(1, 2)).max() / 2)
    assert {"a", "b"} < set(rows.columns)


def test_values_per_feature_have_no_pixels() -> None:
    error = problem(lambda g, c: g.resample_spatial(
        data=g.aggregate_spatial(data=c, geometries=FIELDS, reducer=on_data("mean")),
        resolution=20))  # fmt: skip
    assert error.code == "DimensionMissing"
    assert "has no pixels" in error.message


def test_space_is_reduced_to_one_value(tmp_path: Path) -> None:
    g = Graph()
    ref = g.reduce_spatial(data=load(g, ["B02"], PLACE), reducer=on_data("mean"))
    run(g.result(g.save_result(data=ref, format="JSON")), tmp_path)
    found = json.loads((tmp_path / "openEO.json").read_text("utf-8"))
    assert found["2022-01-01T00:00:00Z"] == [[pytest.approx(truth()[0].mean())]]


def test_features_become_pixels(tmp_path: Path) -> None:
    fields = json.loads(json.dumps(FIELDS))
    for feature, share in zip(fields["features"], (1, 0.5), strict=True):
        feature["properties"] |= {"code": 7, "share": share}
    g = Graph()
    raster = g.vector_to_raster(data=g.load_geojson(data=fields), target=load(g, ["B02"], PLACE))
    run(g.result(raster), tmp_path)
    got = dataset(tmp_path / "openEO.nc")
    assert set(got.data_vars) == {"code", "share", "crs"}
    wanted = np.full((HEIGHT, WIDTH), np.nan)
    wanted[2:6, 2:6], wanted[0:15, 10:22] = 1, 0.5
    np.testing.assert_array_equal(got["share"], wanted)


def test_values_of_features_become_pixels(tmp_path: Path) -> None:
    """As composites by rank do it: a score of each date, from the share of its clear pixels."""
    g = Graph()
    data = load(g, ["B02", "B03"], PLACE)
    means = g.aggregate_spatial(data=data, geometries=FIELDS, reducer=on_data("mean"))
    scores = g.rename_labels(
        data=g.apply(data=means, process=on_x("multiply", y=2)),
        dimension="bands", target=["twice02", "twice03"],
    )  # fmt: skip
    raster = g.vector_to_raster(data=scores, target=data)
    run(g.result(g.merge_cubes(cube1=data, cube2=raster)), tmp_path)
    got = dataset(tmp_path / "openEO.nc")
    assert set(got.data_vars) == {"B02", "B03", "twice02", "twice03", "crs"}
    for name, band in (("twice02", "B02"), ("twice03", "B03")):
        wanted = np.full((len(DAYS), HEIGHT, WIDTH), np.nan)
        for place in ((slice(2, 6), slice(2, 6)), (slice(0, 15), slice(10, 22))):
            inside = truth(band)[(slice(None), *place)]
            wanted[(slice(None), *place)] = 2 * inside.mean(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(got[name], wanted)
    np.testing.assert_array_equal(got.B02, truth())


def test_values_of_features_become_pixels_of_each_feature(tmp_path: Path) -> None:
    """In windows by feature, too, where each asks for the values of those it touches."""
    g = Graph()
    data = load(g, ["B02"], PLACE)
    high = g.aggregate_spatial(data=data, geometries=FIELDS, reducer=on_data("max"))
    raster = g.filter_spatial(data=g.vector_to_raster(data=high, target=data), geometries=FIELDS)
    options = {"sample_by_feature": True}
    run(g.result(g.save_result(data=raster, format="NetCDF", options=options)), tmp_path)
    for name, place in (
        ("openEO_0", (slice(2, 6), slice(2, 6))),
        ("openEO_1", (slice(0, 15), slice(10, 22))),
    ):
        wanted = truth()[(slice(None), *place)].max(axis=(1, 2))
        found = dataset(tmp_path / f"{name}.nc").B02
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.max(("y", "x")), wanted)
        np.testing.assert_allclose(found.min(("y", "x")), wanted)


def test_inspect_writes_to_the_log(tmp_path: Path) -> None:
    g = Graph()
    lines: list[tuple[str, str]] = []
    cube = g.inspect(data=load(g, ["B02"], PLACE), message="here", level="warning")
    run(g.result(cube), tmp_path, log=lambda level, text: lines.append((level, text)))
    ((level, text),) = [line for line in lines if "here" in line[1]]
    assert level == "warning"
    assert "bands B02" in text
    assert dataset(tmp_path / "openEO.nc").B02.shape == (6, HEIGHT, WIDTH)


def test_inspect_writes_values_out(tmp_path: Path) -> None:
    g = Graph()
    lines: list[str] = []
    ref = g.inspect(data=g.add(x=1, y=2), code="SUM")
    run(g.result(ref), tmp_path, log=lambda level, text: lines.append(text))
    assert sum("SUM" in line and line.endswith("| 3") for line in lines) == 1
    assert json.loads((tmp_path / "openEO.json").read_text("utf-8")) == 3


def test_labels_that_are_known_before_reading() -> None:
    g = Graph()
    labels = g.dimension_labels(data=load(g, ["B02"], PLACE), dimension="x")
    graph = g.result(g.array_element(data=labels, index=1))
    assert validate(graph, catalog=FakeCatalog()) == []
    assert "dates" not in problem(lambda g, c: g.dimension_labels(data=c, dimension="t")).message


def test_labels_can_be_the_result(tmp_path: Path) -> None:
    g = Graph()
    labels = g.dimension_labels(data=load(g, ["B03", "B02"], PLACE), dimension="bands")
    run(g.result(labels), tmp_path)
    assert json.loads((tmp_path / "openEO.json").read_text("utf-8")) == ["B03", "B02"]


@pytest.mark.parametrize("reducer", ["reduce_spatial", "reduce_dimension"])
def test_reducers_give_one_number(tmp_path: Path, reducer: str) -> None:
    g = Graph()
    more = {"dimension": "t"} if reducer == "reduce_dimension" else {}
    quantiles = on_data("quantiles", probabilities=[0.1, 0.5])
    ref = getattr(g, reducer)(data=load(g, ["B02"], PLACE), reducer=quantiles, **more)
    with pytest.raises(OpenEOError, match="gave an array of 2 values instead of one number"):
        run(g.result(ref), tmp_path)


REFUSED: dict[str, tuple[Change, str]] = {
    "kernel of even size": (
        lambda g, c: g.apply_kernel(data=c, kernel=[[1, 1]]), "KernelDimensionsUneven"),
    "kernel of texts": (
        lambda g, c: g.apply_kernel(data=c, kernel=[["a"]]), "ProcessParameterInvalid"),
    "kernel of ragged rows": (
        lambda g, c: g.apply_kernel(data=c, kernel=[[1], [1, 2, 3], [1]]),
        "ProcessParameterInvalid"),
    "unknown border": (
        lambda g, c: g.apply_kernel(data=c, kernel=[[1]], border="mirror"),
        "ProcessParameterInvalid"),
    "unknown corner": (
        lambda g, c: g.resample_spatial(data=c, resolution=20, align="middle"),
        "ProcessParameterInvalid"),
    "backscatter that cannot be made": (
        lambda g, c: g.sar_backscatter(data=c, coefficient="sigma0-ellipsoid"),
        "ProcessParameterInvalid"),
    "backscatter with further bands": (
        lambda g, c: g.sar_backscatter(data=c, mask=True), "ProcessParameterInvalid"),
    "flattened onto a name that is taken": (
        lambda g, c: g.flatten_dimensions(data=c, dimensions=["t"], target_dimension="bands"),
        "TargetDimensionExists"),
    "flattened space": (
        lambda g, c: g.flatten_dimensions(data=c, dimensions=["x", "y"], target_dimension="p"),
        "ProcessParameterInvalid"),
    "no common time": (
        lambda g, c: g.resample_cube_temporal(
            data=c, target=g.reduce_dimension(data=c, dimension="t", reducer=on_data("mean"))),
        "DimensionMismatch"),
    "cubes as features": (
        lambda g, c: g.vector_buffer(geometries=c, distance=10), "ProcessParameterInvalid"),
    "buffer in degrees": (
        lambda g, c: g.filter_spatial(data=c, geometries=g.vector_buffer(
            geometries=geojson(shapely.box(5, 50, 5.1, 50.1)), distance=10)), "UnitMismatch"),
    "raster of features without numbers": (
        lambda g, c: g.vector_to_raster(data=FIELDS, target=c), "ProcessParameterInvalid"),
    "a second name for a type": (
        lambda g, c: g.rename_dimension(data=c, source="bands", target="t2"), ""),
    "bands called t": (
        lambda g, c: g.rename_dimension(
            data=g.drop_dimension(data=g.reduce_dimension(
                data=g.add_dimension(data=c, name="q", label="a"), dimension="t",
                reducer=on_data("mean")), name="q"), source="bands", target="t"),
        "ProcessParameterInvalid"),
    "a level that logs do not have": (
        lambda g, c: g.inspect(data=c, level="loud"), "ProcessParameterInvalid"),
    "two time axes and none named": (
        lambda g, c: g.aggregate_temporal_period(
            data=g.add_dimension(data=c, name="t2", label="2020-01-01", type="temporal"),
            period="month", reducer=on_data("mean")), "TooManyDimensions"),
    "names instead of distinct starts": (
        lambda g, c: g.aggregate_temporal(
            data=c, intervals=[["2022-01-01", "2022-01-05"], ["2022-01-01", "2022-01-09"]],
            reducer=on_data("mean")), "DistinctDimensionLabelsRequired"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_when_validated(name: str) -> None:
    change, code = REFUSED[name]
    g = Graph()
    found = validate(g.result(change(g, load(g, ["B02", "B03"], PLACE))), catalog=FakeCatalog())
    assert [e.code for e in found] == ([code] if code else [])
    assert all(e.node for e in found)


def test_no_pixels_are_read_for_the_dates_of_the_same_cube(tmp_path: Path) -> None:
    g = Graph()
    reader = FakeReader()
    cube = load(g, ["B02", "B03"], PLACE)
    one = g.filter_bands(data=cube, bands=["B02"])
    two = g.filter_bands(data=cube, bands=["B03"])
    run(g.result(g.resample_cube_temporal(data=one, target=two)), tmp_path, reader=reader)
    assert [bands for bands, _ in reader.reads] == [("B02",)]


def test_other_labels_are_joined(result: Any) -> None:
    def change(g: Graph, c: Any) -> Any:
        one = g.add_dimension(data=c, name="run", label=1)
        two = g.add_dimension(data=g.apply(data=c, process=on_x("add", y=1)), name="run", label=2)
        both = g.merge_cubes(cube1=one, cube2=two)
        return g.apply_dimension(data=both, dimension="run", process=on_data("cumsum"))

    got = result(change).B02
    assert got["run"].values.tolist() == [1, 2]
    last = got.sel(run=2).transpose("t", "y", "x")
    np.testing.assert_allclose(last, 2 * truth() + 1)


def test_periods_with_names_are_written(result: Any) -> None:
    got = result(lambda g, c: g.aggregate_temporal(
        data=c, reducer=on_data("mean"), labels=["early", "late"],
        intervals=[["2022-01-01", "2022-01-09"], ["2022-01-09", None]]))  # fmt: skip
    assert got.t.values.astype(str).tolist() == ["early", "late"]
    np.testing.assert_allclose(got.B02[1], truth()[2:].mean(axis=0), rtol=1e-5)


def test_processes_on_cubes_are_no_callbacks() -> None:
    error = problem(lambda g, c: g.reduce_dimension(
        data=c, dimension="t", reducer=on_data("filter_bands", bands=["B02"])))  # fmt: skip
    assert error.code == "ProcessParameterInvalid"
    assert "'filter_bands', which works on data cubes" in error.message


def test_values_of_other_features_are_not_joined() -> None:
    def change(g: Graph, c: Any) -> Any:
        other = box_geojson((WEST, NORTH - 50, WEST + 50, NORTH))
        one, two = (
            g.aggregate_spatial(data=c, geometries=f, reducer=on_data("mean"))
            for f in (FIELDS, other)
        )
        return g.merge_cubes(cube1=one, cube2=two, overlap_resolver=on_data("mean"))

    assert "the very same features" in problem(change).message


ANOMALY = """
from openeo.udf import XarrayDataCube

def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:
    array = cube.get_array()
    return XarrayDataCube(array - array.mean(dim="t"))
"""


def test_a_udf_gets_the_values_of_each_feature(tmp_path: Path) -> None:
    g = Graph()
    table = g.aggregate_spatial(
        data=load(g, ["B02", "B03"]), geometries=FIELDS, reducer=on_data("mean")
    )
    made = g.run_udf(data=table, udf=ANOMALY, runtime="Python")
    run(g.result(g.save_result(data=made, format="CSV")), tmp_path)
    rows = pd.read_csv(tmp_path / "openEO.csv")
    means = truth()[:, 2:6, 2:6].mean(axis=(1, 2))
    mine = rows[rows.feature_index == 0].B02
    np.testing.assert_allclose(mine, means - means.mean(), atol=1e-6)


def test_calibrated_backscatter_is_passed_on(tmp_path: Path) -> None:
    collection = FakeCollection(id="SENTINEL-1-RTC")

    def graph(**arguments: Any) -> dict[str, Any]:
        g = Graph()
        cube = g.load_collection(
            id=collection.id, spatial_extent=PLACE, temporal_extent=MONTH, bands=["B02"]
        )
        return g.result(g.sar_backscatter(data=cube, elevation_model="COPERNICUS_30", **arguments))

    run(graph(), tmp_path, collection=collection)
    got = dataset(tmp_path / "openEO.nc").B02.values
    np.testing.assert_array_equal(got.view("uint16"), truth())
    for coefficient in ("sigma0-ellipsoid", None):
        (error,) = validate(graph(coefficient=coefficient), catalog=FakeCatalog(collection))
        assert "the source holds gamma0-terrain" in error.message


def test_a_udf_does_not_get_features_without_values() -> None:
    error = problem(lambda g, c: g.run_udf(
        data=g.load_geojson(data=FIELDS), udf=ANOMALY, runtime="Python"))  # fmt: skip
    assert "must be a data cube" in error.message
