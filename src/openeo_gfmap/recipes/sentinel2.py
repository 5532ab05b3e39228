"""Square patches of a Sentinel-2 L2A time series around samples."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import openeo

from openeo_gfmap.backend import Backend, BackendContext
from openeo_gfmap.errors import InputError, concerning
from openeo_gfmap.fetching import CollectionFetcher, FetchType, build_sentinel2_l2a_extractor
from openeo_gfmap.preprocessing import UDF_DISTANCE_TO_CLOUD
from openeo_gfmap.preprocessing.compositing import (
    CALENDAR_PERIODS,
    mean_compositing,
    median_compositing,
)
from openeo_gfmap.quality import QualityGates
from openeo_gfmap.recipes.cloud_mask import SclDilation
from openeo_gfmap.recipes.labels import Labels, legend_of
from openeo_gfmap.recipes.parts import Parts, Upload
from openeo_gfmap.recipes.paths import PathTemplate
from openeo_gfmap.recipes.periods import AroundDate, Period
from openeo_gfmap.recipes.results import PATH, ResultWriter, extracted_features
from openeo_gfmap.recipes.samples import SampleColumns
from openeo_gfmap.recipes.windows import square_windows
from openeo_gfmap.temporal import TemporalContext
from openeo_gfmap.utils.html import settings_table
from openeo_gfmap.utils.upload import upload_geoparquet

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = ["Sentinel2Patches"]

_SCL: Final = "S2-L2A-SCL"
_MASK: Final = "S2-L2A-SCL_DILATED_MASK"
_DISTANCE: Final = "S2-L2A-DISTANCE-TO-CLOUD"
_CHUNK, _OVERLAP = 256, 16  # px: what the UDF sees at once, and beyond its chunk
#: Dates a day that pass a filter of 95 % cloud: a scene every 2.5 days on average over Europe,
#: counted in a run of 18 months.
_DATES_A_DAY: Final = 0.4
_COMPOSITORS: Final = {"median": median_compositing, "mean": mean_compositing}
_MAX_H3: Final = 15
_PERIOD_DAYS: Final = {"day": 1, "week": 7, "dekad": 10, "month": 30.4, "season": 91, "year": 365}


@dataclass(frozen=True)
class Sentinel2Patches:
    """A square of pixels around each sample, with all dates of a period.

    The result is one NetCDF file a sample: dims t, y, x; a uint16 variable for each band, nodata
    65535, reflectances times 10,000. With `labels` a second file has the labels on the same grid.

    Parameters
    ----------
    size : int
        Side of the square in pixels.
    resolution : float
        Of a pixel, in metres.
    snap : float
        Corners of the squares lie on multiples of this, in metres.
    period : AroundDate or FixedDates
        From when to when.
    bands : tuple of str
        Harmonised names. The scene classification is added where mask or distance need it.
    max_cloud_cover : float or None
        Scenes with a higher share of clouds, in percent, are left out. None takes all.
    cloud_mask : SclDilation or None
        Adds the band S2-L2A-SCL_DILATED_MASK: 1 where it is cloudy.
    distance_to_cloud : bool
        Adds the band S2-L2A-DISTANCE-TO-CLOUD: chessboard distance in pixels.
    composite : str or None
        Calendar period, such as "month": the dates of each are made one, without what `cloud_mask`
        masks.
    composite_by : str
        "median" or "mean".
    labels : Labels or None
        Attribute to burn on the grid of each patch.
    path : str
        Template of the files' paths, see `PathTemplate`.
    max_samples, grid_resolution : int
        A job has at most so many samples of one H3 cell of this resolution.
    job_options : mapping
        For the back-end.
    quicklook : bool
        Adds a small picture (PNG) of each patch: its clearest date in true colour.
    columns : SampleColumns
        Which columns of the samples say what.
    min_extract : int
        Where ``extract`` is a level: the lowest that is extracted.
    """

    name: ClassVar[str] = "sentinel2-patches"
    constellation: ClassVar[str] = "sentinel2"

    size: int = 64
    resolution: float = 10.0
    snap: float = 20.0
    period: Period = field(default_factory=AroundDate)
    bands: tuple[str, ...] = tuple(
        f"S2-L2A-{band}"
        for band in (
            *("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08"),
            *("B8A", "B09", "B11", "B12", "SCL"),
        )
    )
    max_cloud_cover: float | None = 95.0
    cloud_mask: SclDilation | None = field(default_factory=SclDilation)
    distance_to_cloud: bool = True
    composite: str | None = None
    composite_by: str = "median"
    labels: Labels | None = field(default_factory=Labels)
    path: str = (
        "{ref_id}/{epsg}/{tile}/{sample_id}/S2_10m_{sample_id}_{epsg}_{start_date}_{end_date}.nc"
    )
    max_samples: int = 60
    grid_resolution: int = 4
    job_options: Mapping[str, Any] = field(
        default_factory=lambda: {"executor-memory": "5G", "executor-memoryOverhead": "2G"}
    )
    quicklook: bool = True
    columns: SampleColumns = field(default_factory=SampleColumns)
    min_extract: int = 1

    def __post_init__(self) -> None:
        PathTemplate(self.path)
        for name in ("size", "resolution", "snap", "max_samples"):
            if not getattr(self, name) > 0:
                raise InputError(
                    f"{name} is {getattr(self, name)}; it must be more than 0.", about=name
                )
        if not 0 <= self.grid_resolution <= _MAX_H3:
            raise InputError(
                f"grid_resolution is {self.grid_resolution}; expected a resolution of H3, 0 to "
                f"{_MAX_H3}.",
                about="grid_resolution",
            )
        side = self.size * self.resolution
        if not math.isclose(side % self.snap, 0) and not math.isclose(side % self.snap, self.snap):
            raise InputError(
                f"a side of {self.size} pixels of {self.resolution:g} m is {side:g} m, no multiple "
                f"of snap={self.snap:g} m, so that one edge would cut pixels; choose another size "
                "or snap.",
                about="size",
            )
        if not self.bands:
            raise InputError(
                "bands is empty; name at least one, such as 'S2-L2A-B04'.", about="bands"
            )
        if self.max_cloud_cover is not None and not 0 <= self.max_cloud_cover <= 100:
            raise InputError(
                f"max_cloud_cover is {self.max_cloud_cover}; expected percent, from 0 to 100.",
                about="max_cloud_cover",
            )
        if self.composite is not None:
            if self.composite not in CALENDAR_PERIODS:
                raise InputError(
                    f"composite is {self.composite!r}; expected one of "
                    f"{', '.join(CALENDAR_PERIODS)}.",
                    about="composite",
                )
            if self.cloud_mask is None:
                raise InputError(
                    lambda words: (
                        f"composite is {self.composite!r}, which without cloud_mask would mix "
                        "clouds in; have a mask, as "
                        f"{words.name('cloud_mask=SclDilation()', 'cloud_mask')} says it."
                    ),
                    about="composite",
                )
        if self.composite_by not in _COMPOSITORS:
            raise InputError(
                f"composite_by is {self.composite_by!r}; expected median or mean.",
                about="composite_by",
            )

    def _repr_html_(self) -> str:
        return settings_table(self, self.name)

    # -------------------------------------------------------------------------------------- parts

    def parts(self, samples: gpd.GeoDataFrame, backend: str, upload: Upload | None) -> Parts:
        """Return the four parts of a run; see `Recipe`."""
        with concerning("bands"):
            self._extractor(backend)  # what the back-end lacks is refused here, not in a job
        writer = ResultWriter("Sentinel-2 L2A", self.labels, quicklook=self.quicklook)

        def start_job(row: pd.Series[Any], connection: openeo.Connection) -> openeo.BatchJob:
            return self.start_job(row, connection, upload)

        return Parts(
            self.job_table(samples, backend),
            start_job,
            writer.output_path,
            writer.post_job_action,
        )

    @property
    def pixels_per_patch(self) -> int:
        """Pixels of a patch, of one band on one date."""
        return self.size**2

    @property
    def output_bands(self) -> tuple[str, ...]:
        """Names of the variables in a file."""
        return (
            *self.bands,
            *([_MASK] if self.cloud_mask is not None and self.composite is None else []),
            *([_DISTANCE] if self.distance_to_cloud else []),
        )

    def gates(self) -> QualityGates:
        """Return what a patch must be: size, CRS, pixels, bands, and dates within the period."""
        return QualityGates(
            shape=(self.size, self.size),
            crs="utm",
            resolution=self.resolution,
            bands=self.output_bands,
            dtype="uint16",
            # The date of a composite is the first day of its month, which can lie before.
            within_period=self.composite is None,
        )

    def values_per_patch(self, days: int) -> int:
        """Return about how many numbers a patch holds when the period has so many days."""
        dates = days * _DATES_A_DAY
        if self.composite is not None:
            dates = min(dates, days / _PERIOD_DAYS.get(self.composite, 30.4))
        return round(self.pixels_per_patch * max(dates, 1) * len(self.output_bands))

    def job_table(self, samples: gpd.GeoDataFrame, backend: str) -> pd.DataFrame:
        """Return one row a job; its polygons travel inside the row, as GeoJSON.

        The features to be extracted come first. Those after them touch a patch, and are burned
        there: samples without a patch of their own, and samples of other jobs.
        """
        import pandas as pd  # noqa: PLC0415

        from openeo_gfmap.manager.job_splitters import split_job_hex  # noqa: PLC0415

        legend = legend_of(samples, self.labels) if self.labels is not None else {}
        samples = samples.assign(gfmap_label=self._numbers(samples, legend))
        extracted = samples[samples.extract]
        self.period.check(extracted)
        rows, paths = [], []
        template = PathTemplate(self.path)
        for wanted in split_job_hex(extracted, self.max_samples, self.grid_resolution):
            start, end = self.period.of(wanted)
            windows = self.windows(wanted)
            found = self._paths(template, windows, start, end)
            paths += list(zip(wanted.sample_id, found, strict=True))
            features = pd.concat(
                [
                    wanted.assign(**{PATH: found}),
                    self._around(samples, set(wanted.sample_id), windows),
                ]
            )
            rows.append(
                {
                    "backend_name": backend,
                    "recipe": self.name,
                    "start_date": start,
                    "end_date": end,
                    "samples": len(wanted),
                    "h3index": str(wanted.h3index.iloc[0]),
                    "legend": json.dumps(legend),
                    "geometry": _geojson(features),
                }
            )
        template.check(paths)
        return pd.DataFrame(rows)

    def windows(self, samples: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
        """Return the squares of a job's samples, in UTM."""
        return square_windows(samples, self.size * self.resolution, self.snap)

    def _numbers(self, samples: gpd.GeoDataFrame, legend: Mapping[str, int]) -> Any:
        if self.labels is None:
            return 0
        values = samples[self.labels.attribute]
        if values.dtype.kind in "iufb":
            return values.fillna(0).astype(int)
        return values.map(legend).fillna(0).astype(int)

    @staticmethod
    def _around(
        samples: gpd.GeoDataFrame, wanted: set[str], windows: gpd.GeoDataFrame
    ) -> gpd.GeoDataFrame:
        """Return the other samples that touch a window."""
        touching = samples.sindex.query(
            windows.to_crs(4326).geometry.to_numpy(), predicate="intersects"
        )[1]
        others = samples.iloc[sorted(set(touching))]
        return others[~others.sample_id.isin(wanted)].assign(extract=False)

    @staticmethod
    def _paths(
        template: PathTemplate, windows: gpd.GeoDataFrame, start: str, end: str
    ) -> list[str]:
        from openeo_gfmap.tiling import tile_of  # noqa: PLC0415

        centres = windows.geometry.centroid.to_crs(4326)
        tiles = tile_of(centres.x.to_numpy(), centres.y.to_numpy())
        common = {"epsg": windows.crs.to_epsg(), "start_date": start, "end_date": end}
        rows = windows.drop(columns="geometry").to_dict("records")
        return [
            template.fill({**row, **common, "tile": tile})
            for row, tile in zip(rows, tiles, strict=True)
        ]

    # ---------------------------------------------------------------------------------------- job

    def start_job(
        self, row: pd.Series[Any], connection: openeo.Connection, upload: Upload | None = None
    ) -> openeo.BatchJob:
        """Create the batch job of a row of `job_table`."""
        import geopandas as gpd  # noqa: PLC0415

        wanted = gpd.GeoDataFrame.from_features(extracted_features(row), crs=4326)
        windows = self.windows(wanted)[["sample_id", "geometry"]]
        # Named by content: a job that is made again stores the same file under the same name.
        digest = hashlib.sha256(windows.to_wkb().to_csv().encode()).hexdigest()[:16]
        name = f"gfmap/{digest}.parquet"
        address = upload(windows, name) if upload else upload_geoparquet(windows, name, connection)
        cube = self.cube(row, connection, address)
        return cube.create_job(
            out_format="NetCDF",
            title=f"{self.name} {row['h3index']} {row['start_date']}",
            sample_by_feature=True,
            job_options=dict(self.job_options) or None,
        )

    def cube(
        self, row: pd.Series[Any], connection: openeo.Connection, windows: str
    ) -> openeo.DataCube:
        """Return the data cube of a row, for windows at an address."""
        context = TemporalContext(row["start_date"], row["end_date"])
        extractor = self._extractor(row["backend_name"])
        cube = extractor.get_cube(connection, windows, context)
        mask = self._mask(cube)
        distance = self._distance(cube)
        if extractor.bands != list(self.bands):
            cube = cube.filter_bands(list(self.bands))
        if mask is not None and self.composite is None:
            cube = cube.merge_cubes(mask)
        if distance is not None:
            cube = cube.merge_cubes(distance)
        if mask is not None and self.composite is not None:
            cube = _COMPOSITORS[self.composite_by](
                cube.mask(mask.reduce_dimension("bands", "first")), self.composite
            )
        # Bounds of whole numbers are a cast to uint16, with 65535 for nodata.
        return cube.linear_scale_range(0, 65534, 0, 65534)

    def _extractor(self, backend: str) -> CollectionFetcher:
        derived = self.cloud_mask is not None or self.distance_to_cloud
        options: dict[str, Any] = {"target_resolution": self.resolution}
        limit = self.max_cloud_cover
        if limit is not None:
            options["load_collection"] = {"eo:cloud_cover": lambda cover: cover <= limit}
        return build_sentinel2_l2a_extractor(
            BackendContext(Backend(backend)),
            bands=[*self.bands, *([_SCL] if derived and _SCL not in self.bands else [])],
            fetch_type=FetchType.POLYGON,
            **options,
        )

    def _mask(self, cube: openeo.DataCube) -> openeo.DataCube | None:
        dilation = self.cloud_mask
        if dilation is None:
            return None
        return cube.process(
            "to_scl_dilation_mask",
            data=cube,
            scl_band_name=_SCL,
            kernel1_size=dilation.kernel1_size,
            kernel2_size=dilation.kernel2_size,
            mask1_values=list(dilation.mask1_values),
            mask2_values=list(dilation.mask2_values),
            erosion_kernel_size=dilation.erosion_kernel_size,
        ).rename_labels("bands", [_MASK])

    def _distance(self, cube: openeo.DataCube) -> openeo.DataCube | None:
        if not self.distance_to_cloud:
            return None
        return (
            cube.filter_bands([_SCL])
            .apply_neighborhood(
                process=openeo.UDF.from_file(UDF_DISTANCE_TO_CLOUD, runtime="Python"),
                size=[_pixels("x", _CHUNK), _pixels("y", _CHUNK)],
                overlap=[_pixels("x", _OVERLAP), _pixels("y", _OVERLAP)],
            )
            .rename_labels("bands", [_DISTANCE])
        )


def _pixels(dimension: str, value: int) -> dict[str, Any]:
    return {"dimension": dimension, "unit": "px", "value": value}


def _geojson(features: gpd.GeoDataFrame) -> str:
    """Return features as GeoJSON with all digits; dates as ISO dates."""
    dated = features.assign(valid_date=features.valid_date.dt.strftime("%Y-%m-%d"))
    return str(dated.reset_index(drop=True).to_json(drop_id=True, default=_json))


def _json(value: Any) -> str:
    """Return what JSON has no type for: a moment of a column of days as a day, others whole."""
    if not isinstance(value, datetime):
        return str(value)
    is_day = value.tzinfo is None and value.time() == time()
    return value.date().isoformat() if is_day else value.isoformat()
