"""Splitting a STAC collection by coordinate reference system."""

from __future__ import annotations

from pathlib import Path

import pystac

from openeo_gfmap.errors import InputError

__all__ = ["split_collection_by_epsg"]


def split_collection_by_epsg(path: str | Path, output_dir: str | Path) -> list[Path]:
    """Write one collection per EPSG code of the items of a STAC collection.

    Assets are not copied: their hrefs keep pointing to where they are.

    Parameters
    ----------
    path : str or Path
        ``collection.json`` of the collection. Items tell their CRS by ``proj:code`` or, as older
        ones do, ``proj:epsg``.
    output_dir : str or Path
        Folder for the new collections, ``collection-<epsg>/collection.json`` each.

    Returns
    -------
    list of Path
        The new collection files, by EPSG code.

    Raises
    ------
    InputError
        When the file is no STAC collection or an item does not tell its CRS; nothing is written
        then.
    """
    collection = _read(path)
    by_epsg: dict[int, list[pystac.Item]] = {}
    for item in collection.get_items(recursive=True):
        by_epsg.setdefault(_epsg(item), []).append(item)
    return [
        _write(collection, epsg, items, Path(output_dir)) for epsg, items in sorted(by_epsg.items())
    ]


def _read(path: str | Path) -> pystac.Collection:
    try:
        return pystac.Collection.from_file(str(path))
    except (OSError, ValueError, KeyError, pystac.STACError) as error:
        raise InputError(
            f"{path} is not a STAC collection ({error}); pass its collection.json."
        ) from error


def _epsg(item: pystac.Item) -> int:
    code = item.properties.get("proj:code", item.properties.get("proj:epsg"))
    try:
        return int(str(code).removeprefix("EPSG:"))
    except ValueError:
        raise InputError(
            f"Item {item.id!r} has proj:code {code!r}; expected one such as 'EPSG:32631'. Add it "
            "to the item."
        ) from None


def _write(
    collection: pystac.Collection, epsg: int, items: list[pystac.Item], output_dir: Path
) -> Path:
    part = pystac.Collection(
        id=f"{collection.id}_{epsg}",
        description=f"{collection.description} Items in EPSG:{epsg} only.",
        extent=collection.extent.clone(),
        title=collection.title,
        license=collection.license,
        keywords=collection.keywords,
        providers=collection.providers,
        summaries=collection.summaries.clone(),
        stac_extensions=list(collection.stac_extensions),
        extra_fields=dict(collection.extra_fields),
    )
    for item in items:
        item.make_asset_hrefs_absolute()
        copy = item.clone()
        copy.clear_links()
        part.add_item(copy)
    part.update_extent_from_items()
    folder = output_dir / f"collection-{epsg}"
    part.normalize_and_save(str(folder), catalog_type=pystac.CatalogType.SELF_CONTAINED)
    return folder / "collection.json"
