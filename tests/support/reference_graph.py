"""The graph that the reference pipeline sends: patches with cloud mask and distance to cloud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openeo_gfmap.preprocessing import UDF_DISTANCE_TO_CLOUD
from support.graphs import Graph, callback, load, on_x

NATIVE = ("B02", "B03", "B04", "B08", "B11", "B12", "SCL")
NAMES = tuple(f"S2-L2A-{b}" for b in NATIVE)
CLEAR, CLOUDY = [2, 4, 5, 6, 7], [3, 8, 9, 10, 11]


def reference_graph(
    polygons_url: str, dates: Sequence[str], native: Sequence[str] = NATIVE
) -> dict[str, Any]:
    """Return the graph for polygons in a Parquet file."""
    g = Graph()
    names = [f"S2-L2A-{b}" for b in native]
    cube = load(
        g,
        native,
        dates=list(dates),
        properties={"eo:cloud_cover": callback("lte", x={"from_parameter": "value"}, y=95.0)},
    )
    polygons = g.load_url(url=polygons_url, format="Parquet")
    cube = g.filter_spatial(data=cube, geometries=polygons)
    cube = g.resample_spatial(
        data=cube, resolution=10, projection=None, method="near", align="upper-left"
    )
    cube = g.rename_labels(data=cube, dimension="bands", source=list(native), target=names)
    scale = {"inputMin": 0, "inputMax": 65534, "outputMin": 0, "outputMax": 65534}
    cube = g.apply(data=cube, process=on_x("linear_scale_range", **scale))
    mask = g.to_scl_dilation_mask(
        data=cube, scl_band_name="S2-L2A-SCL", kernel1_size=17, kernel2_size=77,
        mask1_values=CLEAR, mask2_values=CLOUDY, erosion_kernel_size=3,
    )  # fmt: skip
    mask = g.rename_labels(data=mask, dimension="bands", target=["S2-L2A-SCL_DILATED_MASK"])
    cube = g.merge_cubes(cube1=cube, cube2=mask)
    scl = g.filter_bands(data=cube, bands=["S2-L2A-SCL"])
    size = [{"dimension": d, "unit": "px", "value": 256} for d in "xy"]
    overlap = [{"dimension": d, "unit": "px", "value": 16} for d in "xy"]
    distance = g.apply_neighborhood(
        data=scl,
        process=callback(
            "run_udf",
            data={"from_parameter": "data"},
            udf=UDF_DISTANCE_TO_CLOUD.read_text(),
            runtime="Python",
        ),
        size=size,
        overlap=overlap,
    )
    distance = g.rename_labels(
        data=distance, dimension="bands", target=["S2-L2A-DISTANCE-TO-CLOUD"]
    )
    cube = g.merge_cubes(cube1=cube, cube2=distance)
    cube = g.apply(data=cube, process=on_x("linear_scale_range", **scale))
    saved = g.save_result(data=cube, format="NetCDF", options={"sample_by_feature": True})
    return g.result(saved)
