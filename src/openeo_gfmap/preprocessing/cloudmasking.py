"""Cloud masking by the scene classification (SCL) of Sentinel-2.

Every function works on the Sentinel-2 bands of a cube (those whose names start with "S2") and
leaves its other bands as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openeo
from openeo.processes import if_, is_nan

from openeo_gfmap.errors import InputError, UnknownBand
from openeo_gfmap.metadata import band_names
from openeo_gfmap.preprocessing.compositing import Period, check_period, mask_all_but_best
from openeo_gfmap.udf import pack_udf

__all__ = [
    "bap_masking",
    "cloudmask_percentage",
    "get_bap_mask",
    "get_bap_score",
    "mask_scl_dilation",
]

SCL_HARMONIZED_NAME = "S2-L2A-SCL"
BAPSCORE_HARMONIZED_NAME = "S2-L2A-BAPSCORE"
BAPMASK_HARMONIZED_NAME = "S2-L2A-BAPMASK"

_FOLDER = Path(__file__).parent

# Kernel sizes in pixels of the cube's grid. The second kernel is the one that grows the clouds.
_DILATION_DEFAULTS = {"kernel1_size": 17, "kernel2_size": 3, "erosion_kernel_size": 3}
# Outside these classes (dark, vegetation, bare, water, unclassified) a pixel is suspect; within
# the second group (shadow, medium and high probability cloud, cirrus, snow) it is masked.
_DILATION_CLASSES = {"mask1_values": [2, 4, 5, 6, 7], "mask2_values": [3, 8, 9, 10, 11]}

_CHUNK = 256  # px: side of the squares that a UDF sees
_OVERLAP = 16  # px: how far a UDF sees beyond its square


def mask_scl_dilation(cube: openeo.DataCube, **params: Any) -> openeo.DataCube:
    """Mask clouds, grown by a smooth kernel, in all Sentinel-2 bands.

    Parameters
    ----------
    cube : openeo.DataCube
        Has the band S2-L2A-SCL.
    **params
        kernel1_size : int, default 17
            Size in pixels of the kernel that smooths the suspect classes; 0 skips it.
        kernel2_size : int, default 3
            Size in pixels of the kernel that grows clouds and their shadows; 0 skips it.
        erosion_kernel_size : int, default 3
            Size in pixels of what is too small to be a cloud.

    Returns
    -------
    openeo.DataCube
        Masked pixels are nodata in all Sentinel-2 bands.

    Raises
    ------
    UnknownBand
        When the cube has no S2-L2A-SCL.
    InputError
        When a parameter is unknown or no size.
    """
    arguments = _dilation_arguments(params)
    _check_scl(cube)
    optical = _optical(cube)
    masked = optical.process(
        "mask_scl_dilation",
        data=optical,
        **arguments,
    )
    return _with_other_bands(masked, cube)


def get_bap_score(cube: openeo.DataCube, **params: Any) -> openeo.DataCube:
    """Score each observation: how good a pixel is to represent its period.

    The score of the best available pixel (BAP) is the mean of three, with weights 1, 0.8 and 0.5:
    the distance to cloud (a logistic curve from 0 at a cloud to 1 at 50 pixels from it), the day
    of the month (a bell curve around the 15th) and the clear share of the scene around.

    Parameters
    ----------
    cube : openeo.DataCube
        Has the band S2-L2A-SCL.
    **params
        apply_scl_dilation : bool, default False
            Grow the clouds first, with the parameters of `mask_scl_dilation`.

    Returns
    -------
    openeo.DataCube
        One band, S2-L2A-BAPSCORE: 0 where there is no observation, else greater for better.

    Raises
    ------
    UnknownBand
        When the cube has no S2-L2A-SCL.
    InputError
        When a parameter is unknown or no size.
    """
    dilate = params.pop("apply_scl_dilation", False)
    arguments = _dilation_arguments(params)
    _check_scl(cube)
    scl = cube.filter_bands([SCL_HARMONIZED_NAME])
    if dilate:
        mask = scl.process(
            "to_scl_dilation_mask",
            data=scl,
            **arguments,
        )
        # The score reads classes, not a mask: 8 is cloud, 4 vegetation, that is, clear.
        scl = mask.apply(lambda masked: if_(masked == 1, 8, 4))
    # Class 0 is "no data" for the score as well, which cannot tell NaN from a clear pixel.
    scl = scl.apply(lambda value: if_(is_nan(value), 0, value))
    score = scl.apply_neighborhood(
        process=pack_udf(_FOLDER / "udf_score.py"),
        size=_square(_CHUNK),
        overlap=_square(_OVERLAP),
    )
    return score.rename_labels("bands", [BAPSCORE_HARMONIZED_NAME])


def get_bap_mask(cube: openeo.DataCube, period: Period, **params: Any) -> openeo.DataCube:
    """Return the mask that leaves the best scored observation of each pixel and period.

    Parameters
    ----------
    cube : openeo.DataCube
        Has the band S2-L2A-SCL.
    period : str or list of pairs of str
        Calendar period ("dekad", "month" and so on), or first and last date of each interval;
        observations within no interval are masked.
    **params
        Parameters of `get_bap_score`.

    Returns
    -------
    openeo.DataCube
        One band, S2-L2A-BAPMASK: true where an observation is to be masked. Observations that
        share the greatest score of their period all stay.

    Raises
    ------
    UnknownBand
        When the cube has no S2-L2A-SCL.
    InputError
        When `period` is neither, or a parameter is wrong.
    """
    check_period(period)
    score = get_bap_score(cube, **params)
    if isinstance(period, str):
        mask = mask_all_but_best(score, period)
    else:
        intervals = [list(interval) for interval in period]
        mask = score.apply_neighborhood(
            process=pack_udf(_FOLDER / "udf_rank.py", context={"intervals": intervals}),
            size=_square(_CHUNK),
            overlap=[],
        )
    return mask.rename_labels("bands", [BAPMASK_HARMONIZED_NAME])


def bap_masking(cube: openeo.DataCube, period: Period, **params: Any) -> openeo.DataCube:
    """Mask all but the best available pixel of each period, in all Sentinel-2 bands.

    Parameters and errors are those of `get_bap_mask`.
    """
    optical = _optical(cube)
    mask = get_bap_mask(optical, period, **params)
    return _with_other_bands(optical.mask(mask.resample_cube_spatial(cube)), cube)


def cloudmask_percentage(cube: openeo.DataCube, percentage: float = 0.95) -> openeo.DataCube:
    """Mask whole observations that are almost all cloud.

    An observation is masked when more than `percentage` of its pixels, in squares of 1024, are
    high probability cloud (class 9). All bands but SCL are masked.

    Parameters
    ----------
    cube : openeo.DataCube
        Has the band S2-L2A-SCL.
    percentage : float, default 0.95
        Share of the pixels, from 0 to 1.

    Raises
    ------
    UnknownBand
        When the cube has no S2-L2A-SCL.
    InputError
        When `percentage` is not within 0..1.
    """
    if not 0 <= percentage <= 1:
        raise InputError(f"percentage={percentage!r} is not within 0..1; pass one such as 0.95.")
    _check_scl(cube)
    scl = cube.filter_bands([SCL_HARMONIZED_NAME])
    mask = scl.apply_neighborhood(
        process=pack_udf(_FOLDER / "udf_cloud_percentage.py", context={"percentage": percentage}),
        size=_square(1024),
        overlap=[],
    )
    others = [band for band in band_names(cube) if band != SCL_HARMONIZED_NAME]
    if not others:
        return cube.mask(mask.resample_cube_spatial(cube))
    return cube.filter_bands([*others]).mask(mask.resample_cube_spatial(cube)).merge_cubes(scl)


def _check_scl(cube: openeo.DataCube) -> None:
    bands = band_names(cube)
    if SCL_HARMONIZED_NAME not in bands:
        raise UnknownBand(
            f"The cube has no {SCL_HARMONIZED_NAME}, only {bands}; load that band as well."
        )


def _optical(cube: openeo.DataCube) -> openeo.DataCube:
    return cube.filter_bands([band for band in band_names(cube) if band.startswith("S2")])


def _with_other_bands(optical: openeo.DataCube, cube: openeo.DataCube) -> openeo.DataCube:
    """Put the bands of other sensors back beside the masked ones."""
    others = [band for band in band_names(cube) if not band.startswith("S2")]
    return optical.merge_cubes(cube.filter_bands([*others])) if others else optical


def _dilation_arguments(params: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that both SCL dilation processes take."""
    unknown = sorted(set(params) - set(_DILATION_DEFAULTS))
    if unknown:
        raise InputError(
            f"Unknown parameters {unknown}; expected any of {', '.join(_DILATION_DEFAULTS)}."
        )
    sizes = {**_DILATION_DEFAULTS, **params}
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 0:
            raise InputError(f"{name}={size!r} is not a size in pixels; pass 0, 1, 2 and so on.")
    return {"scl_band_name": SCL_HARMONIZED_NAME, **sizes, **_DILATION_CLASSES}


def _square(side: int) -> list[dict[str, Any]]:
    return [{"dimension": name, "unit": "px", "value": side} for name in ("x", "y")]
