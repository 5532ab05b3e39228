"""The packaged UDF files: exact against scikit-image and the published code, and standalone."""

from __future__ import annotations

import ast
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import openeo
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from openeo.udf import UdfData, XarrayDataCube
from openeo.udf.run_code import run_udf_code
from scipy.ndimage import binary_erosion, distance_transform_cdt
from skimage.morphology import disk, erosion

import openeo_gfmap.preprocessing
from openeo_gfmap.errors import InputError
from openeo_gfmap.preprocessing import UDF_DISTANCE_TO_CLOUD
from openeo_gfmap.preprocessing.udf_distance_to_cloud import distance_transform, erode_by_disk
from openeo_gfmap.udf import pack_udf

FOLDER = Path(openeo_gfmap.preprocessing.__file__).parent
UDF_FILES = sorted(FOLDER.glob("udf_*.py"))
CLOUD_CLASSES = (3, 8, 9, 10)


def scl_cube(
    scl: np.ndarray, first_day: str = "2022-01-28", band: str = "S2-L2A-SCL"
) -> xr.DataArray:
    times = np.datetime64(first_day, "ns") + np.arange(len(scl)) * np.timedelta64(5, "D")
    return xr.DataArray(
        scl[:, None],
        dims=("t", "bands", "y", "x"),
        coords={
            "t": times,
            "bands": [band],
            "y": 5_000_000.0 - 10 * np.arange(scl.shape[1]),
            "x": 500_000.0 + 10 * np.arange(scl.shape[2]),
        },
    )


def run(code: str, array: xr.DataArray, **context: Any) -> xr.DataArray:
    """Run UDF code as a back-end does."""
    data = UdfData(datacube_list=[XarrayDataCube(array)], user_context=context)
    (result,) = run_udf_code(code, data).get_datacube_list()
    return result.get_array()


def run_file(name: str, array: xr.DataArray, **context: Any) -> xr.DataArray:
    return run((FOLDER / name).read_text("utf-8"), array, **context)


def random_scl(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return classes in blobs, so that clouds survive the erosion."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 12, (shape[0], -(-shape[1] // 8), -(-shape[2] // 8)))
    scl = np.kron(coarse, np.ones((1, 8, 8), int))[:, : shape[1], : shape[2]]
    speckle = rng.random(shape) < 0.02
    return np.where(speckle, rng.integers(0, 12, shape), scl).astype(np.uint8)


def expected_distance(scl: np.ndarray, metric: str) -> np.ndarray:
    clouds = np.isin(scl, CLOUD_CLASSES)
    # Grey erosion pads with the greatest value, as the binary one that the pipeline calls.
    eroded = [erosion(frame.astype(np.uint8), disk(3)).astype(bool) for frame in clouds]
    return np.stack([distance_transform_cdt(~frame, metric) for frame in eroded])


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    metric=st.sampled_from(["chessboard", "taxicab"]),
)
@settings(max_examples=60, deadline=None)
def test_distance_to_cloud_is_that_of_scikit_image(
    seed: int, rows: int, columns: int, metric: str
) -> None:
    scl = random_scl(seed, (3, rows, columns))
    result = run_file("udf_distance_to_cloud.py", scl_cube(scl), metric=metric)
    np.testing.assert_array_equal(result.values[:, 0], expected_distance(scl, metric))


@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(1, 5),
    rows=st.integers(1, 300),  # small ones are counted in bytes, large ones in 16 bits
    columns=st.integers(1, 300),
    share=st.sampled_from([0, 0.0001, 0.01, 0.5, 0.999, 1]),
    metric=st.sampled_from(["chessboard", "taxicab"]),
)
@settings(max_examples=80, deadline=None)
def test_distance_transform_is_that_of_scipy(
    seed: int, frames: int, rows: int, columns: int, share: float, metric: str
) -> None:
    """Frames without and full of targets are among them, beside others and alone."""
    rng = np.random.default_rng(seed)
    targets = rng.random((frames, rows, columns)) < share * rng.random((frames, 1, 1)) * 2
    expected = [distance_transform_cdt(~frame, metric) for frame in targets]
    found = distance_transform(targets, metric)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


@given(
    masks=hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=20)),
    radius=st.integers(0, 12),
)
@settings(max_examples=80, deadline=None)
def test_erosion_is_that_of_scipy(masks: np.ndarray, radius: int) -> None:
    expected = [binary_erosion(frame, disk(radius), border_value=1) for frame in masks]
    np.testing.assert_array_equal(erode_by_disk(masks, radius), expected)


def test_distance_to_cloud_knows_two_metrics() -> None:
    with pytest.raises(ValueError, match=r"'euclidean'.*chessboard, taxicab"):
        run_file("udf_distance_to_cloud.py", scl_cube(np.ones((1, 4, 4))), metric="euclidean")


def test_distance_to_cloud_keeps_dimensions_and_coordinates() -> None:
    array = scl_cube(random_scl(1, (2, 20, 30)))
    result = run_file("udf_distance_to_cloud.py", array.transpose("bands", "t", "x", "y"))
    assert result.dims == ("t", "bands", "y", "x")
    assert result.dtype == np.int32
    assert list(result.coords["bands"].values) == ["S2-L2A-SCL"]
    for name in ("t", "y", "x"):
        np.testing.assert_array_equal(result.coords[name], array.coords[name])


def test_distance_to_cloud_without_a_cloud_is_minus_one() -> None:
    assert (run_file("udf_distance_to_cloud.py", scl_cube(np.full((2, 9, 9), 4))) == -1).all()


def test_distance_to_cloud_is_a_chessboard_distance_to_a_cloud_larger_than_the_disk() -> None:
    scl = np.full((1, 40, 40), 4)
    scl[0, 10:21, 10:21] = 9  # eroded to the square 13..17
    result = run_file("udf_distance_to_cloud.py", scl_cube(scl)).values[0, 0]
    assert result[15, 15] == 0
    assert result[15, 25] == 8
    assert result[25, 25] == 8


def test_distance_to_cloud_takes_missing_pixels_for_clear() -> None:
    scl = np.full((1, 9, 9), np.nan)
    scl[0, :, :5] = 8
    assert run_file("udf_distance_to_cloud.py", scl_cube(scl)).values[0, 0, 0, 0] == 0


def _published_score(shared_data: Path) -> str:
    path = shared_data / "process_graphs" / "gfmap_generated" / "bap_score.json"
    graph = json.loads(path.read_text("utf-8"))["process_graph"]
    callback = graph["applyneighborhood1"]["arguments"]["process"]["process_graph"]
    return callback["runudf1"]["arguments"]["udf"]


@pytest.mark.parametrize("seed", range(5))
def test_score_is_that_of_the_published_udf(seed: int, shared_data: Path) -> None:
    array = scl_cube(random_scl(seed, (6, 48, 40)))
    with warnings.catch_warnings():
        # The published code calls names that scikit-image is about to drop.
        warnings.simplefilter("ignore", FutureWarning)
        expected = run(_published_score(shared_data), array)
    result = run_file("udf_score.py", array)
    xr.testing.assert_allclose(result, expected, rtol=1e-12)


def test_score_prefers_clear_pixels_in_the_middle_of_the_month() -> None:
    scl = np.full((4, 30, 30), 4)
    scl[1] = 9
    scl[2] = 0
    score = run_file("udf_score.py", scl_cube(scl, first_day="2022-06-05")).values[:, 0, 15, 15]
    start_of_month, cloudy, unobserved, near_the_middle = score
    assert unobserved == 0 < cloudy < start_of_month < near_the_middle


def test_rank_keeps_the_best_of_each_interval_and_masks_the_rest() -> None:
    score = np.array([0.1, 0.5, 0.4, 0.4, 0.9])[:, None, None] * np.ones((1, 2, 2))
    array = scl_cube(score, first_day="2022-01-01", band="S2-L2A-BAPSCORE")
    # Dates 1, 6, 11, 16, 21 January: both ends of an interval belong to it.
    intervals = [["2022-01-01", "2022-01-06"], ["2022-01-07", "2022-01-16"]]
    mask = run_file("udf_rank.py", array, intervals=intervals)
    assert mask.dims == array.dims
    assert mask.values[:, 0, 0, 0].tolist() == [1, 0, 0, 0, 1]


def test_rank_is_taken_pixel_by_pixel() -> None:
    score = np.array([[[0.2, 0.8]], [[0.6, 0.4]]])
    array = scl_cube(score, first_day="2022-01-01")
    mask = run_file("udf_rank.py", array, intervals=[["2022-01-01", "2022-12-31"]])
    assert mask.values[:, 0, 0].tolist() == [[1, 0], [0, 1]]


def test_rank_without_intervals_says_so() -> None:
    with pytest.raises(ValueError, match="intervals"):
        run_file("udf_rank.py", scl_cube(np.ones((1, 1, 1))), intervals="month")


def test_cloud_percentage_masks_whole_dates() -> None:
    scl = np.full((3, 10, 10), 4)
    scl[1] = 9
    scl[2, :9] = 9
    mask = run_file("udf_cloud_percentage.py", scl_cube(scl), percentage=0.9)
    assert mask.values.mean(axis=(1, 2, 3)).tolist() == [0, 1, 0]


@pytest.mark.parametrize("path", UDF_FILES, ids=lambda path: path.name)
def test_udf_stands_alone(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert {str(name).split(".")[0] for name in imported} <= {
        "math",
        "numpy",
        "openeo",
        "typing",
        "xarray",
    }


def test_functions_that_two_udfs_hold_are_the_same() -> None:
    """UDFs cannot import each other, so they share by copy; nobody changes one copy alone."""
    sources: dict[str, set[str]] = {}
    for path in UDF_FILES:
        code = path.read_text("utf-8")
        for node in ast.parse(code).body:
            if isinstance(node, ast.FunctionDef) and node.name != "apply_datacube":
                sources.setdefault(node.name, set()).add(ast.get_source_segment(code, node) or "")
    assert "distance_transform" in sources
    assert [name for name, copies in sources.items() if len(copies) > 1] == []


@pytest.mark.parametrize("path", UDF_FILES, ids=lambda path: path.name)
def test_udf_packs(path: Path) -> None:
    udf = pack_udf(path, context={"a": 1})
    assert udf.code == path.read_text("utf-8")
    assert (udf.get_runtime(), udf.context) == ("Python", {"a": 1})
    assert pack_udf(path).context is None


def test_distance_to_cloud_file_works_with_the_client() -> None:
    assert openeo.UDF.from_file(UDF_DISTANCE_TO_CLOUD).code == UDF_DISTANCE_TO_CLOUD.read_text(
        "utf-8"
    )


@pytest.mark.parametrize(
    ("content", "hint"),
    [(None, "No such file"), ("def f(:", "invalid syntax"), ("def main(): pass", "apply_datacube")],
)
def test_file_that_is_no_udf_is_refused(content: str | None, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "udf.py"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=hint):
        pack_udf(path)
