"""Which collection of which back-end holds a product, and how it is asked for.

Everything in which back-ends differ is a row of this table: a new back-end, or one that renames a
collection or a band, changes data here and no code elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from openeo_gfmap.backend import Backend
from openeo_gfmap.bands import BASE_SENTINEL2_L2A_MAPPING
from openeo_gfmap.errors import UnsupportedCollection

__all__ = ["CollectionSource", "Product", "find_source"]


class Product(Enum):
    """A satellite product, whoever serves it."""

    SENTINEL2_L2A = "sentinel2-l2a"


@dataclass(frozen=True)
class CollectionSource:
    """How one back-end serves one product.

    Parameters
    ----------
    collection_id : str
        Name of the collection there.
    bands : mapping of str to str
        The collection's band names to the harmonised ones.
    defaults : mapping
        Fetching parameters used where the caller gives none.
    """

    collection_id: str
    bands: Mapping[str, str]
    defaults: Mapping[str, Any] = field(default_factory=dict)


_TEN_METRES_NEAREST: Mapping[str, Any] = MappingProxyType(
    {"target_resolution": 10.0, "target_crs": None, "resampling_method": "near"}
)

_S2 = CollectionSource("SENTINEL2_L2A", BASE_SENTINEL2_L2A_MAPPING, _TEN_METRES_NEAREST)

# The embedded back-end reads plain Sentinel-2 products, which carry no snow probability.
_S2_LOCAL = CollectionSource(
    "SENTINEL2_L2A",
    MappingProxyType({k: v for k, v in BASE_SENTINEL2_L2A_MAPPING.items() if k != "SNW"}),
    _TEN_METRES_NEAREST,
)

_SOURCES: Mapping[tuple[Backend, Product], CollectionSource] = MappingProxyType(
    {
        (Backend.TERRASCOPE, Product.SENTINEL2_L2A): _S2,
        (Backend.EODC, Product.SENTINEL2_L2A): _S2,
        (Backend.CDSE, Product.SENTINEL2_L2A): _S2,
        (Backend.CDSE_STAGING, Product.SENTINEL2_L2A): _S2,
        (Backend.FED, Product.SENTINEL2_L2A): _S2,
        (Backend.LOCAL, Product.SENTINEL2_L2A): _S2_LOCAL,
    }
)


def find_source(backend: Backend, product: Product) -> CollectionSource:
    """Return how `backend` serves `product`.

    Raises
    ------
    UnsupportedCollection
        When it does not; the message lists the back-ends that do.
    """
    try:
        return _SOURCES[backend, product]
    except KeyError:
        others = [name.value for name, offered in _SOURCES if offered is product]
        raise UnsupportedCollection(
            f"Back-end {backend.value!r} has no {product.value}; use one of {', '.join(others)}."
        ) from None
