"""Post-processing of one job: the user's action on the files, and the items for the catalogue."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pystac
import shapely

from openeo_gfmap.errors import ResultIncomplete
from openeo_gfmap.manager import results
from openeo_gfmap.manager.answers import plain
from openeo_gfmap.manager.callbacks import PostJobAction, within
from openeo_gfmap.manager.lifecycle import SavedFile
from openeo_gfmap.stac import items as stac_items

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PostProcessor"]

_NOT_KEPT = frozenset({"self", "root", "parent", "collection"})


@dataclass(frozen=True)
class PostProcessor:
    """Runs the user's action on the files of a job.

    Attributes
    ----------
    output_dir
        Folder that the files are in.
    action
        The user's callback; None leaves the items as they are.
    files_lock
        Held while NetCDF files are open.
    seconds
        Time limit of the action; None waits for ever.
    """

    output_dir: Path
    action: PostJobAction | None
    files_lock: AbstractContextManager[Any]
    seconds: float | None = None

    def unchanged(self, files: tuple[SavedFile, ...]) -> bool:
        """Tell whether all files are as they were downloaded."""
        try:
            return all(
                results.sha256_of(self.output_dir / file.path) == file.checksum for file in files
            )
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False

    def run(
        self, files: tuple[SavedFile, ...], row: pd.Series[Any]
    ) -> tuple[Mapping[str, Any], ...]:
        """Call the action; return the items as the store keeps them.

        Raises
        ------
        ResultIncomplete
            When an item has an asset that is no file.
        TookTooLong
            When the action is not done in time.
        Exception
            What the action raises.
        """
        if self.action is None:
            return tuple(map(_as_downloaded, files))
        items = [pystac.Item.from_dict(self._absolute(file.item)) for file in files]
        with self.files_lock:
            items = within(self.seconds, self.action, items, row)
        return tuple(self._catalogued(item) for item in items)

    def _absolute(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return an item as the user's action gets it: hrefs point at the files."""
        assets = {
            key: {**asset, "href": (self.output_dir / asset["href"]).as_posix()}
            for key, asset in item["assets"].items()
        }
        return {**item, "assets": assets}

    def _catalogued(self, item: pystac.Item) -> dict[str, Any]:
        """Return an item as the store keeps it.

        Addresses are relative to the output folder; sizes and checksums are those of the files as
        the action left them.
        """
        found = item.to_dict(include_self_link=False, transform_hrefs=False)
        document = {key: _as_json(value, f"item {item.id}: {key}") for key, value in found.items()}
        _check_shape(document)
        assets = {}
        for key, asset in document["assets"].items():
            assets[key] = {**asset, **self._file_fields(item.id, key, str(asset["href"]))}
        return _kept(document, assets)

    def _file_fields(self, item_id: str, key: str, href: str) -> dict[str, Any]:
        if "://" in href:
            return {"href": href}
        path = Path(href) if Path(href).is_absolute() else Path.cwd() / href
        if not path.is_file():
            raise ResultIncomplete(f"asset {key!r} of item {item_id} is {href}, which is no file")
        root = self.output_dir.resolve()
        inside = path.resolve().is_relative_to(root)
        return {
            "href": path.resolve().relative_to(root).as_posix() if inside else path.as_posix(),
            "file:size": path.stat().st_size,
            "file:checksum": results.multihash_of(path),
        }


def _as_json(value: Any, where: str) -> Any:  # noqa: PLR0911 - one for each JSON type
    """Return what an action put into an item as JSON has it: NumPy's numbers, and times, too.

    What is no finite number is null: JSON has neither NaN nor infinity.

    Raises
    ------
    TypeError
        When JSON has nothing like it; `where` names it.
    """
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    match value:
        case None | bool() | int():
            return value
        case str():
            return plain(value)
        case float():
            return value if math.isfinite(value) else None
        case date():
            text = value.isoformat()
            return None if text == "NaT" else text
        case list() | tuple():
            return [_as_json(each, f"{where}[{index}]") for index, each in enumerate(value)]
        case Mapping() if all(isinstance(key, str) for key in value):
            return {plain(key): _as_json(each, f"{where}.{key}") for key, each in value.items()}
    raise TypeError(
        f"{where} is {str(value)[:80]!r}, a {type(value).__name__}, which JSON does not have; make "
        "it text, a number, or a list or dictionary (with text for keys) of those"
    )


def _check_shape(document: Mapping[str, Any]) -> None:
    """Check what the collection is put together from: one odd item must not spoil that of all.

    Raises
    ------
    TypeError
        When the item has something in its place that is of another kind.
    """
    properties, box = document["properties"], document.get("bbox")
    numbers = isinstance(box, list) and all(isinstance(side, int | float) for side in box)
    wrong = {
        "id": not isinstance(document["id"], str) or not document["id"],
        "bbox": box is not None and not (numbers and len(box) in (4, 6)),
        "geometry": not _is_geometry(document.get("geometry")),
    }
    for name in ("datetime", "start_datetime", "end_datetime", "proj:code"):
        wrong[name] = not isinstance(properties.get(name), str | None)
    for name in (name for name, is_wrong in wrong.items() if is_wrong):
        value = properties[name] if name in properties else document.get(name)
        raise TypeError(
            f"item {document['id']}: {name} is {str(value)[:80]!r}; expected what STAC has there"
        )


def _is_geometry(geometry: Any) -> bool:
    if geometry is None:
        return True
    try:
        shapely.from_geojson(json.dumps(geometry))
    except shapely.errors.GEOSException:
        return False
    return True


def _as_downloaded(file: SavedFile) -> dict[str, Any]:
    """Return the item of a file that nobody has touched, as the store keeps it."""
    fields = {"file:size": file.size, "file:checksum": results.SHA256_MULTIHASH + file.checksum}
    assets = {
        key: {**asset, **fields} if asset["href"] == file.path else dict(asset)
        for key, asset in file.item["assets"].items()
    }
    return _kept(file.item, assets)


def _kept(document: Mapping[str, Any], assets: Mapping[str, Any]) -> dict[str, Any]:
    links = [link for link in document["links"] if link["rel"] not in _NOT_KEPT]
    properties = {"processing:software": _software(), **document["properties"]}
    return stac_items.modern_item(
        {**document, "links": links, "assets": assets, "properties": properties}
    )


@cache
def _software() -> dict[str, str]:
    """Return what makes the items; to look the version up takes as long as all else does."""
    return {"openeo-gfmap": metadata.version("openeo-gfmap")}
