"""Radar backscatter."""

from __future__ import annotations

from typing import Annotated, Any

from ...errors import OpenEOError
from ..meta import CubeMeta
from ..plan import Call, PlanContext, Rule
from ..registry import (
    NOTHING,
    Boolean,
    CollectionId,
    CubeData,
    Object,
    Schema,
    process,
)

Coefficient = Annotated[
    Any,
    Schema(
        [
            {
                "type": "string",
                "enum": [
                    "beta0",
                    "sigma0-ellipsoid",
                    "sigma0-terrain",
                    "gamma0-ellipsoid",
                    "gamma0-terrain",
                ],
            },
            {"type": "null"},
        ]
    ),
]

_LAYERS = ("mask", "contributing_area", "local_incidence_angle", "ellipsoid_incidence_angle")


def _meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.raster()
    for name in _LAYERS:
        if call.args.get(name):
            raise call.invalid(
                name, "asks for a band that calibrated data do not have; leave it false"
            )
    # Null given by the user means «not normalised»; the default of the parameter is another.
    node = call.node.arguments
    wanted = node["coefficient"] if "coefficient" in node else call.args["coefficient"]
    if context.env.fetch is None and meta.calibration is None and meta.bands is None:
        return meta  # what a remote source holds only a run can know
    if wanted != meta.calibration:
        given = meta.calibration or "none that its metadata tell"
        raise OpenEOError(
            "ProcessParameterInvalid",
            f"Node {call.node.id!r}: coefficient {wanted!r} cannot be made here: backscatter is "
            f"not computed from raw scenes, and the source holds {given}. Load a collection that "
            "is calibrated as wanted, or ask for what this one has.",
            node=call.node.id,
        )
    return meta


@process(plan=Rule(meta=_meta))
def sar_backscatter(  # noqa: PLR0917  (the order of the openEO parameters)
    data: CubeData,
    coefficient: Coefficient = "gamma0-terrain",
    elevation_model: CollectionId = None,
    mask: Boolean = False,
    contributing_area: Boolean = False,
    local_incidence_angle: Boolean = False,
    ellipsoid_incidence_angle: Boolean = False,
    noise_removal: Boolean = True,
    options: Object = NOTHING,
) -> CubeData:
    """Pass calibrated backscatter on.

    Nothing is computed: the source must be calibrated already, to the coefficient that is asked
    for. Sources of terrain-corrected Sentinel-1 data (RTC, CARD4L NRB) are known by their STAC
    metadata.

    Parameters
    ----------
    data
        A raster data cube of calibrated values.
    coefficient
        The coefficient that the data have; another one is refused.
    elevation_model
        That which the source was calibrated with counts.
    mask
        Not available here.
    contributing_area
        Not available here.
    local_incidence_angle
        Not available here.
    ellipsoid_incidence_angle
        Not available here.
    noise_removal
        As the source was made.
    options
        None are known.

    Returns
    -------
    CubeData
        The same cube, in linear scale as the source has it.
    """
    return data
