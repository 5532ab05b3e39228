"""The whole road: the example and the user's own pipeline, from polygons to STAC collection.

One run of each, on a scale that fits a test: three jobs, six weeks. The example runs as the
notebook; the user's pipeline runs as the very code of its export. Both talk to one embedded
back-end over HTTP.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import matplotlib.image
import nbclient
import nbformat
import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import xarray as xr
from pyproj import CRS
from pytest_httpserver import HTTPServer

from openeo_gfmap.manager.job_splitters import load_s2_grid, split_job_hex
from support.cf import cf_errors
from support.put_store import PutStore
from support.reference_pipeline import local_script
from support.stac_schemas import SchemaFolder

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "full_extraction_pipeline.py"
DAYS = 21
BANDS = {
    *(f"S2-L2A-B{n:02d}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12)),
    "S2-L2A-B8A",
    "S2-L2A-SCL",
    "S2-L2A-SCL_DILATED_MASK",
    "S2-L2A-DISTANCE-TO-CLOUD",
}


@dataclass(frozen=True)
class Run:
    """Where a run put its results, and the fields it was given."""

    output: Path
    samples: Path

    @property
    def extracted(self) -> gpd.GeoDataFrame:
        fields = gpd.read_file(self.samples)
        return fields[fields.extract.astype(bool)]

    def items(self) -> list[pystac.Item]:
        collection = pystac.Collection.from_file(str(self.output / "stac" / "collection.json"))
        return list(collection.get_items(recursive=True))

    def patches(self) -> dict[str, Path]:
        """Return the patch of each sample id."""
        return {p.parent.name: p for p in sorted(self.output.rglob("S2_10m_*.nc"))}

    def labels(self) -> dict[str, Path]:
        """Return the label raster of each sample id."""
        return {p.parent.name: p for p in sorted(self.output.rglob("WORLDCEREAL_10m_*.nc"))}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fields of three small jobs, and one job of which nothing is to be extracted.

    The last field of the first job is not to be extracted either: its label still belongs on its
    neighbours' rasters.
    """
    source = ROOT.parent / "shared/data/worldcereal/wc_extraction_dataset.gpkg"
    if not source.exists():
        source = ROOT / "examples/data/demo_fields.gpkg"
    jobs = split_job_hex(gpd.read_file(source), max_points=60, grid_resolution=4)
    jobs = sorted((job for job in jobs if len(job) > 1), key=len)[:4]
    jobs[0].iloc[-1, jobs[0].columns.get_loc("extract")] = False
    jobs[3]["extract"] = False
    path = tmp_path_factory.mktemp("samples") / "fields.gpkg"
    pd.concat(jobs).drop(columns="h3index").to_file(path)
    return path


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> dict[str, str]:
    """Both runs use one embedded back-end with a state folder of its own."""
    return {
        **os.environ,
        "OPENEO_GFMAP_HOME": str(tmp_path_factory.mktemp("home")),
        "GFMAP_SAMPLES": str(samples),
        "GFMAP_DAYS": str(DAYS),
        "GFMAP_JOBS": "0",
    }


@pytest.fixture(scope="module")
def example(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], samples: Path
) -> Run:
    """Execute the example as a notebook."""
    output = tmp_path_factory.mktemp("example")
    notebook = nbformat.read(EXAMPLE.with_suffix(".ipynb"), as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=500, resources={"metadata": {"path": str(EXAMPLE.parent)}}
    )
    client.execute(env={**environment, "GFMAP_OUTPUT": str(output)})
    return Run(output, samples)


@pytest.fixture(scope="module")
def store() -> Iterator[PutStore]:
    """Stand in for the artifact store that the user's pipeline uploads its polygons to."""
    with HTTPServer(host="127.0.0.1") as server:
        yield PutStore(server, "user", "secret")


@pytest.fixture(scope="module")
def reference(
    tmp_path_factory: pytest.TempPathFactory,
    environment: dict[str, str],
    samples: Path,
    shared_data: Path,
    store: PutStore,
) -> Run:
    """Run the user's own pipeline, pointed at local addresses."""
    folder = tmp_path_factory.mktemp("reference")
    output = folder / "extractions"
    load_s2_grid().to_file(folder / "s2grid_bounds.gpkg")
    export = shared_data.parent / "reference" / "full_extraction_pipeline.md"
    auxdata = "https://artifactory.vgt.vito.be/artifactory/auxdata-public/gfmap"
    script = local_script(
        export.read_text(),
        {
            # Addresses.
            f"{auxdata}/DEMO_CROPTYPE.gpkg": str(samples),
            f"{auxdata}/s2grid_bounds.gpkg": str(folder / "s2grid_bounds.gpkg"),
            f"{auxdata}-temp": store.url,
            "/data/users/Public/couchard/world_cereal/extractions_5/": str(output),
            # Scale: fewer dates, all jobs, and no minute between two looks.
            "pd.Timedelta(days=275)": f"pd.Timedelta(days={DAYS})",
            "job_df.iloc[[0, 2, 3, -6]]": "job_df",
            "poll_sleep=60": "poll_sleep=1",
            # The one line that no longer works: it overwrites a file that it holds open.
            "xr.open_dataset(item_asset_path, chunks='auto')": "xr.load_dataset(item_asset_path)",
        },
    )
    (folder / "pipeline.py").write_text(script)
    # The pipeline expects the UDF beside it, under this name.
    from openeo_gfmap.preprocessing import UDF_DISTANCE_TO_CLOUD

    (folder / "udf_distance_to_cloud.py").write_text(UDF_DISTANCE_TO_CLOUD.read_text())
    environment = {
        **environment,
        "ARTIFACTORY_USERNAME": "user",
        "ARTIFACTORY_PASSWORD": "secret",
        # The address of the back-end, which the code names as CDSE's staging copy.
        "OPENEO_GFMAP_URL_CDSE_STAGING": "local",
    }
    done = subprocess.run(
        [sys.executable, "pipeline.py"], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return Run(output, samples)


def test_the_notebook_is_made_from_the_script() -> None:
    """Editing one without the other is noticed."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from make_notebook import notebook_of
    finally:
        sys.path.pop(0)
    made = notebook_of(EXAMPLE.read_text())
    kept = nbformat.read(EXAMPLE.with_suffix(".ipynb"), as_version=4)
    assert made == kept, "run: python tools/make_notebook.py examples/full_extraction_pipeline.py"


def test_every_field_to_extract_has_a_patch_and_a_label(example: Run) -> None:
    wanted = set(example.extracted.sample_id)
    assert set(example.patches()) == wanted
    assert set(example.labels()) == wanted


def test_every_patch_opens_with_xarray_and_gdal(example: Run) -> None:
    fields = example.extracted.set_index("sample_id")
    middle = pd.to_datetime(fields.valid_date).mean()
    start, end = middle - pd.Timedelta(days=DAYS), middle + pd.Timedelta(days=DAYS)
    for sample_id, path in example.patches().items():
        with xr.open_dataset(path) as patch:
            assert set(patch.data_vars) - {"crs"} == BANDS
            assert patch.sizes["x"] == patch.sizes["y"] == 64
            assert patch.sizes["t"] >= 3
            days = patch.t.to_index()
            assert days.is_monotonic_increasing and days.is_unique
            assert start.floor("D") <= days[0] and days[-1] < end.ceil("D")
            assert patch.attrs["sample_id"] == sample_id
            crs = CRS.from_wkt(patch.crs.attrs["crs_wkt"])
            west, north = patch.x.values[0] - 5, patch.y.values[0] + 5
            assert west % 20 == north % 20 == 0
            assert (np.diff(patch.x) == 10).all() and (np.diff(patch.y) == -10).all()
            red = patch["S2-L2A-B04"].values
            assert len(np.unique(red)) > 100
        centre = gpd.GeoSeries([fields.geometry[sample_id]], crs=4326).to_crs(crs).centroid[0]
        assert abs(centre.x - (west + 320)) <= 10 and abs(centre.y - (north - 320)) <= 10
        with rasterio.open(f"netcdf:{path}:S2-L2A-B04") as image:
            assert (
                CRS.from_user_input(image.crs.to_wkt()) == crs
                or image.crs.to_epsg() == crs.to_epsg()
            )
            assert image.shape == (64, 64)
            assert image.transform.to_gdal() == (west, 10, 0, north, 0, -10)


def test_the_tracker_says_finished(example: Run) -> None:
    tracker = pd.read_csv(example.output / "job_tracker.csv")
    assert set(tracker.status) == {"finished"}
    assert len(tracker) == 3
    assert set(tracker.backend_name) == {"local"}


def test_the_collection_holds_every_sample_once(example: Run) -> None:
    items = example.items()
    assert len({item.id for item in items}) == len(items) == len(example.extracted)
    for item in items:
        for asset in item.assets.values():
            assert Path(asset.get_absolute_href()).exists()
        assert "auxiliary" in item.assets


def test_the_collection_is_valid_and_self_contained(example: Run, shared_data: Path) -> None:
    schemas = SchemaFolder(shared_data / "stac_schemas")
    stac = example.output / "stac"
    documents = sorted(stac.rglob("*.json"))
    assert len(documents) == 1 + len(example.extracted)
    for path in documents:
        document = json.loads(path.read_text())
        schemas.check(document)
        assert document["stac_version"] == "1.1.0"
        for link in document["links"]:
            if link["rel"] != "license":
                assert (path.parent / link["href"]).resolve().is_file(), link
        if document["type"] == "Feature":
            assert document["properties"]["proj:code"].startswith("EPSG:326")
            for asset in document["assets"].values():
                content = (path.parent / asset["href"]).resolve().read_bytes()
                assert asset["file:size"] == len(content)
                assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()


def test_the_patches_are_good_cf(example: Run) -> None:
    """A patch of the whole road, post-job attributes included, passes the CF checker."""
    path = next(iter(example.patches().values()))
    assert cf_errors(path) == []


def test_the_picture_is_there(example: Run) -> None:
    sheet = matplotlib.image.imread(example.output / "contact_sheet.png")
    assert sheet.shape[1] > 600
    assert sheet[..., :3].std() > 0.1


def test_the_users_own_pipeline_gives_the_same(example: Run, reference: Run) -> None:
    assert set(reference.patches()) == set(example.patches())
    for sample_id, path in reference.patches().items():
        ours = example.patches()[sample_id]
        assert path.name == ours.name
        with xr.open_dataset(path) as theirs, xr.open_dataset(ours) as mine:
            xr.testing.assert_equal(theirs, mine)
            assert _stable(theirs.attrs) == _stable(mine.attrs)
    for sample_id, path in reference.labels().items():
        with xr.open_dataset(path) as theirs, xr.open_dataset(example.labels()[sample_id]) as mine:
            xr.testing.assert_equal(theirs, mine)
            assert _stable(theirs.attrs) == _stable(mine.attrs)
    tracker = pd.read_csv(reference.output / "job_tracker.csv")
    assert set(tracker.status) == {"finished"}
    # The rows asked for "cdse"; the job ran on the back-end that was added, and the row says so.
    assert set(tracker.backend_name) == {"cdse-staging"}


def _stable(attributes: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in attributes.items() if key != "creation_date"}


def test_the_users_collection_names_the_same_samples(example: Run, reference: Run) -> None:
    def files(run: Run) -> set[str]:
        return {Path(asset.href).name for item in run.items() for asset in item.assets.values()}

    assert files(reference) == files(example)
    document = json.loads((reference.output / "stac" / "collection.json").read_text())
    assert document["id"] == "SENTINEL-EXTRACTION"
