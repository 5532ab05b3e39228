"""Cloud masking, compositing, interpolation and scaling: cube in, cube out."""

from pathlib import Path

#: Standalone UDF file: distance of each pixel to the nearest cloud, from the SCL band.
#: Use it as ``openeo.UDF.from_file(UDF_DISTANCE_TO_CLOUD)``.
UDF_DISTANCE_TO_CLOUD = Path(__file__).with_name("udf_distance_to_cloud.py")

__all__ = ["UDF_DISTANCE_TO_CLOUD"]
