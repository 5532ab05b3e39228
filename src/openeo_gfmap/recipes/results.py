"""What becomes of a job's files: their paths, attributes and labels."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openeo_gfmap.errors import InputError
from openeo_gfmap.recipes.labels import Labels, word, write_labels
from openeo_gfmap.stac.constants import AUXILIARY, QUICKLOOK
from openeo_gfmap.utils.netcdf import complete_cf, update_nc_attributes
from openeo_gfmap.utils.quicklook import write_quicklook

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import pystac

__all__ = ["PATH", "ResultWriter", "extracted_features"]

#: Property of a feature that is extracted: the path of its file, relative to the output folder.
PATH = "gfmap_path"

#: Properties of features that are no properties of an item.
_NOT_TOLD = frozenset({PATH, "gfmap_label", "extract"})

#: Names that STAC gives a meaning of its own, in its core and its common metadata. An attribute of
#: a sample that has one by chance gets a prefix, as what has a colon in its name does.
_STAC_NAMES = frozenset(
    {
        *("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets"),
        *("collection", "properties", "title", "description", "keywords", "roles", "bands"),
        *("datetime", "start_datetime", "end_datetime", "created", "updated", "license"),
        *("providers", "platform", "instruments", "constellation", "mission", "gsd"),
        *("nodata", "data_type", "statistics", "unit"),
    }
)
_PREFIX = "sample"
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")


def extracted_features(row: pd.Series[Any]) -> list[dict[str, Any]]:
    """Return the features of a row that get a file, in the order of their geometry indices."""
    features: list[dict[str, Any]] = json.loads(row["geometry"])["features"]
    return [feature for feature in features if feature["properties"].get("extract")]


@dataclass(frozen=True)
class ResultWriter:
    """The path generator and the post-job action of a recipe.

    Attributes
    ----------
    title
        Of the files, before the sample's id.
    labels
        Which attribute to burn; None burns nothing.
    quicklook
        Whether to draw a small picture of each patch.
    """

    title: str
    labels: Labels | None
    quicklook: bool = False

    def output_path(self, root_folder: Path, geometry_index: int, row: pd.Series[Any]) -> Path:
        """Return where the file of a feature goes: the plan has settled it."""
        features = extracted_features(row)
        if not 0 <= geometry_index < len(features):
            raise InputError(
                f"there is a result for feature {geometry_index}, but the job has "
                f"{len(features)}: 0 to {len(features) - 1}."
            )
        return root_folder / str(features[geometry_index]["properties"][PATH])

    def post_job_action(self, items: list[pystac.Item], row: pd.Series[Any]) -> list[pystac.Item]:
        """Tell each file and item of its sample, and burn the labels beside it."""
        import geopandas as gpd  # noqa: PLC0415

        fields = gpd.GeoDataFrame.from_features(json.loads(row["geometry"]), crs=4326)
        samples = {
            feature["properties"][PATH]: feature["properties"]
            for feature in extracted_features(row)
        }
        for item in items:
            asset = next(iter(item.assets.values()))
            path = Path(asset.href)
            # Features without data have no file, so a position in the list says nothing.
            sample = next((s for end, s in samples.items() if path.as_posix().endswith(end)), None)
            if sample is None:
                raise InputError(f"{path} is no file of a sample of this job.")
            update_nc_attributes(path, self._attributes(row, sample))
            complete_cf(path)  # of what the back-end left unsaid
            item.properties.update(_properties(sample))
            if self.labels is not None:
                item.add_asset("auxiliary", self._write_labels(path, fields, row, sample))
            if self.quicklook:
                picture = write_quicklook(path, path.with_suffix(".png"))
                item.add_asset("quicklook", QUICKLOOK.create_asset(href=picture.as_posix()))
        return items

    def _attributes(self, row: pd.Series[Any], sample: Mapping[str, Any]) -> dict[str, Any]:
        attributes = {
            "title": f"{self.title} - {sample['sample_id']}",
            "sample_id": sample["sample_id"],
            "ref_id": sample["ref_id"],
            "start_date": row["start_date"],
            "end_date": row["end_date"],
            "gfmap_version": metadata.version("openeo-gfmap"),
        }
        if sample.get("valid_date"):
            attributes["valid_date"] = sample["valid_date"]
        return attributes

    def _write_labels(
        self, patch: Path, fields: gpd.GeoDataFrame, row: pd.Series[Any], sample: Mapping[str, Any]
    ) -> pystac.Asset:
        labels = self.labels
        if labels is None:
            raise ValueError("there are no labels to write")
        numbers = fields["gfmap_label"].fillna(0).astype(int)
        # The sample itself goes on top of its neighbours.
        order = (fields["sample_id"] == sample["sample_id"]).argsort(kind="stable")
        path = patch.with_name(f"{patch.stem}_{labels.variable}.nc")
        legend = json.loads(row["legend"])
        burned = write_labels(
            patch,
            path,
            fields=fields.iloc[order],
            numbers=list(numbers.iloc[order]),
            labels=labels,
            legend=legend,
            attributes={
                **self._attributes(row, sample),
                "title": f"Labels - {sample['sample_id']}",
            },
        )
        return _label_asset(path, labels, legend, burned)


def _label_asset(
    path: Path, labels: Labels, legend: Mapping[str, int], burned: Collection[int]
) -> pystac.Asset:
    """Return the asset of a label file, which says the classes that occur in it."""
    asset = AUXILIARY.create_asset(href=path.as_posix())
    asset.extra_fields["bands"] = [
        {
            "name": labels.variable,
            "description": labels.attribute,
            "data_type": "int32",
            "nodata": 0,
        }
    ]
    classes = [
        {"value": value, "name": word(name), "description": name}
        for name, value in legend.items()
        if value in burned
    ]
    if classes:  # a list of none is not valid
        asset.extra_fields["classification:classes"] = classes
    return asset


def _properties(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sample's attributes as properties of an item."""
    return {
        _property_name(name): _told(value)
        for name, value in sample.items()
        if name not in _NOT_TOLD
        and isinstance(value, str | int | float | bool)
        and not (isinstance(value, float) and not math.isfinite(value))  # JSON has no such number
    }


def _property_name(name: str) -> str:
    if name in _STAC_NAMES or ":" in name:
        return f"{_PREFIX}:{name.replace(':', '_')}"
    return name


def _told(value: Any) -> Any:
    """Return a value of JSON; a time as RFC 3339 wants it: with a T, seconds and a zone, UTC."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return value
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return value  # no time after all, such as that of the 30th of February
    moment = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")
