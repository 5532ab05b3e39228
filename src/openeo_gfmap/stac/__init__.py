"""STAC collections of extraction results."""

from openeo_gfmap.stac.constants import AUXILIARY

__all__ = ["AUXILIARY"]
