# %% [markdown]
# # From labelled fields to a STAC collection of patches
#
# Labelled field polygons go in. For every field with `extract = True`, a 64 x 64 pixel
# Sentinel-2 time series comes out: 13 bands, a cloud mask, the distance to the next cloud and a
# raster of the labels, as NetCDF files in one STAC collection.
#
# The steps:
#
# 1. **split** the polygons into compact jobs (H3 cells);
# 2. make a **table** with one row per job;
# 3. say how a row becomes an openEO **job**;
# 4. say **where** each result file goes;
# 5. say what happens **after** a job (here: burn the labels);
# 6. **run**, and look.
#
# It runs on the embedded back-end with simulated Sentinel-2 scenes, so it needs no account.
# To run the same jobs on real data, add another back-end in step 6, for example
# `manager.add_backend("cdse", cdse_connection, parallel_jobs=2)`.

# %%
import json
import logging
import os
import time
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import geojson
import geopandas as gpd
import openeo
import pandas as pd
import pystac
import xarray as xr
from pyproj import CRS, Transformer
from rasterio.features import rasterize
from rasterio.transform import from_bounds
from shapely.geometry import Point, box

from openeo_gfmap import Backend, BackendContext, FetchType, TemporalContext
from openeo_gfmap.backend import local_connection
from openeo_gfmap.fetching import build_sentinel2_l2a_extractor
from openeo_gfmap.manager.job_manager import GFMAPJobManager
from openeo_gfmap.manager.job_splitters import split_job_hex
from openeo_gfmap.preprocessing import UDF_DISTANCE_TO_CLOUD
from openeo_gfmap.report import contact_sheet
from openeo_gfmap.stac import AUXILIARY
from openeo_gfmap.tiling import tile_of
from openeo_gfmap.utils import update_nc_attributes
from openeo_gfmap.utils.upload import upload_geoparquet

# %% [markdown]
# Settings. Each can be set from outside, which is how `make demo` asks for a shorter period.

# %%
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
BUNDLED = HERE / "data" / "demo_fields.gpkg"
WORLDCEREAL = HERE.parents[1] / "shared/data/worldcereal/wc_extraction_dataset.gpkg"

SAMPLES = Path(os.getenv("GFMAP_SAMPLES") or (WORLDCEREAL if WORLDCEREAL.exists() else BUNDLED))
OUTPUT = Path(os.getenv("GFMAP_OUTPUT", "gfmap-demo")).resolve()
# Days before and after the mean date of the labels: nine months each way, so that the growing
# season is complete whatever the crop.
DAYS = int(os.getenv("GFMAP_DAYS", "275"))
# How many jobs to run; 0 runs them all.
JOBS = int(os.getenv("GFMAP_JOBS", "4"))

# 32 pixels of 10 m to each side of the field's centre: 64 x 64 pixel patches.
HALF_PATCH = 320
BANDS = [
    "S2-L2A-B01", "S2-L2A-B02", "S2-L2A-B03", "S2-L2A-B04", "S2-L2A-B05", "S2-L2A-B06",
    "S2-L2A-B07", "S2-L2A-B08", "S2-L2A-B8A", "S2-L2A-B09", "S2-L2A-B11", "S2-L2A-B12",
    "S2-L2A-SCL",
]  # fmt: skip

# Where there is no terminal for a live display, the manager logs how it gets on.
logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
logging.getLogger("openeo_gfmap").setLevel(logging.INFO)

# %% [markdown]
# ## 1. Split the polygons into jobs
#
# Each job holds at most 60 polygons of one H3 cell. Polygons with `extract = False` get no patch
# of their own, but their labels are burned where they touch a patch; a job in which nothing is to
# be extracted is dropped.

# %%
fields = gpd.read_file(SAMPLES)
split_jobs = split_job_hex(fields, max_points=60, grid_resolution=4)
split_jobs = [job for job in split_jobs if job.extract.any()]
print(f"{len(fields)} fields of {SAMPLES.name} make {len(split_jobs)} jobs.")

# %% [markdown]
# ## 2. One row per job
#
# The polygons travel inside the row, as GeoJSON text, so that the table is all a later run needs.

# %%


def create_job_dataframe(backend: Backend, jobs: list[gpd.GeoDataFrame]) -> pd.DataFrame:
    """Return the job table: dates around the labels' mean date, polygons as GeoJSON."""
    rows = []
    for job in jobs:
        middle = pd.to_datetime(job.valid_date).mean()
        rows.append(
            {
                "backend_name": backend.value,
                "out_prefix": "S2_10m",
                "out_extension": ".nc",
                "start_date": (middle - timedelta(days=DAYS)).strftime("%Y-%m-%d"),
                "end_date": (middle + timedelta(days=DAYS)).strftime("%Y-%m-%d"),
                "geometry": job.to_json(),
            }
        )
    return pd.DataFrame(rows)


def extracted_features(row: pd.Series) -> list[geojson.Feature]:
    """Return the features of a row that get a patch, in the order of the result files."""
    features = geojson.loads(row.geometry)["features"]
    return [feature for feature in features if feature.properties.get("extract")]


job_df = create_job_dataframe(Backend.LOCAL, split_jobs)
if JOBS:
    job_df = job_df.iloc[:JOBS].reset_index(drop=True)
job_df["nb_polygons"] = job_df.apply(lambda row: len(extracted_features(row)), axis=1)
print(f"This run: {len(job_df)} jobs, {job_df.nb_polygons.sum()} patches.")

# %% [markdown]
# ## 3. From a row to an openEO job
#
# The patches are squares in UTM metres, snapped to the 20 m grid so that all bands line up.
# GeoJSON in a process graph only knows longitude and latitude, so the squares are uploaded as
# GeoParquet and the process graph refers to them.

# %%


def patch_squares(features: list[geojson.Feature]) -> gpd.GeoDataFrame:
    """Return a square of 640 m around each field's centre, in the fields' UTM zone."""
    gdf = gpd.GeoDataFrame.from_features(features, crs="EPSG:4326")
    gdf = gdf.to_crs(gdf.estimate_utm_crs())
    centres = gdf.geometry.centroid
    snapped = [Point(round(p.x / 20) * 20, round(p.y / 20) * 20) for p in centres]
    gdf["geometry"] = gpd.GeoSeries(snapped, crs=gdf.crs).buffer(HALF_PATCH, cap_style="square")
    return gdf


def create_datacube(row: pd.Series, connection: openeo.Connection) -> openeo.BatchJob:
    """Create the batch job of one row."""
    features = extracted_features(row)
    squares_url = upload_geoparquet(patch_squares(features), f"patches_{row.name}", connection)

    extractor = build_sentinel2_l2a_extractor(
        BackendContext(Backend(row.backend_name)),
        bands=BANDS,
        fetch_type=FetchType.POLYGON,
        target_resolution=10,
        load_collection={"eo:cloud_cover": lambda value: value <= 95.0},
    )
    cube = extractor.get_cube(
        connection, squares_url, TemporalContext(row.start_date, row.end_date)
    )

    mask = cube.process(
        "to_scl_dilation_mask",
        data=cube,
        scl_band_name="S2-L2A-SCL",
        kernel1_size=17,
        kernel2_size=77,
        mask1_values=[2, 4, 5, 6, 7],
        mask2_values=[3, 8, 9, 10, 11],
        erosion_kernel_size=3,
    ).rename_labels("bands", ["S2-L2A-SCL_DILATED_MASK"])

    def pixels(dimension: str, value: int) -> dict[str, object]:
        return {"dimension": dimension, "unit": "px", "value": value}

    distance = (
        cube.filter_bands(["S2-L2A-SCL"])
        .apply_neighborhood(
            process=openeo.UDF.from_file(UDF_DISTANCE_TO_CLOUD),
            size=[pixels("x", 256), pixels("y", 256)],
            overlap=[pixels("x", 16), pixels("y", 16)],
        )
        .rename_labels("bands", ["S2-L2A-DISTANCE-TO-CLOUD"])
    )

    cube = cube.merge_cubes(mask).merge_cubes(distance)
    cube = cube.linear_scale_range(0, 65534, 0, 65534)

    first = features[0].properties
    return cube.create_job(
        out_format="NetCDF",
        title=f"GFMAP_Extraction_S2_{first['h3index']}_{first['valid_date']}",
        sample_by_feature=True,
        job_options={"executor-memory": "5G", "executor-memoryOverhead": "2G"},
    )


# %% [markdown]
# ## 4. Where each file goes
#
# Called for each file once it has been downloaded to `tmp_path`.

# %%


def generate_output_path(
    root_folder: Path, tmp_path: Path, geometry_index: int, row: pd.Series
) -> Path:
    """Return ref_id / EPSG code / Sentinel-2 tile / sample_id / file name."""
    sample = extracted_features(row)[geometry_index].properties
    with xr.open_dataset(tmp_path) as patch:
        crs = CRS.from_wkt(patch.crs.attrs["crs_wkt"])
        centre = (patch.x.mean().item(), patch.y.mean().item())
    lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(*centre)
    name = (
        f"{row.out_prefix}_{sample['sample_id']}_{crs.to_epsg()}"
        f"_{row.start_date}_{row.end_date}{row.out_extension}"
    )
    return (
        root_folder
        / sample["ref_id"]
        / str(crs.to_epsg())
        / tile_of(lon, lat).item()
        / sample["sample_id"]
        / name
    )


# %% [markdown]
# ## 5. After a job: burn the labels
#
# Called once per job with its STAC items, in the order of the extracted features. It describes
# each NetCDF file in its attributes, writes the label raster beside it and adds the raster to the
# item.

# %%


def post_job_action(
    job_items: list[pystac.Item], row: pd.Series, parameters: dict | None = None
) -> list[pystac.Item]:
    """Add attributes and a label raster to each patch of the job."""
    # json keeps all digits of the coordinates; geojson would round them to a tenth of a metre.
    fields_of_job = gpd.GeoDataFrame.from_features(json.loads(row.geometry), crs="EPSG:4326")
    extracted = fields_of_job[fields_of_job.extract.astype(bool)].reset_index(drop=True)
    if len(extracted) != len(job_items):
        raise ValueError(
            f"{len(job_items)} files came for {len(extracted)} fields; the job is incomplete"
        )
    for item, sample in zip(job_items, extracted.itertuples(), strict=True):
        patch_path = Path(next(iter(item.assets.values())).href)
        provenance = {
            "valid_date": sample.valid_date,
            "sample_id": sample.sample_id,
            "GFMAP_version": version("openeo_gfmap"),
            "creation_date": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
            "spatial_resolution": "10m",
        }
        update_nc_attributes(
            patch_path,
            {
                **provenance,
                "start_date": row.start_date,
                "end_date": row.end_date,
                "title": f"Sentinel2 L2A - {sample.sample_id}",
                "description": f"Sentinel2 L2A observations for sample: {sample.sample_id}, "
                "unprocessed.",
            },
        )
        label_path = write_labels(patch_path, fields_of_job, sample, provenance)
        item.add_asset("auxiliary", AUXILIARY.create_asset(href=label_path.as_posix()))
    return job_items


def write_labels(patch_path: Path, fields_of_job: gpd.GeoDataFrame, sample, provenance) -> Path:
    """Write the crop type of all fields that touch the patch, on the patch's own grid."""
    with xr.open_dataset(patch_path) as patch:
        crs, x, y = patch["crs"].load(), patch.x.load(), patch.y.load()
    target = CRS.from_wkt(crs.attrs["crs_wkt"])
    # The raster spans the outer cell centres, as in the pipeline that existing datasets were made
    # with, so that labels made today and then compare cell by cell.
    bounds = (x.min().item(), y.min().item(), x.max().item(), y.max().item())
    touching = fields_of_job.to_crs(target).clip(box(*bounds))
    labels = rasterize(
        list(zip(touching.geometry, touching.croptype_label, strict=True)),
        out_shape=(y.size, x.size),
        transform=from_bounds(*bounds, x.size, y.size),
        fill=0,
        dtype="int64",
    )
    label_attributes = {"grid_mapping": "crs", **legend(fields_of_job)}
    dataset = xr.Dataset(
        {"LABEL": (("y", "x"), labels, label_attributes), "crs": crs},
        coords={"y": y, "x": x},
        attrs={
            **provenance,
            "ref_id": sample.ref_id,
            "_FillValue": 0,
            "confidence": str(getattr(sample, "confidence", None)),
            "Conventions": "CF-1.9",
            "title": f"WORLDCEREAL Auxiliary file for sample: {sample.sample_id}",
            "description": f"Contains rasterized WorldCereal labels for sample: "
            f"{sample.sample_id}.",
        },
    )
    path = patch_path.with_name(
        f"WORLDCEREAL_10m_{sample.sample_id}_{target.to_epsg()}_{sample.valid_date}.nc"
    )
    dataset.to_netcdf(path, format="NETCDF4", engine="h5netcdf")
    return path


def legend(fields: gpd.GeoDataFrame) -> dict[str, object]:
    """Return CF's attributes for what each code means, where the fields say it."""
    if "croptype_name" not in fields:
        return {}
    names = fields.drop_duplicates("croptype_label").sort_values("croptype_label")
    return {
        "flag_values": names.croptype_label.to_numpy(),
        "flag_meanings": " ".join(names.croptype_name.str.replace(" ", "_")),
    }


# %% [markdown]
# ## 6. Run
#
# The tracker remembers every job. Interrupt the run whenever you like and start it again: what is
# done stays done, and nothing is made twice.

# %%
manager = GFMAPJobManager(
    output_dir=OUTPUT,
    output_path_generator=generate_output_path,
    collection_id="SENTINEL-EXTRACTION",
    collection_description="Sentinel-2 and auxiliary data extraction example.",
    post_job_action=post_job_action,
    poll_sleep=1,
    n_threads=2,
)
manager.add_backend(Backend.LOCAL.value, local_connection, parallel_jobs=2)
manager.run_jobs(job_df, create_datacube, OUTPUT / "job_tracker.csv")
manager.create_stac()

# %% [markdown]
# ## Look
#
# The collection opens with any STAC tool. Here is what is in it.

# %%
collection = pystac.Collection.from_file(str(OUTPUT / "stac" / "collection.json"))
items = list(collection.get_items(recursive=True))
if not items:
    raise SystemExit(f"No patch came; {OUTPUT / 'failed_jobs'} holds the logs of failed jobs.")
sheet = contact_sheet(items, OUTPUT / "contact_sheet.png")
first_patch = next(iter(items[0].assets.values())).get_absolute_href()

print(f"""
{len(items)} of {job_df.nb_polygons.sum()} patches are in the collection.

  picture          {sheet}
  STAC collection  {OUTPUT / "stac" / "collection.json"}
  job tracker      {OUTPUT / "job_tracker.csv"}
  first patch      {first_patch}

Open the first patch in Python:

  import xarray
  xarray.open_dataset("{first_patch}")

The scenes came from: {local_connection().describe_collection("SENTINEL2_L2A")["title"]}.""")
