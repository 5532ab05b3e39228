"""Items of every catalogue become alike scenes: names, native assets, offsets, tiles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openeo_gfmap.local.sentinel2 import (
    BAND_NAMES,
    Sentinel2Profile,
    band_info,
    canonical_name,
    looks_like_sentinel2_l2a,
    newest_processing,
    processing_baseline,
    reflectance_offset,
    tile_id,
)
from support.scenes import item

PROFILE = Sentinel2Profile()


@pytest.fixture
def earth_search(shared_data: Path) -> dict:
    return json.loads((shared_data / "stac_items/earth_search_v1_0509.json").read_text())


@pytest.fixture
def planetary_computer(shared_data: Path) -> dict:
    return json.loads((shared_data / "stac_items/planetary_computer_0212.json").read_text())


@pytest.fixture
def copernicus(shared_data: Path) -> dict:
    answer = json.loads((shared_data / "stac_items/cdse_stac_search_answer.json").read_text())
    return answer["features"][0]


def test_earth_search_item(earth_search: dict) -> None:
    scene = PROFILE.scene(earth_search)
    assert tuple(scene.bands) == BAND_NAMES
    assert {b: a.href.rsplit("/", 1)[1] for b, a in scene.bands.items()} == {
        band: f"{band}.tif" for band in BAND_NAMES
    }
    assert scene.bands["B8A"].transform == (20, 0, 600000, 0, -20, 5200020)
    assert scene.bands["B8A"].shape == (5490, 5490)
    assert scene.epsg == scene.bands["B02"].epsg == 32632
    assert scene.tile == "32TPS"
    # The offset is already taken off, although raster:bands says -0.1.
    assert {a.offset for a in scene.bands.values()} == {0}
    assert scene.href.startswith("https://earth-search.aws.element84.com/v1/collections/")


def test_earth_search_item_without_applied_offset(earth_search: dict) -> None:
    earth_search["properties"]["earthsearch:boa_offset_applied"] = False
    scene = PROFILE.scene(earth_search)
    assert {b for b, a in scene.bands.items() if a.offset == -1000} == {
        b for b in BAND_NAMES if b.startswith("B")
    }
    assert {scene.bands[b].offset for b in ("SCL", "AOT", "WVP")} == {0}


def test_planetary_computer_item(planetary_computer: dict) -> None:
    scene = PROFILE.scene(planetary_computer)
    assert tuple(scene.bands) == BAND_NAMES
    assert scene.tile == "06VVN"
    assert scene.epsg == 32606
    assert scene.bands["B04"].href.endswith("_B04_10m.tif")  # and not the true-colour image
    assert {a.offset for a in scene.bands.values()} == {0}  # baseline 02.12
    assert {a.nodata for a in scene.bands.values()} == {0}  # which the item does not state


def test_planetary_computer_is_not_harmonised(planetary_computer: dict) -> None:
    planetary_computer["properties"]["s2:processing_baseline"] = "05.10"
    scene = PROFILE.scene(planetary_computer)
    assert scene.bands["B04"].offset == -1000
    assert scene.bands["SCL"].offset == 0


def test_copernicus_item_takes_native_resolutions(copernicus: dict) -> None:
    scene = PROFILE.scene(copernicus)
    assert tuple(scene.bands) == BAND_NAMES
    assert {b: int(a.transform[0]) for b, a in scene.bands.items()} == {
        band: int(band_info(band).resolution) for band in BAND_NAMES
    }
    assert scene.bands["B01"].href.endswith("_B01_60m.jp2")  # there is a B01_20m, too
    assert scene.bands["B02"].href.startswith("s3://eodata/")
    assert scene.bands["B02"].alternate.startswith("https://zipper.dataspace.copernicus.eu/")
    assert scene.bands["B02"].epsg == 32636
    assert scene.tile == "36NYH"


def test_copernicus_offsets(copernicus: dict) -> None:
    # The item states raster:offset -0.1 for AOT and WVP as well; that is no reflectance.
    scene = PROFILE.scene(copernicus)
    assert {b: a.offset for b, a in scene.bands.items()} == {
        band: -1000 if band.startswith("B") else 0 for band in BAND_NAMES
    }


def test_bands_by_the_catalogues_own_names(earth_search: dict, copernicus: dict) -> None:
    scene = Sentinel2Profile(("red", "nir08", "scl")).scene(earth_search)
    assert [a.href.rsplit("/", 1)[1] for a in scene.bands.values()] == [
        "B04.tif", "B8A.tif", "SCL.tif",
    ]  # fmt: skip
    scene = Sentinel2Profile(("B02_20m", "B02")).scene(copernicus)
    assert scene.bands["B02_20m"].transform[0] == 20
    assert scene.bands["B02_20m"].offset == -1000
    assert scene.bands["B02"].transform[0] == 10


def test_several_bands_in_one_file() -> None:
    bands = [{"name": "B05", "raster:offset": -0.1, "raster:scale": 1e-4}, {"name": "SCL"}]
    scene = PROFILE.scene(item("x", assets={"B20m": {"bands": bands, "nodata": 0}}))
    assert {b: (a.band_index, a.offset) for b, a in scene.bands.items()} == {
        "B05": (1, -1000),
        "SCL": (2, 0),
    }


@pytest.mark.parametrize("key", ["visual", "TCI_10m", "red-jp2", "rendered_preview"])
def test_pictures_and_requester_pays_twins_are_no_bands(key: str) -> None:
    bands = {"eo:bands": [{"name": "B04", "common_name": "red"}]}
    assert not PROFILE.scene(item("x", assets={key: bands})).bands


@pytest.mark.parametrize(
    ("name", "band"),
    [
        *(("coastal", "B01"), ("blue", "B02"), ("green", "B03"), ("red", "B04")),
        *(("rededge1", "B05"), ("rededge2", "B06"), ("rededge3", "B07"), ("nir", "B08")),
        *(("nir08", "B8A"), ("nir09", "B09"), ("swir16", "B11"), ("swir22", "B12")),
        *(("scl", "SCL"), ("aot", "AOT"), ("wvp", "WVP"), ("B8A_20m", "B8A"), ("B12", "B12")),
        *(("B10", None), ("B02_15m", None), ("visual", None), ("", None)),
    ],
)
def test_names(name: str, band: str | None) -> None:
    assert canonical_name(name) == band


@pytest.mark.parametrize(
    ("id", "properties", "baseline"),
    [
        ("x", {"s2:processing_baseline": "05.09"}, (5, 9)),
        ("x", {"s2:processing_baseline": "N0509"}, (5, 9)),
        ("x", {"s2:processing_baseline": "4.0"}, (4, 0)),
        ("x", {"processing:version": "05.00"}, (5, 0)),
        ("x", {"s2:product_uri": "S2A_MSIL2A_20230602T100601_N0509_R022_T32TPS_2.SAFE"}, (5, 9)),
        ("x", {"s2:datatake_id": "GS2B_20190629T212529_012081_N02.12"}, (2, 12)),
        ("S2B_MSIL2A_20200322T074609_N0500_R135_T36NYH_20230612T214223", {}, (5, 0)),
        ("S2_31UFS_20230427_0_L2A", {}, None),
        ("x", {"processing:version": "unknown"}, None),
    ],
)
def test_processing_baseline(id: str, properties: dict, baseline: tuple | None) -> None:
    assert processing_baseline(item(id, **properties)) == baseline


RASTER = {"raster:bands": [{"scale": 0.0001, "offset": -0.1, "nodata": 0}]}


@pytest.mark.parametrize(
    ("asset", "fields", "offset"),
    [
        (RASTER, {"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.09"}, 0),
        (RASTER, {"earthsearch:boa_offset_applied": False}, -1000),
        (RASTER, {"sentinel:boa_offset_applied": True}, 0),
        ({"raster:offset": -0.1, "raster:scale": 0.0001}, {}, -1000),
        ({"raster:offset": 0, "raster:scale": 0.0001}, {"s2:processing_baseline": "05.09"}, 0),
        ({}, {"s2:processing_baseline": "03.01", "datetime": "2022-06-01T00:00:00Z"}, 0),
        ({}, {"s2:processing_baseline": "04.00", "datetime": "2021-06-01T00:00:00Z"}, -1000),
        ({}, {"s2:processing_baseline": "99.99"}, -1000),
        # Nothing known but the date.
        ({}, {"datetime": "2022-01-24T23:59:59Z"}, 0),
        ({}, {"datetime": "2022-01-25T00:00:00Z"}, -1000),
    ],
)
def test_offset_rules(asset: dict, fields: dict, offset: float) -> None:
    assert reflectance_offset(item("x", **fields), asset) == offset


@pytest.mark.parametrize(
    ("id", "properties", "tile"),
    [
        ("x", {"s2:mgrs_tile": "06VVN"}, "06VVN"),
        ("x", {"s2:mgrs_tile": "T31UFS"}, "31UFS"),
        ("x", {"grid:code": "MGRS-32TPS"}, "32TPS"),
        ("x", {"grid:code": "MGRS-6VVN"}, "06VVN"),
        (
            "x",
            {"mgrs:utm_zone": 6, "mgrs:latitude_band": "V", "mgrs:grid_square": "VN"},
            "06VVN",
        ),
        ("S2_31UFS_20230427_0_L2A", {}, "31UFS"),
        ("S2B_MSIL2A_20200322T074609_N0500_R135_T36NYH_20230612T214223", {}, "36NYH"),
        ("anything", {"grid:code": "WRS2-001002"}, None),
    ],
)
def test_tile(id: str, properties: dict, tile: str | None) -> None:
    assert tile_id(item(id, **properties)) == tile


def test_only_the_newest_processing_of_an_acquisition_stays() -> None:
    def scenes(*rows: tuple[str, str, str | None]) -> list:
        return [
            PROFILE.scene(
                item(id, **{"s2:mgrs_tile": tile})
                if baseline is None
                else item(id, **{"s2:mgrs_tile": tile, "s2:processing_baseline": baseline})
            )
            for id, tile, baseline in rows
        ]

    kept = newest_processing(
        scenes(
            ("old", "31UFS", "03.01"),
            ("new-part-1", "31UFS", "05.00"),
            ("new-part-2", "31UFS", "05.00"),
            ("other tile", "31UGS", "03.01"),
            ("unknown", "31UFS", None),
        )
    )
    assert [s.id for s in kept] == ["new-part-1", "new-part-2", "other tile", "unknown"]


def test_what_sentinel2_looks_like(
    earth_search: dict, planetary_computer: dict, copernicus: dict
) -> None:
    assert looks_like_sentinel2_l2a(earth_search)
    assert looks_like_sentinel2_l2a(planetary_computer)
    assert looks_like_sentinel2_l2a(copernicus)
    assert looks_like_sentinel2_l2a(item("x", collection="sentinel-2-c1-l2a"))
    assert not looks_like_sentinel2_l2a(item("x", collection="landsat-c2-l2"))
    assert not looks_like_sentinel2_l2a(item("x", assets={"data": {}}))
