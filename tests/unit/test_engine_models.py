"""ONNX models applied to cubes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from openeo_gfmap.local.engine.cube import Cube
from openeo_gfmap.local.engine.processes import models
from openeo_gfmap.local.errors import OpenEOError
from support.graphs import callback, on_data
from support.onnx_model import blur, linear
from support.random_cubes import DATES, GRID, LEFT, TOP, run

WEIGHTS = np.asarray([[1, -2, 0.5], [0.25, 3, -1]])
BIAS = np.asarray([0.5, 0, -4])


@pytest.fixture
def cube() -> Cube:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 100, (2, 2, 4, 5)).astype("uint16")
    data[0, 1, 2, 3] = 65535
    labels = {"t": DATES[:2].astype("datetime64[ns]"), "bands": np.asarray(["a", "b"])}
    box = GRID.box(LEFT, TOP, 5, 4)
    return Cube(data, ("t", "bands", "y", "x"), labels, box, 65535)


@pytest.fixture
def onnxruntime() -> Any:
    return pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def scores(cube: Cube) -> np.ndarray:
    features = np.moveaxis(cube.as_float().data.astype(float), 1, -1)
    return np.moveaxis(features @ WEIGHTS + BIAS, -1, 1)


@pytest.mark.usefixtures("onnxruntime")
def test_a_model_of_pixels(cube: Cube, tmp_path: Path) -> None:
    model = str(linear(tmp_path / "m.onnx", WEIGHTS, BIAS))
    found = run(lambda g, c: g.predict_onnx(data=c, model=model), cube)
    assert found.labels["bands"].tolist() == ["best", "scores_0", "scores_1", "scores_2"]
    wanted = scores(cube)
    np.testing.assert_allclose(found.data[:, 1:], wanted, rtol=1e-5)
    best = np.where(np.isnan(wanted).any(axis=1), np.nan, wanted.argmax(axis=1))
    np.testing.assert_array_equal(found.data[:, 0], best)
    assert np.isnan(found.data[0, :, 2, 3]).all()  # where a feature is missing
    np.testing.assert_array_equal(found.labels["t"], cube.labels["t"])
    assert found.geobox == cube.geobox


@pytest.mark.usefixtures("onnxruntime")
def test_a_model_in_a_callback(cube: Cube, tmp_path: Path) -> None:
    model = str(linear(tmp_path / "m.onnx", WEIGHTS, BIAS))
    found = run(lambda g, c: g.apply_dimension(
        data=c, dimension="bands", process=on_data("predict_onnx", model=model)),
        cube)  # fmt: skip
    np.testing.assert_allclose(found.data[:, 1:], scores(cube), rtol=1e-5)
    first = callback("predict_onnx", data={"from_parameter": "data"}, model=model)
    first["process_graph"]["predict_onnx"].pop("result")
    first["process_graph"]["pick"] = {
        "process_id": "array_element",
        "arguments": {"data": {"from_node": "predict_onnx"}, "index": 2},
        "result": True,
    }
    one = run(lambda g, c: g.reduce_dimension(data=c, dimension="bands", reducer=first), cube)
    np.testing.assert_allclose(one.data, scores(cube)[:, 1], rtol=1e-5)


@pytest.mark.usefixtures("onnxruntime")
def test_a_model_of_planes_gets_its_surroundings(cube: Cube, tmp_path: Path) -> None:
    model = str(blur(tmp_path / "m.onnx", 2))
    size = [{"dimension": d, "unit": "px", "value": 2} for d in "xy"]
    overlap = [{"dimension": d, "unit": "px", "value": 1} for d in "xy"]
    found = run(lambda g, c: g.apply_neighborhood(
        data=c, size=size, overlap=overlap, process=on_data("predict_onnx", model=model)),
        cube)  # fmt: skip
    values = np.nan_to_num(cube.as_float().data.astype(float)).sum(axis=1)
    wanted = ndimage.correlate(values, np.ones((1, 3, 3)), mode="constant")
    missing = cube.missing().any(axis=1)
    np.testing.assert_allclose(found.data[:, 0], np.where(missing, np.nan, wanted), rtol=1e-5)


@pytest.mark.usefixtures("onnxruntime")
@pytest.mark.parametrize(
    ("content", "message"), [(b"no model", "cannot be loaded"), (None, "takes 3 features")]
)
def test_models_that_do_not_fit(
    cube: Cube, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "m.onnx"
    if content is None:
        linear(path, np.ones((3, 1)), np.ones(1))
    else:
        path.write_bytes(content)
    with pytest.raises(OpenEOError, match=message):
        run(lambda g, c: g.predict_onnx(data=c, model=str(path)), cube)


def test_a_missing_runtime_is_named(cube: Cube, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(models.importlib, "import_module", absent)
    with pytest.raises(OpenEOError, match=r"openeo-gfmap\[inference\]") as caught:
        run(lambda g, c: g.predict_onnx(data=c, model="m.onnx"), cube)
    assert caught.value.status == 501
