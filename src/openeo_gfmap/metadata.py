"""The bands of a cube, also where the back-end describes none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import openeo

from openeo_gfmap.errors import InputError, UnknownBand

__all__ = ["FakeMetadata", "band_names"]


@dataclass(frozen=True)
class FakeMetadata:
    """The band names of a cube, and nothing else.

    Stands in for the client's own cube metadata where a cube was loaded from a STAC catalogue that
    does not say which bands it has: ``cube.metadata = FakeMetadata(band_names=["B02", "B03"])``.

    Parameters
    ----------
    band_names : list of str
        Labels of the band dimension, in order.
    """

    band_names: list[str]

    def rename_labels(
        self, dimension: str, target: Sequence[str], source: Sequence[str] | None = None
    ) -> FakeMetadata:
        """Return a copy with bands renamed from `source` (default: all of them) to `target`."""
        if dimension != "bands":
            return self
        names = dict(zip(source or self.band_names, target, strict=True))
        return replace(self, band_names=[names.get(name, name) for name in self.band_names])

    def filter_bands(self, bands: Sequence[str]) -> FakeMetadata:
        """Return a copy with only `bands`, in that order.

        Raises
        ------
        UnknownBand
            When a band is not there.
        """
        unknown = [band for band in bands if band not in self.band_names]
        if unknown:
            raise UnknownBand(f"Band {unknown} not in the cube, which has {self.band_names}.")
        return replace(self, band_names=list(bands))


def band_names(datacube: openeo.DataCube) -> list[str]:
    """Return the names of a cube's bands.

    Raises
    ------
    InputError
        When the cube does not know them.
    """
    if datacube.metadata is None:
        raise InputError(
            "The cube does not say which bands it has; set cube.metadata = "
            "FakeMetadata(band_names=[...])."
        )
    return list(datacube.metadata.band_names)
