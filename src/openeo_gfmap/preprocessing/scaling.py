"""Scaling to small integers, which take a half or a quarter of the space of floats."""

from __future__ import annotations

import openeo

__all__ = ["compress_uint8", "compress_uint16"]

# Upper bounds by which a back-end tells how many bits are enough; the types' last value is nodata.
_MAX_UINT8 = 253
_MAX_UINT16 = 65534


def compress_uint16(
    cube: openeo.DataCube, alpha: float = 1.0, beta: float = 0.0
) -> openeo.DataCube:
    """Scale to ``value * alpha + beta`` and store as uint16.

    Parameters
    ----------
    cube : openeo.DataCube
    alpha, beta : float, default 1 and 0
        Factor and offset.

    Returns
    -------
    openeo.DataCube
        Values 0 to 65534, clipped; nodata 65535.
    """
    return _compress(cube, alpha, beta, _MAX_UINT16)


def compress_uint8(cube: openeo.DataCube, alpha: float = 1.0, beta: float = 0.0) -> openeo.DataCube:
    """Scale to ``value * alpha + beta`` and store as uint8.

    Parameters
    ----------
    cube : openeo.DataCube
    alpha, beta : float, default 1 and 0
        Factor and offset.

    Returns
    -------
    openeo.DataCube
        Values 0 to 253, clipped; nodata 255.
    """
    return _compress(cube, alpha, beta, _MAX_UINT8)


def _compress(cube: openeo.DataCube, alpha: float, beta: float, largest: int) -> openeo.DataCube:
    # A step that changes nothing would still turn integers into floats on the back-end.
    if (alpha, beta) != (1.0, 0.0):
        cube = cube.multiply(alpha).add(beta)
    return cube.linear_scale_range(0, largest, 0, largest)
