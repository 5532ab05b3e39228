"""The STAC documents of a job's results."""

from __future__ import annotations

import json
import math

import pytest

from openeo_gfmap.local.engine.result import ResultAsset
from openeo_gfmap.local.results import collection_document, item_document
from openeo_gfmap.local.store import Job


class _Links:
    def plain(self, path: str) -> str:
        return f"https://example.org{path}"

    signed = plain


JOB = Job("j-1", status="finished", updated="2024-01-01T00:00:00Z")


@pytest.mark.parametrize(("nodata", "told"), [(math.nan, "nan"), (65535, 65535), (None, None)])
def test_nodata_is_json(nodata: float | None, told: object) -> None:
    """A float result misses its pixels by NaN, which is none of JSON's numbers."""
    asset = ResultAsset("openEO.nc", "application/x-netcdf", nodata=nodata).to_dict()
    for document in (
        collection_document(JOB, [asset], [], _Links()),
        item_document(JOB, asset, _Links()),
    ):
        read = json.loads(json.dumps(document, allow_nan=False))
        assert read["assets"]["openEO.nc"].get("nodata") == told
