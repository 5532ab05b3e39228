"""Processes on particular bands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import OpenEOError
from ..axes import without
from ..demands import Demand, Window, in_order
from ..meta import CubeMeta
from ..plan import Call, PlanContext, Rule
from ..registry import (
    BandName,
    CubeData,
    Text,
    process,
)

# Common names and the Sentinel-2 bands that have them.
_COMMON = {"nir": "B08", "red": "B04"}


def _find(have: tuple[str, ...] | list[str], name: str) -> str | None:
    """Return the band of a name: itself, or the Sentinel-2 band with that common name."""
    if name in have:
        return name
    native = _COMMON.get(name)
    found = [b for b in have if native and (b == native or b.endswith(f"-{native}"))]
    return found[0] if len(found) == 1 else None


def _pair(call: Call) -> tuple[str, ...] | None:
    have = call.cube().bands
    if have is None:
        return None
    pair = []
    for argument in ("nir", "red"):
        band = _find(have, str(call.args[argument]))
        if band is None:
            raise OpenEOError(
                f"{'Nir' if argument == 'nir' else 'Red'}BandAmbiguous",
                f"Node {call.node.id!r}: no band {call.args[argument]!r} for {argument!r}; the "
                f"cube has {', '.join(have)}.",
                node=call.node.id,
            )
        pair.append(band)
    return tuple(pair)


def _ndvi_meta(call: Call, context: PlanContext) -> CubeMeta:
    meta = call.cube()
    if "bands" not in meta.dims:
        raise OpenEOError(
            "DimensionAmbiguous",
            f"Node {call.node.id!r}: the cube has no bands.",
            node=call.node.id,
        )
    _pair(call)
    target = call.args.get("target_band")
    if target is None:
        return without(meta, "bands").patch(itemsize=4)
    if meta.bands is not None and target in meta.bands:
        raise OpenEOError(
            "BandExists",
            f"Node {call.node.id!r}: the cube has a band {target!r} already.",
            node=call.node.id,
        )
    bands = None if meta.bands is None else (*meta.bands, str(target))
    return meta.patch(bands=bands, itemsize=4)


def _ndvi_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    have, pair = call.cube().bands, _pair(call)
    if have is None or pair is None:
        return {"data": demand.patch(bands=None)}
    kept = demand.bands or have if call.args.get("target_band") else ()
    return {"data": demand.patch(bands=in_order(have, (*kept, *pair)))}


@process(plan=Rule(meta=_ndvi_meta, inputs=_ndvi_inputs))
def ndvi(
    data: CubeData, nir: BandName = "nir", red: BandName = "red", target_band: Text = None
) -> CubeData:
    """Normalised difference vegetation index: (nir - red) / (nir + red).

    Parameters
    ----------
    data
        A raster data cube with both bands.
    nir
        Name of the near-infrared band; the common name finds B08 of Sentinel-2.
    red
        Name of the red band; the common name finds B04 of Sentinel-2.
    target_band
        Name of a band to add with the result; null replaces all bands by it.

    Returns
    -------
    CubeData
        The cube with the index, without the dimension bands if no target_band is given.
    """
    wide = data.as_float()
    axis, have = wide.axis("bands"), wide.labels["bands"].tolist()
    names = [_find(have, nir), _find(have, red)]
    if None in names:
        raise OpenEOError(
            "NirBandAmbiguous", f"No bands {nir!r} and {red!r}; the cube has {', '.join(have)}."
        )
    a, b = (wide.data.take(have.index(n), axis) for n in names)
    with np.errstate(divide="ignore", invalid="ignore"):
        index = (a - b) / (a + b)
    if target_band is None:
        return wide.without("bands", index)
    values: Any = np.concatenate([wide.data, np.expand_dims(index, axis)], axis)
    labels = {**wide.labels, "bands": np.asarray([*have, target_band], dtype=str)}
    return wide.with_data(values, labels=labels)
