"""Whatever a cube process is given, it is refused with an error of openEO's, or it runs."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openeo_gfmap.local.engine import validate
from openeo_gfmap.local.engine.registry import all_processes
from openeo_gfmap.local.errors import OpenEOError
from support.fake_source import FakeCatalog
from support.graphs import Graph, box_geojson, callback, load, on_data, on_x, run, utm_box

PLACE = utm_box(500_000, 5_599_840, 240, 160)
X, Y = {"from_parameter": "x"}, {"from_parameter": "y"}

# Of every kind that an argument may have, some that fit and some that do not.
VALUES: list[Any] = [
    None, 0, 1, 3, 10, 20, -1, 1.5, 1e300, float("nan"), float("inf"), True, False,
    "", "t", "x", "bands", "when", "near", "average", "month", "upper-right", "temporal", "other",
    "replicate", "reflect", "NetCDF", "GTiff", "EPSG:32631", "2022-01-06",
    [], [1], ["a"], [None], [[1]], [[1, 2, 1], [2, 4, 2], [1, 2, 1]], [[1, 2], [3]],
    ["t", "bands"], ["B02"], ["B03", "B02"], ["2022-01-01", "2022-01-12"],
    [["2022-01-01", "2022-01-10"], ["2022-01-10", None]],
    [{"dimension": "x", "value": 5, "unit": "px"}, {"dimension": "y", "value": 3, "unit": "px"}],
    {}, {"a": 1}, {"type": "Point", "coordinates": [3.0, 50.5]},
    {"type": "Polygon", "coordinates": []}, utm_box(500_050, 5_599_900, 50, 50),
    box_geojson((500_020, 5_599_900, 500_060, 5_599_950)),
    box_geojson((500_020, 5_599_900, 500_060, 5_599_950), (500_100, 5_599_860, 500_220, 5_599_990)),
    on_data("mean"), on_data("first"), on_data("cumsum"), on_x("add", y=1),
    on_data("quantiles", probabilities=[0.1, 0.5]), callback("max", data=[X, Y]),
    callback("eq", x={"from_parameter": "value"}, y="B02"),
]  # fmt: skip

CUBE = {"from_node": "cube"}
INPUTS = ("data", "cube1", "cube2", "target", "mask")
ELSEWHERE = {"load_collection", "load_stac", "load_url", "load_uploaded_files", "run_udf"}


def on_cubes() -> list[str]:
    """Return the processes that take a cube or features, and need nothing from outside."""
    return [
        name
        for name, process in all_processes().items()
        if (process.plan is not None or process.vectors) and name not in ELSEWHERE
    ]


@pytest.mark.parametrize("name", on_cubes())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_arguments_of_any_kind(name: str, data: st.DataObject) -> None:
    arguments: dict[str, Any] = {}
    for parameter in all_processes()[name].parameters:
        key = parameter["name"]
        if key in INPUTS and data.draw(st.integers(0, 5)):
            arguments[key] = CUBE
        elif not parameter.get("optional") or data.draw(st.booleans()):
            arguments[key] = data.draw(st.sampled_from(VALUES))
    g = Graph()
    ref = load(g, ["B02", "B03"], PLACE)
    nodes = {
        "cube": g.nodes[ref["from_node"]],
        "it": {"process_id": name, "arguments": arguments, "result": True},
    }
    problems = validate(nodes, catalog=FakeCatalog())
    assert all(e.code != "Internal" and e.status < 500 for e in problems)
    if problems:
        return
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(Mean of empty|All-NaN|invalid value|overflow)")
        try:
            run(nodes, Path(folder))
        except OpenEOError as error:
            assert error.code not in ("Internal", "JobFailed"), error.message
            assert error.status < 500 or error.code == "FeatureUnsupported"
