"""Cloud masking, compositing, interpolation and scaling: cube in, cube out."""

from pathlib import Path

from openeo_gfmap.preprocessing.cloudmasking import (
    bap_masking,
    get_bap_mask,
    get_bap_score,
    mask_scl_dilation,
)
from openeo_gfmap.preprocessing.compositing import mean_compositing, median_compositing
from openeo_gfmap.preprocessing.interpolation import linear_interpolation

__all__ = [
    "UDF_DISTANCE_TO_CLOUD",
    "bap_masking",
    "get_bap_mask",
    "get_bap_score",
    "linear_interpolation",
    "mask_scl_dilation",
    "mean_compositing",
    "median_compositing",
]

#: Standalone UDF file: distance of each pixel to the nearest cloud, from the SCL band. Use it as
#: ``openeo.UDF.from_file(UDF_DISTANCE_TO_CLOUD)``.
UDF_DISTANCE_TO_CLOUD = Path(__file__).with_name("udf_distance_to_cloud.py")
