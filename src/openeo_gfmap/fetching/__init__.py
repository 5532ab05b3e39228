"""Extraction: a harmonised cube of a product, for a place and a period, on any back-end."""

from openeo_gfmap.fetching.fetching import CollectionFetcher, FetchType
from openeo_gfmap.fetching.s2 import build_sentinel2_l2a_extractor

__all__ = ["CollectionFetcher", "FetchType", "build_sentinel2_l2a_extractor"]
