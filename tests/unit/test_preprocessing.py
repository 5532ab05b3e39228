"""Preprocessing beyond the published graphs: other sensors' bands, options, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openeo
import pytest
from openeo.rest.datacube import DataCube
from pytest_httpserver import HTTPServer

from openeo_gfmap import FakeMetadata
from openeo_gfmap.errors import InputError, UnknownBand
from openeo_gfmap.metadata import band_names
from openeo_gfmap.preprocessing import (
    bap_masking,
    get_bap_mask,
    get_bap_score,
    mask_scl_dilation,
    mean_compositing,
    median_compositing,
)
from openeo_gfmap.preprocessing.cloudmasking import cloudmask_percentage
from openeo_gfmap.preprocessing.compositing import max_ndvi_compositing, sum_compositing
from openeo_gfmap.preprocessing.scaling import compress_uint8, compress_uint16
from support.fake_openeo import FakeOpenEO

OPTICAL = ["S2-L2A-B04", "S2-L2A-B08", "S2-L2A-SCL"]


@pytest.fixture
def connection(httpserver: HTTPServer) -> openeo.Connection:
    return FakeOpenEO(httpserver).connect()


@pytest.fixture
def cube_of(connection: openeo.Connection) -> Callable[..., DataCube]:
    """Return a maker of cubes with bands of any name."""

    def make(*bands: str) -> DataCube:
        names = ["B01", "B02", "B03", "B04", "B05"][: len(bands)]
        cube = connection.load_collection("SENTINEL2_L2A", bands=names)
        return cube.rename_labels("bands", source=names, target=list(bands))

    return make


def nodes(cube: DataCube, process: str) -> list[dict[str, Any]]:
    return [
        node["arguments"] for node in cube.flat_graph().values() if node["process_id"] == process
    ]


MASKINGS: list[Callable[[DataCube], DataCube]] = [
    mask_scl_dilation,
    lambda cube: bap_masking(cube, "month"),
]


@pytest.mark.parametrize("masking", MASKINGS)
def test_bands_of_other_sensors_are_left_unmasked(
    masking: Callable[[DataCube], DataCube], cube_of: Callable[..., DataCube]
) -> None:
    cube = masking(cube_of(*OPTICAL, "COP-DEM"))
    assert cube.metadata.band_names == [*OPTICAL, "COP-DEM"]
    assert {"bands": ["COP-DEM"]}.items() <= nodes(cube, "filter_bands")[-1].items()
    assert len(nodes(cube, "merge_cubes")) == 1


@pytest.mark.parametrize(
    "function",
    [
        mask_scl_dilation,
        get_bap_score,
        cloudmask_percentage,
        lambda cube: get_bap_mask(cube, "month"),
        lambda cube: bap_masking(cube, "month"),
    ],
)
def test_scl_is_needed(
    function: Callable[[DataCube], DataCube], cube_of: Callable[..., DataCube]
) -> None:
    with pytest.raises(UnknownBand, match="S2-L2A-SCL"):
        function(cube_of("S2-L2A-B04"))


def test_dilation_takes_kernel_sizes(cube_of: Callable[..., DataCube]) -> None:
    cube = mask_scl_dilation(cube_of(*OPTICAL), kernel1_size=0, kernel2_size=77)
    (arguments,) = nodes(cube, "mask_scl_dilation")
    sizes = (arguments["kernel1_size"], arguments["kernel2_size"], arguments["erosion_kernel_size"])
    assert sizes == (0, 77, 3)


@pytest.mark.parametrize(
    "params", [{"kernel3_size": 1}, {"kernel1_size": -1}, {"kernel1_size": 1.5}]
)
def test_dilation_refuses_other_parameters(
    params: dict[str, Any], cube_of: Callable[..., DataCube]
) -> None:
    for function in (mask_scl_dilation, get_bap_score):
        with pytest.raises(InputError, match=next(iter(params))):
            function(cube_of(*OPTICAL), **params)


def test_score_can_grow_the_clouds_first(cube_of: Callable[..., DataCube]) -> None:
    cube = get_bap_score(cube_of(*OPTICAL), apply_scl_dilation=True, kernel2_size=77)
    (arguments,) = nodes(cube, "to_scl_dilation_mask")
    assert arguments["kernel2_size"] == 77
    # The mask is turned into classes again, since the score reads classes.
    to_classes = nodes(cube, "apply")[0]["process"]["process_graph"]["if1"]["arguments"]
    assert (to_classes["accept"], to_classes["reject"]) == (8, 4)
    assert cube.metadata.band_names == ["S2-L2A-BAPSCORE"]


@pytest.mark.parametrize("function", [median_compositing, mean_compositing, sum_compositing])
def test_compositing_over_intervals(
    function: Callable[..., DataCube], cube_of: Callable[..., DataCube]
) -> None:
    intervals = [("2023-01-01", "2023-01-05"), ("2023-01-06", "2023-01-10")]
    (arguments,) = nodes(function(cube_of(*OPTICAL), intervals), "aggregate_temporal")
    assert arguments["intervals"] == [list(interval) for interval in intervals]
    reducer = arguments["reducer"]["process_graph"]
    assert [node["process_id"] for node in reducer.values()] == [function.__name__.split("_")[0]]


@pytest.mark.parametrize(
    "period", ["fortnight", "", [], ["2023-01-01"], [("2023-01-01",)], 5, None]
)
def test_period_must_be_one(period: Any, cube_of: Callable[..., DataCube]) -> None:
    for function in (median_compositing, get_bap_mask, max_ndvi_compositing):
        with pytest.raises(InputError, match="period"):
            function(cube_of(*OPTICAL), period)


def test_max_ndvi_keeps_the_greenest_observation(cube_of: Callable[..., DataCube]) -> None:
    cube = max_ndvi_compositing(cube_of(*OPTICAL), "month")
    assert {"nir": "S2-L2A-B08", "red": "S2-L2A-B04"}.items() <= nodes(cube, "ndvi")[0].items()
    (aggregation,) = nodes(cube, "aggregate_temporal_period")
    assert aggregation["period"] == "month"
    assert len(nodes(cube, "mask")) == 1
    with pytest.raises(InputError, match="S2-L2A-B08"):
        max_ndvi_compositing(cube_of("S2-L2A-B04"), "month")


def test_cloud_percentage_masks_all_but_the_classes(cube_of: Callable[..., DataCube]) -> None:
    cube = cloudmask_percentage(cube_of(*OPTICAL), percentage=0.8)
    assert cube.metadata.band_names == OPTICAL
    (neighbourhood,) = nodes(cube, "apply_neighborhood")
    udf = neighbourhood["process"]["process_graph"]["runudf1"]["arguments"]
    assert udf["context"] == {"percentage": 0.8}
    assert cloudmask_percentage(cube_of("S2-L2A-SCL")).metadata.band_names == ["S2-L2A-SCL"]
    with pytest.raises(InputError, match="percentage"):
        cloudmask_percentage(cube_of(*OPTICAL), percentage=95)


@pytest.mark.parametrize(("function", "largest"), [(compress_uint16, 65534), (compress_uint8, 253)])
def test_compression_states_the_range(
    function: Callable[..., DataCube], largest: int, cube_of: Callable[..., DataCube]
) -> None:
    plain, scaled = function(cube_of("S2-L2A-B04")), function(cube_of("S2-L2A-B04"), 100, -5)
    (callback,) = nodes(plain, "apply")
    arguments = callback["process"]["process_graph"]["linearscalerange1"]["arguments"]
    assert (arguments["inputMin"], arguments["inputMax"]) == (0, largest)
    assert (arguments["outputMin"], arguments["outputMax"]) == (0, largest)
    inner = [node for call in nodes(scaled, "apply") for node in call["process"]["process_graph"]]
    assert inner == ["multiply1", "add1", "linearscalerange1"]


def test_fake_metadata_follow_renaming_and_filtering(connection: openeo.Connection) -> None:
    cube = connection.load_collection("SENTINEL2_L2A", bands=["B02", "B03", "B04"])
    cube.metadata = FakeMetadata(band_names=["blue", "green", "red"])
    renamed = cube.rename_labels("bands", source=["green"], target=["S2-L2A-B03"])
    assert band_names(renamed) == ["blue", "S2-L2A-B03", "red"]
    assert band_names(renamed.filter_bands(["red", "blue"])) == ["red", "blue"]
    assert band_names(cube) == ["blue", "green", "red"]
    whole = FakeMetadata(["a", "b"]).rename_labels("bands", target=["c", "d"])
    assert whole == FakeMetadata(["c", "d"])
    assert whole.rename_labels("t", target=["x"], source=["y"]) == whole
    with pytest.raises(UnknownBand, match="nir"):
        whole.filter_bands(["nir"])


def test_cube_without_metadata_asks_for_them(connection: openeo.Connection) -> None:
    cube = connection.load_collection("SENTINEL2_L2A", fetch_metadata=False)
    with pytest.raises(InputError, match="FakeMetadata"):
        mask_scl_dilation(cube)
