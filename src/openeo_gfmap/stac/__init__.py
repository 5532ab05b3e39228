"""STAC collections of extraction results.

`AUXILIARY` describes the asset of a label file; `merge` makes one collection of several.
"""

import typing as _typing

from openeo_gfmap.stac.constants import AUXILIARY

if _typing.TYPE_CHECKING:
    from openeo_gfmap.stac.merging import merge

__all__ = ["AUXILIARY", "merge"]


def __getattr__(name: str) -> object:
    # Loads pyarrow and shapely, which the constants do not need.
    if name != "merge":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from openeo_gfmap.stac import merging  # noqa: PLC0415

    return merging.merge
