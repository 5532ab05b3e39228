"""Post-processing of one job: the user's action on the files, and the items for the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac

from openeo_gfmap.errors import ResultIncomplete
from openeo_gfmap.manager import results
from openeo_gfmap.manager.callbacks import PostJobAction, within
from openeo_gfmap.manager.lifecycle import SavedFile
from openeo_gfmap.stac import items as stac_items

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PostProcessor"]

_SHA256 = "1220"  # how a multihash of it begins
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
        document = item.to_dict(include_self_link=False, transform_hrefs=False)
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


def _as_downloaded(file: SavedFile) -> dict[str, Any]:
    """Return the item of a file that nobody has touched, as the store keeps it."""
    fields = {"file:size": file.size, "file:checksum": _SHA256 + file.checksum}
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
