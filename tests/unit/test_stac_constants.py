"""Constants of result collections: usable with pystac, valid against the schemas they name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pystac
import pytest
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from openeo_gfmap.bands import SENTINEL2_L2A_BANDS
from openeo_gfmap.stac import AUXILIARY, constants


@pytest.fixture
def offline_validator(shared_data: Path) -> JsonSchemaSTACValidator:
    validator = JsonSchemaSTACValidator()
    for path in (shared_data / "stac_schemas").rglob("*.json"):
        schema = json.loads(path.read_text("utf-8"))
        if isinstance(schema, dict) and "$id" in schema:
            validator.schema_cache[schema["$id"].rstrip("#")] = schema
    return validator


def test_auxiliary_makes_an_asset_for_an_item() -> None:
    asset = AUXILIARY.create_asset(href="/data/labels.nc")
    item = pystac.Item("a", None, None, datetime(2023, 1, 1, tzinfo=UTC), {})
    item.add_asset("auxiliary", asset)
    assert item.to_dict()["assets"]["auxiliary"]["href"] == "/data/labels.nc"
    assert (asset.media_type, asset.roles) == ("application/x-netcdf", ["data"])


def test_collection_with_every_constant_validates(
    offline_validator: JsonSchemaSTACValidator,
) -> None:
    collection = pystac.Collection(
        id="samples",
        description="Samples.",
        license=constants.LICENSE,
        extent=pystac.Extent(
            pystac.SpatialExtent([[3, 50, 4, 51]]),
            pystac.TemporalExtent([[datetime(2023, 1, 1, tzinfo=UTC), None]]),
        ),
        summaries=constants.SUMMARIES["sentinel2"],
        # The other two ask for fields that tell of a run: cube:dimensions and processing:….
        stac_extensions=[
            uri
            for uri in constants.STAC_EXTENSIONS
            if "/datacube/" not in uri and "/processing/" not in uri
        ],
    )
    collection.item_assets = constants.ITEM_ASSETS
    collection.add_link(constants.LICENSE_LINK)
    document = collection.to_dict(include_self_link=False)
    document["links"] = [link for link in document["links"] if link["rel"] == "license"]
    assert document["stac_version"] == "1.1.0"
    pystac.validation.validate_dict(document, validator=offline_validator)


@pytest.mark.parametrize(
    "extension",
    [
        "projection/v2.0.0",
        "eo/v2.0.0",
        "raster/v2.0.0",
        "datacube/v2.3.0",
        "file/v2.1.0",
        "processing/v1.2.0",
    ],
)
def test_extension_is_declared_in_this_version(extension: str) -> None:
    uri = f"https://stac-extensions.github.io/{extension}/schema.json"
    assert uri in constants.STAC_EXTENSIONS


def test_bands_of_the_asset_are_those_of_the_band_table() -> None:
    bands = constants.SENTINEL2.to_dict()["bands"]
    assert [band["name"] for band in bands] == [band.harmonised for band in SENTINEL2_L2A_BANDS]
    by_name = {band["name"]: band for band in bands}
    assert by_name["S2-L2A-B08"]["eo:common_name"] == "nir"
    assert by_name["S2-L2A-B08"]["raster:scale"] == 1e-4
    assert "eo:common_name" not in by_name["S2-L2A-SCL"]


def test_tables_are_keyed_by_constellation() -> None:
    tables = (constants.CONSTELLATION, constants.PLATFORM, constants.INSTRUMENTS, constants.GSD)
    assert all(set(table) == set(constants.SUMMARIES) == {"sentinel2"} for table in tables)
    assert constants.SUMMARIES["sentinel2"].to_dict()["instruments"] == ["msi"]
