"""Joining of cubes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import OpenEOError
from ..axes import dims_in_order, label_array
from ..cube import Cube, align
from ..demands import Demand, Window, in_order
from ..limits import beyond, confined, held
from ..meta import SOMEWHERE, CubeMeta, TableMeta
from ..plan import Call, PlanContext, Rule
from ..registry import AnyValue, Callback, CubeData, process


def _merge_meta(call: Call, context: PlanContext) -> CubeMeta:
    one, two = call.cube("cube1"), call.cube("cube2")
    _same_rows(call, one, two)
    same_grid(call, one, two, "cube2")
    for dimension in set(one.dims) & set(two.dims):
        if one.kind(dimension) != two.kind(dimension):
            raise call.invalid(
                "cube2",
                f"has the dimension {dimension!r} of type {two.kind(dimension)}; in the other cube "
                f"it is of type {one.kind(dimension)}",
            )
    dims = dims_in_order(tuple(dict.fromkeys((*one.dims, *two.dims))))
    resolver = call.args.get("overlap_resolver") is not None
    if set(one.dims) != set(two.dims) and not resolver:
        raise OpenEOError(
            "OverlapResolverMissing",
            f"Node {call.node.id!r}: the cubes have the dimensions {', '.join(one.dims)} and "
            f"{', '.join(two.dims)}; an overlap_resolver must say how to join them.",
            node=call.node.id,
        )
    times = {m.time for m in (one, two) if "t" in m.dims}
    same = one.features is two.features is None or (
        one.features is not None and held(one.features, two.limits)
    )
    return one.patch(
        dims=dims,
        bands=_merged_bands(one, two),
        extent=one.extent if same and one.features else one.extent.union(two.extent),
        features=one.features if same else None,
        limits=tuple(limit for limit in one.limits if held(limit, two.limits)),
        time="|".join(sorted(times)),
        periods=one.periods or two.periods,
        block=math.lcm(one.block, two.block),
        margin=max(one.margin, two.margin),
        itemsize=max(one.itemsize, two.itemsize),
        kinds={**one.kinds, **two.kinds},
        labels=_merged_labels(one, two),
    )


def _same_rows(call: Call, one: CubeMeta, two: CubeMeta) -> None:
    """Refuse values per feature next to pixels, or next to those of other features."""
    tables = [m for m in (one, two) if isinstance(m, TableMeta)]
    if not tables:
        return
    features = [m.features for m in tables if m.features is not None]
    if len(features) < 2 or not features[0].same_as(features[1]):
        raise call.invalid(
            "cube2", "and cube1 must both be pixels, or both be values of the very same features"
        )


def _merged_labels(one: CubeMeta, two: CubeMeta) -> Mapping[str, tuple[Any, ...]]:
    """Return labels that are known of both cubes, or of the only one that has the dimension."""
    found: dict[str, tuple[Any, ...]] = {}
    for dimension in dict.fromkeys((*one.labels, *two.labels)):
        parts = [m.labels.get(dimension) for m in (one, two) if dimension in m.dims]
        if all(part is not None for part in parts):
            labels = dict.fromkeys(label for part in parts for label in part or ())
            ordered = sorted(labels) if one.kind(dimension) == "temporal" else list(labels)
            found[dimension] = tuple(ordered)
    return found


def same_grid(call: Call, one: CubeMeta, two: CubeMeta, name: str) -> None:
    """Refuse cubes whose pixels do not lie on each other."""
    if SOMEWHERE not in {one.extent, two.extent} and one.grid != two.grid:
        raise call.invalid(
            name,
            f"lies on pixels of {two.grid.resolution:g} in {two.grid.crs}, the other cube on "
            f"{one.grid.resolution:g} in {one.grid.crs}; use resample_cube_spatial first",
        )


def _merged_bands(one: CubeMeta, two: CubeMeta) -> tuple[str, ...] | None:
    if "bands" not in one.dims or "bands" not in two.dims:
        return one.bands or two.bands
    if one.bands is None or two.bands is None:
        return None
    return tuple(dict.fromkeys((*one.bands, *two.bands)))


def _merge_inputs(call: Call, demand: Demand, window: Window) -> Mapping[str, Demand]:
    cubes = {name: call.cube(name) for name in ("cube1", "cube2")}
    all_dates = len({m.time for m in cubes.values()}) == 1 and set(cubes["cube1"].dims) == set(
        cubes["cube2"].dims
    )
    needs: dict[str, Demand] = {}
    for name, meta in cubes.items():
        if meta.bands is None or demand.bands is None:
            needs[name] = demand.patch(bands=None)
            continue
        wanted = in_order(meta.bands, demand.bands)
        if not wanted and all_dates:
            continue  # nothing of this cube is asked for, and it adds no dates
        needs[name] = demand.patch(bands=wanted or meta.bands[:1])
    return needs


@process(plan=Rule(meta=_merge_meta, inputs=_merge_inputs))
def merge_cubes(
    cube1: CubeData,
    cube2: CubeData,
    overlap_resolver: Callback | None = None,
    context: AnyValue = None,
    *,
    env: Any = None,
) -> CubeData:
    """Join two cubes.

    Labels of both are united: bands of the first, then those of the second; dates in order. What
    neither cube has is missing. A cube that lacks a dimension of the other is joined with each of
    its labels.

    Each cube keeps to its own filter_spatial, filter_bbox and spatial_extent: what lies outside is
    missing in its labels. Features that both cubes are filtered by still count for
    ``sample_by_feature``.

    Parameters
    ----------
    cube1
        A raster data cube.
    cube2
        A raster data cube on the same pixels.
    overlap_resolver
        Callback on x (of cube1) and y (of cube2) for the labels that both have.
    context
        Handed to the callback.

    Returns
    -------
    CubeData
        The joined cube.
    """
    if env is not None and env.call is not None:
        limits = [env.call.cube(name).limits for name in ("cube1", "cube2")]
        cube1, cube2 = (
            None if cube is None else confined(cube, beyond(mine, others))
            for cube, mine, others in zip((cube1, cube2), limits, limits[::-1], strict=True)
        )
    asked_for = [c for c in (cube1, cube2) if c is not None]
    if len(asked_for) == 1:  # the plan found that nothing is wanted of the other
        return asked_for[0]
    one, two = align([cube1, cube2])
    dims = dims_in_order(tuple(dict.fromkeys((*one.dims, *two.dims))))
    labels = {d: _united(d, one, two) for d in dims if d in one.labels or d in two.labels}
    place_one, place_two = _place(one, dims, labels), _place(two, dims, labels)
    both = _overlap(place_one, place_two, labels)
    if both is not None and overlap_resolver is None:
        raise OpenEOError(
            "OverlapResolverMissing",
            "Both cubes have values for "
            + " and ".join(f"{len(i)} labels of {d}" for d, i in both.items())
            + "; give an overlap_resolver.",
        )
    if both is None and _side_by_side(one, two):
        data = np.concatenate([one.data, two.data], axis=one.axis("bands"))
        return one.with_data(data, labels=labels)
    one, two = (align([c], room=True)[0] for c in (one, two))
    one, two = align([one, two], room=True)
    shape = [len(labels[d]) if d in labels else _size(d, one, two) for d in dims]
    missing = np.nan if one.nodata is None else one.nodata
    data = np.full(shape, missing, dtype=one.data.dtype)
    for cube, place in ((two, place_two), (one, place_one)):
        _put(data, dims, place, _expanded(cube, dims, place, labels))
    kinds = {**one.kinds, **two.kinds}
    periods = {d: p for d, p in one.periods.items() if two.periods.get(d, p) == p}
    result = one.with_data(data, dims=dims, labels=labels, kinds=kinds, periods=periods)
    if both is None or overlap_resolver is None:
        return result
    x = _taken(one, dims, both, labels)
    y = _taken(two, dims, both, labels)
    resolved = np.asarray(overlap_resolver(x=x, y=y, context=context))
    wide = result.as_float()
    _put(wide.data, dims, both, np.broadcast_to(resolved, x.shape))
    return wide


Place = Mapping[str, np.ndarray[Any, Any]]


def _united(dim: str, one: Cube, two: Cube) -> np.ndarray[Any, Any]:
    cubes = [c for c in (one, two) if dim in c.labels]
    dated = {c.labels[dim].dtype.kind == "M" for c in cubes}
    if len(dated) > 1:
        raise OpenEOError(
            "DimensionLabelMismatch",
            f"One cube has dates along {dim!r}, the other has names; rename_labels makes them fit.",
        )
    if dated == {True}:
        return np.unique(np.concatenate([c.labels[dim] for c in cubes]))
    found = dict.fromkeys(v for c in cubes for v in c.labels[dim].tolist())
    return label_array(list(found), cubes[0].kind(dim))


def _place(cube: Cube, dims: tuple[str, ...], labels: Place) -> Place:
    """Return where a cube's labels stand among the united ones; all, where it has none."""
    places = {}
    for dim, united in labels.items():
        if dim in cube.labels:
            position = {label: i for i, label in enumerate(united.tolist())}
            mine = cube.labels[dim].astype(united.dtype).tolist()  # numbers beside names are texts
            places[dim] = np.asarray([position[v] for v in mine], dtype=int)
        else:
            places[dim] = np.arange(len(united))
    return places


def _overlap(one: Place, two: Place, labels: Place) -> Place | None:
    """Return the labels that both cubes have; None when in some dimension there are none."""
    both = {d: np.intersect1d(one[d], two[d]) for d in labels}
    return both if all(len(v) for v in both.values()) else None


def _side_by_side(one: Cube, two: Cube) -> bool:
    """Whether the bands of the second can simply follow those of the first."""
    if one.dims != two.dims or "bands" not in one.labels or one.nodata != two.nodata:
        return False
    others = [d for d in one.labels if d != "bands"]
    return all(np.array_equal(one.labels[d], two.labels[d]) for d in others)


def _size(dim: str, one: Cube, two: Cube) -> int:
    cube = one if dim in one.dims else two
    return int(cube.data.shape[cube.axis(dim)])


def _expanded(cube: Cube, dims: tuple[str, ...], place: Place, labels: Place) -> Any:
    """Return the values with all dimensions, repeated along those the cube lacks."""
    data = cube.data
    for axis, dim in enumerate(dims):
        if dim not in cube.dims:
            data = np.expand_dims(data, axis)
    shape = [len(place[d]) if d in labels else data.shape[i] for i, d in enumerate(dims)]
    return np.broadcast_to(data, shape)


def _put(data: Any, dims: tuple[str, ...], place: Place, values: Any) -> None:
    index = [place[d] if d in place else np.arange(data.shape[i]) for i, d in enumerate(dims)]
    data[np.ix_(*index)] = values


def _taken(cube: Cube, dims: tuple[str, ...], both: Place, labels: Place) -> Any:
    """Return a cube's float values at the labels that both cubes have."""
    wide = cube.as_float()
    place = _place(wide, dims, labels)
    values = _expanded(wide, dims, place, labels)
    for axis, dim in enumerate(dims):
        if dim in both:
            where = {p: i for i, p in enumerate(place[dim].tolist())}
            values = np.take(values, [where[p] for p in both[dim].tolist()], axis=axis)
    return values
