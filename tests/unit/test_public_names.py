"""The names that users' code imports, module by module, and what importing the package costs."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import openeo_gfmap

NAMES = {
    "openeo_gfmap": {
        "Backend",
        "BackendContext",
        "BoundingBoxExtent",
        "FakeMetadata",
        "FetchType",
        "SpatialContext",
        "TemporalContext",
        "__version__",
    },
    "openeo_gfmap.backend": {
        "BACKEND_CONNECTIONS",
        "Backend",
        "BackendContext",
        "cdse_connection",
        "cdse_staging_connection",
        "eodc_connection",
        "fed_connection",
        "local_connection",
        "vito_connection",
    },
    "openeo_gfmap.spatial": {"BoundingBoxExtent", "SpatialContext"},
    "openeo_gfmap.temporal": {"TemporalContext"},
    "openeo_gfmap.metadata": {"FakeMetadata", "band_names"},
    "openeo_gfmap.fetching": {
        "CollectionFetcher",
        "FetchType",
        "build_sentinel2_l2a_extractor",
    },
    "openeo_gfmap.fetching.s2": {"BASE_SENTINEL2_L2A_MAPPING", "build_sentinel2_l2a_extractor"},
    "openeo_gfmap.fetching.commons": {
        "convert_band_names",
        "load_cube",
        "load_geometries",
        "rename_bands",
        "resample_reproject",
    },
    "openeo_gfmap.preprocessing": {
        "UDF_DISTANCE_TO_CLOUD",
        "bap_masking",
        "get_bap_mask",
        "get_bap_score",
        "linear_interpolation",
        "mask_scl_dilation",
        "mean_compositing",
        "median_compositing",
    },
    "openeo_gfmap.preprocessing.cloudmasking": {
        "bap_masking",
        "cloudmask_percentage",
        "get_bap_mask",
        "get_bap_score",
        "mask_scl_dilation",
    },
    "openeo_gfmap.preprocessing.compositing": {
        "Period",
        "max_ndvi_compositing",
        "mean_compositing",
        "median_compositing",
        "sum_compositing",
    },
    "openeo_gfmap.preprocessing.interpolation": {"linear_interpolation"},
    "openeo_gfmap.preprocessing.scaling": {"compress_uint16", "compress_uint8"},
    "openeo_gfmap.stac": {"AUXILIARY", "merge"},
    "openeo_gfmap.stac.constants": {
        "AUXILIARY",
        "CONSTELLATION",
        "GSD",
        "INSTRUMENTS",
        "ITEM_ASSETS",
        "LICENSE",
        "LICENSE_LINK",
        "PLATFORM",
        "QUICKLOOK",
        "SENTINEL2",
        "STAC_EXTENSIONS",
        "SUMMARIES",
    },
    "openeo_gfmap.utils": {
        "array_bounds",
        "arrays_cosine_similarity",
        "load_json",
        "normalize_array",
        "quintad_intervals",
        "select_optical_bands",
        "split_collection_by_epsg",
        "update_nc_attributes",
        "upload_geoparquet",
    },
}

#: Slow to import, and not needed before something is extracted or read.
HEAVY = {
    "dask",
    "geopandas",
    "h3",
    "h3ronpy",
    "h5netcdf",
    "h5py",
    "matplotlib",
    "pandas",
    "pyarrow",
    "rasterio",
    "rich",
    "scipy",
    "skimage",
    "xarray",
}


@pytest.mark.parametrize("name", NAMES)
def test_module_exports_exactly_these_names(name: str) -> None:
    module = importlib.import_module(name)
    assert set(module.__all__) == NAMES[name]
    assert all(hasattr(module, exported) for exported in module.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_exported_functions_and_classes_are_documented(name: str) -> None:
    module = importlib.import_module(name)
    exported = [getattr(module, exported) for exported in module.__all__]
    callables = [obj for obj in exported if inspect.isclass(obj) or inspect.isfunction(obj)]
    assert all(inspect.getdoc(obj) for obj in callables)


def test_root_has_no_other_public_names() -> None:
    public = {
        name
        for name in dir(openeo_gfmap)
        if not name.startswith("_") and not isinstance(getattr(openeo_gfmap, name), ModuleType)
    }
    assert public == NAMES["openeo_gfmap"] - {"__version__"}


def _modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "module", ["openeo_gfmap", "openeo_gfmap.backend", "openeo_gfmap.utils", "openeo_gfmap.stac"]
)
def test_import_stays_light(module: str) -> None:
    added = _modules_after(f"import {module}") - _modules_after("import openeo")
    assert {name.split(".")[0] for name in added} & HEAVY == set()


def test_root_loads_neither_the_manager_nor_the_embedded_back_end() -> None:
    loaded = _modules_after("import openeo_gfmap")
    assert "openeo" not in loaded  # its names load when they are asked for
    unwanted = ("backend", "manager", "local", "launcher", "cli", "report", "utils", "tiling")
    assert not {f"openeo_gfmap.{name}" for name in unwanted} & loaded


def test_names_that_are_not_there_are_told() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Backends'"):
        openeo_gfmap.Backends  # noqa: B018


def test_version_is_the_distributions() -> None:
    assert openeo_gfmap.__version__ == importlib.metadata.version("openeo-gfmap")
