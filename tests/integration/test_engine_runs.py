"""Whole runs of the engine: patches, tables, tiles, process pools, and what is told on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from scipy.ndimage import distance_transform_cdt
from skimage.morphology import disk, erosion

from openeo_gfmap.local.engine import validate
from openeo_gfmap.local.engine.kernels import scl_dilation_mask
from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import FakeCatalog, FakeCollection, FakeReader, pixel_values
from support.graphs import MONTH, Graph, box_geojson, dataset, geojson, load, on_data, run, utm_box
from support.reference_graph import CLEAR, CLOUDY, NAMES, NATIVE, reference_graph

GENERATED = (
    "bap_masking_dekad", "bap_masking_quintad", "bap_score",
    "mean_dekad_linear_interpolation_uint16", "median_compositing_month",
    "s2_point_aggregate_spatial", "s2_polygon_cloudcover_property", "s2_polygon_samplebyfeature",
    "s2_polygon_wc_extraction", "s2_tile", "s2_tile_3035_20m", "s2_tile_scl_dilation",
)  # fmt: skip


@pytest.fixture
def polygons(tmp_path: Path) -> Path:
    """Three squares of 640 m in UTM 31N and a smaller triangle, as the pipeline uploads them."""
    squares = [shapely.box(x, 5600000, x + 640, 5600640) for x in (500000, 520000, 503000)]
    triangle = shapely.Polygon([(501003, 5601003), (501203, 5601003), (501003, 5601203)])
    frame = gpd.GeoDataFrame(
        {"sample_id": ["a", "b", "c", "d"]}, geometry=[*squares, triangle], crs=32631
    )
    path = tmp_path / "polygons.parquet"
    frame.to_parquet(path)
    return path


def centres(file: Any) -> tuple[Any, Any]:
    xx, yy = np.meshgrid(file.x.values, file.y.values)
    return xx, yy


def test_the_reference_pipeline(polygons: Path, tmp_path: Path) -> None:
    """Every band, the mask and the distance of every patch, against the scene computed whole."""
    graph = reference_graph(str(polygons), MONTH)
    assert validate(graph, catalog=FakeCatalog()) == []
    result = run(graph, tmp_path / "out")
    assert [a.name for a in result.assets] == [f"openEO_{i}.nc" for i in range(4)]
    assert [a.feature for a in result.assets] == [0, 1, 2, 3]
    assert all(a.proj_shape == (64, 64) and a.proj_epsg == 32631 for a in result.assets[:3])
    assert result.derived_from == tuple(f"scene-{i}" for i in range(6))

    for asset in result.assets[:3]:
        file = dataset(tmp_path / "out" / asset.name)
        xx, yy = centres(file)
        reach = 100  # pixels of the scene around the patch
        wide_x = file.x.values[0] + 10 * np.arange(-reach, 64 + reach)
        wide_y = file.y.values[0] - 10 * np.arange(-reach, 64 + reach)
        wide = np.meshgrid(wide_x, wide_y)
        for i, day in enumerate(file.t.values):
            for native, name in zip(NATIVE, NAMES, strict=True):
                expected = pixel_values(native, day, xx, yy)
                np.testing.assert_array_equal(file[name][i].values.view("uint16"), expected)
            scene = pixel_values("SCL", day, *wide)
            mask = scl_dilation_mask(scene, None, 17, 77, CLEAR, CLOUDY, 3)
            inner = slice(reach, -reach)
            np.testing.assert_array_equal(file["S2-L2A-SCL_DILATED_MASK"][i], mask[inner, inner])
            # The UDF sees 16 pixels around the patch.
            near = scene[reach - 16 : 16 - reach, reach - 16 : 16 - reach]
            np.testing.assert_array_equal(
                file["S2-L2A-DISTANCE-TO-CLOUD"][i].values.view("uint16"), distance(near)
            )


def distance(scl: np.ndarray[Any, Any]) -> Any:
    """Chessboard distance to cloud of a frame, its 16 pixels of overlap cut off."""
    cloud = np.isin(scl, [3, 8, 9, 10])
    clear = ~erosion(cloud, disk(3)).astype(bool)
    if clear.all():
        return np.zeros([n - 32 for n in scl.shape])  # -1, clipped at 0
    return distance_transform_cdt(clear)[16:-16, 16:-16]


def test_only_the_polygon_itself_has_values(polygons: Path, tmp_path: Path) -> None:
    run(reference_graph(str(polygons), MONTH), tmp_path / "out")
    file = dataset(tmp_path / "out" / "openEO_3.nc")
    triangle = gpd.read_parquet(polygons).geometry[3]
    xx, yy = centres(file)
    inside = shapely.contains_xy(triangle, xx, yy)
    assert (file.sizes["y"], file.sizes["x"]) == (21, 21)
    for name in (*NAMES, "S2-L2A-SCL_DILATED_MASK", "S2-L2A-DISTANCE-TO-CLOUD"):
        values = file[name].values.view("uint16")
        assert ((values == 65535) == ~inside).all()


def test_dates_without_data_for_a_feature_are_dropped(polygons: Path, tmp_path: Path) -> None:
    collection = FakeCollection(west_only=frozenset({1, 3}), edge=510000)
    run(reference_graph(str(polygons), MONTH), tmp_path, collection=collection)
    assert len(dataset(tmp_path / "openEO_0.nc").t) == 6
    days = [str(t)[8:10] for t in dataset(tmp_path / "openEO_1.nc").t.values]
    assert days == ["01", "11", "21", "26"]


def test_a_feature_without_data_is_told_and_has_no_file(polygons: Path, tmp_path: Path) -> None:
    log: list[tuple[str, str]] = []
    collection = FakeCollection(west_only=frozenset(range(6)), edge=510000)
    result = run(
        reference_graph(str(polygons), MONTH), tmp_path / "out", collection=collection,
        log=lambda level, text: log.append((level, text)),
    )  # fmt: skip
    assert [a.feature for a in result.assets] == [0, 2, 3]
    assert [text for level, text in log if level == "warning"] == [
        "Feature 1 has no file: there is no data for it in the time that was asked for."
    ]


def test_no_data_at_all_is_an_error(polygons: Path, tmp_path: Path) -> None:
    collection = FakeCollection(west_only=frozenset(range(6)), edge=0)
    with pytest.raises(OpenEOError) as caught:
        run(reference_graph(str(polygons), MONTH), tmp_path / "out", collection=collection)
    assert caught.value.code == "NoDataAvailable"


class OpenReader:
    """Picklable way to open the reader without files in another process."""

    def __call__(self) -> FakeReader:
        return FakeReader()


def test_a_pool_gives_the_same_files(polygons: Path, tmp_path: Path) -> None:
    graph = reference_graph(str(polygons), MONTH)
    here = run(graph, tmp_path / "here")
    there = run(graph, tmp_path / "there", workers=2, open_reader=OpenReader())
    assert [a.name for a in here.assets] == [a.name for a in there.assets]
    for asset in here.assets:
        assert dataset(tmp_path / "here" / asset.name).identical(
            dataset(tmp_path / "there" / asset.name)
        )


def test_errors_come_back_from_a_pool(tmp_path: Path) -> None:
    g = Graph()
    cube = load(g, ["B02"])
    cube = g.filter_spatial(data=cube, geometries=box_geojson((0, 0, 64, 64), (640, 0, 704, 64)))
    cube = g.run_udf(
        data=cube, udf="def apply_datacube(cube, context):\n    boom", runtime="Python"
    )
    saved = g.save_result(data=cube, format="NetCDF", options={"sample_by_feature": True})
    with pytest.raises(OpenEOError, match="boom") as caught:
        run(g.result(saved), tmp_path, workers=2, open_reader=OpenReader())
    assert caught.value.node == "run_udf2"


def test_tiles_of_a_dense_result_have_no_seams(tmp_path: Path) -> None:
    """So little memory that the result is cut into tiles, on disk: the same as in one piece."""
    g = Graph()
    cube = load(g, ["B02", "SCL"], utm_box(500000, 5600000, 3000, 2500))
    cube = g.mask_scl_dilation(data=cube, kernel1_size=9, kernel2_size=21)
    cube = g.aggregate_temporal_period(data=cube, period="month", reducer=on_data("median"))
    graph = g.result(cube)
    log: list[str] = []
    run(graph, tmp_path / "one")
    run(graph, tmp_path / "many", memory=2_000_000, log=lambda _, text: log.append(text))
    assert log[0].endswith("for 20 windows.")
    one, many = (dataset(tmp_path / name / "openEO.nc") for name in ("one", "many"))
    assert one.identical(many)


def test_dates_without_data_anywhere_are_dropped_from_a_dense_result(tmp_path: Path) -> None:
    collection = FakeCollection(west_only=frozenset({2}), edge=0)
    g = Graph()
    graph = g.result(load(g, ["B02"], utm_box(500000, 5600000, 3000, 300)))
    run(graph, tmp_path, collection=collection, memory=200_000)
    assert len(dataset(tmp_path / "openEO.nc").t) == 5


def test_values_per_feature(tmp_path: Path) -> None:
    """Polygons by the centres inside, points by the pixel that holds them."""
    shapes = box_geojson((500000, 5600000, 500100, 5600050))
    triangle = shapely.Polygon([(500000, 5600000), (500097, 5600000), (500000, 5600097)])
    for shape in (shapely.Point(500014, 5600017), triangle):
        shapes["features"].append({"type": "Feature", "properties": {}, "geometry": geojson(shape)})
    g = Graph()
    table = g.aggregate_spatial(
        data=load(g, ["B02", "B04"]), geometries=shapes, reducer=on_data("mean")
    )
    graph = g.result(g.save_result(data=table, format="Parquet"))
    (asset,) = run(graph, tmp_path).assets
    frame = pd.read_parquet(tmp_path / asset.name)
    day = np.datetime64("2022-01-06")
    xx, yy = np.meshgrid(500005 + 10 * np.arange(10), 5600095 - 10 * np.arange(10))
    values = pixel_values("B04", day, xx, yy)
    expected = [
        values[5:].mean(),
        values[8, 1],
        values[shapely.contains_xy(triangle, xx, yy)].mean(),
    ]
    np.testing.assert_allclose(frame["B04:2022-01-06"], expected)
    assert len(frame.columns) == 12


def test_values_per_feature_are_joined_over_all_dates(tmp_path: Path) -> None:
    g = Graph()
    shapes = box_geojson((500000, 5600000, 500100, 5600100), (520000, 5600000, 520100, 5600100))
    table = g.aggregate_spatial(data=load(g, ["B02"]), geometries=shapes, reducer=on_data("max"))
    collection = FakeCollection(count=2, west_only=frozenset({1}), edge=510000)
    (asset,) = run(g.result(table), tmp_path, collection=collection).assets
    document = json.loads((tmp_path / asset.name).read_text())
    assert list(document) == ["2022-01-01T00:00:00Z", "2022-01-06T00:00:00Z"]
    assert document["2022-01-06T00:00:00Z"][0][0] > 0
    assert document["2022-01-06T00:00:00Z"][1] == [None]


@pytest.mark.parametrize("reducer", ["mean", "max", "median", "count", "sum"])
def test_features_without_any_date_have_no_values(tmp_path: Path, reducer: str) -> None:
    g = Graph()
    shapes = box_geojson((500000, 5600000, 500100, 5600100), (520000, 5600000, 520100, 5600100))
    table = g.aggregate_spatial(data=load(g, ["B02"]), geometries=shapes, reducer=on_data(reducer))
    graph = g.result(g.save_result(data=table, format="Parquet"))
    collection = FakeCollection(count=1, west_only=frozenset({0}), edge=510000)
    (asset,) = run(graph, tmp_path, collection=collection).assets
    frame = pd.read_parquet(tmp_path / asset.name)
    assert frame.notna()["B02:2022-01-01"].tolist() == [True, False]


def test_files_are_named_by_a_property(tmp_path: Path) -> None:
    shapes = box_geojson((0, 0, 64, 64), (640, 0, 704, 64), (0, 640, 64, 704))
    for feature, name in zip(shapes["features"], ("x/../y", "same", "same"), strict=True):
        feature["properties"]["name"] = name
    g = Graph()
    cube = g.filter_spatial(data=load(g, ["B02"]), geometries=shapes)
    options = {
        "sample_by_feature": True, "feature_id_property": "name", "filename_prefix": "S2",
    }  # fmt: skip
    graph = g.result(g.save_result(data=cube, format="NetCDF", options=options))
    names = [a.name for a in run(graph, tmp_path / "out").assets]
    assert names == ["S2_x_.._y.nc", "S2_same_1.nc", "S2_same_2.nc"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(names)


def test_features_in_degrees_take_their_utm_zone(tmp_path: Path) -> None:
    g = Graph()
    point = {"type": "Point", "coordinates": [5.05, 51.21]}
    cube = g.filter_spatial(data=load(g, ["B02"]), geometries=point)
    saved = g.save_result(data=cube, format="NetCDF", options={"sample_by_feature": True})
    (asset,) = run(g.result(saved), tmp_path).assets
    assert (asset.proj_epsg, asset.proj_shape) == (32631, (1, 1))


def test_workspace_files_hold_features(polygons: Path, tmp_path: Path) -> None:
    g = Graph()
    shapes = g.load_uploaded_files(paths=["polygons.parquet"] * 2, format="Parquet")
    cube = g.filter_spatial(data=load(g, ["B02"]), geometries=shapes)
    saved = g.save_result(data=cube, format="NetCDF", options={"sample_by_feature": True})
    result = run(g.result(saved), tmp_path / "out", fetch=lambda path: tmp_path / path)
    assert len(result.assets) == 8


def test_the_log_says_how_far_a_run_is(polygons: Path, tmp_path: Path) -> None:
    log: list[str] = []
    run(reference_graph(str(polygons), MONTH), tmp_path, log=lambda _, text: log.append(text))
    assert log[0] == "SENTINEL2_L2A: 6 scenes on 6 days for 4 windows."
    assert log[1] == "Window 4 of 4 is done."
    assert log[2].startswith("Wrote 4 files in")


def generated(shared_data: Path, name: str) -> dict[str, Any]:
    path = shared_data / "process_graphs" / "gfmap_generated" / f"{name}.json"
    graph: dict[str, Any] = json.loads(path.read_text())["process_graph"]
    arguments = graph["loadcollection1"]["arguments"]
    arguments["temporal_extent"] = ["2022-01-01", "2022-02-10"]
    if arguments["spatial_extent"]:
        arguments["spatial_extent"].update(east=5.055, north=51.214)
    return graph


@pytest.fixture
def quiet_udfs() -> Iterator[None]:
    """The published UDFs call a function of scikit-image that is to go."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`binary_erosion` is deprecated", FutureWarning)
        yield


@pytest.mark.usefixtures("quiet_udfs")
@pytest.mark.parametrize("name", GENERATED)
def test_published_graphs_run(shared_data: Path, tmp_path: Path, name: str) -> None:
    graph = generated(shared_data, name)
    assert validate(graph, catalog=FakeCatalog()) == []
    assets = run(graph, tmp_path).assets
    assert len(assets) == (6 if name.startswith("s2_polygon") else 1)
    if assets[0].name.endswith(".nc"):
        file = dataset(tmp_path / assets[0].name)
        assert len(file.t) > 1
        band = next(v for v in file.data_vars if v != "crs")
        assert len(np.unique(file[band])) > 1
