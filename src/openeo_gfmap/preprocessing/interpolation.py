"""Filling gaps in time series."""

from __future__ import annotations

import openeo

__all__ = ["linear_interpolation"]


def linear_interpolation(cube: openeo.DataCube) -> openeo.DataCube:
    """Fill gaps between two observations of a pixel linearly.

    Back-ends interpolate by position along t, not by date: composite to even periods first. Gaps
    before the first and after the last observation stay.

    Parameters
    ----------
    cube : openeo.DataCube
        Dimensions t, bands, y, x.
    """
    return cube.apply_dimension(dimension="t", process="array_interpolate_linear")
