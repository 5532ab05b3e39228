"""What a job leaves behind: files, and all that STAC needs to say about them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["JobResult", "ResultAsset"]


@dataclass(frozen=True)
class ResultAsset:
    """One result file, described for the STAC documents of ``GET /jobs/{id}/results``.

    Attributes
    ----------
    name
        File name, relative to the job's result folder.
    media_type
        For example ``application/x-netcdf``.
    bands
        Band names in the file's order.
    bbox
        WGS84 bounds: west, south, east, north; None for a result without a place.
    geometry
        GeoJSON geometry in WGS84.
    start, end
        First and last date of the data, RFC 3339; None for a result without time.
    proj_epsg, proj_bbox, proj_shape
        Native CRS, bounds in it (xmin, ymin, xmax, ymax) and shape (rows, columns).
    feature
        Index of the feature the file belongs to, with ``sample_by_feature``.
    nodata
        Nodata value of the bands.
    size, checksum
        Bytes, and the file:checksum multihash (``1220`` + sha-256, hex).
    """

    name: str
    media_type: str
    roles: tuple[str, ...] = ("data",)
    bands: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    geometry: dict[str, Any] | None = None
    start: str | None = None
    end: str | None = None
    proj_epsg: int | None = None
    proj_bbox: tuple[float, float, float, float] | None = None
    proj_shape: tuple[int, int] | None = None
    feature: int | None = None
    nodata: float | None = None
    size: int = 0
    checksum: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class JobResult:
    """All files of one job, the sources they came from, and messages for the job's log."""

    assets: tuple[ResultAsset, ...]
    derived_from: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    usage: dict[str, float] = field(default_factory=dict)
