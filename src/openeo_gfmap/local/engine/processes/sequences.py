"""The order of an array: its ends, sorting, and the gaps between its values."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cube import Array
from ..kernels_time import interpolate_gaps
from ..registry import AnyValue, ArrayOf, Boolean, process
from ..values import Elements, along, is_plain, items, labels_of, pack, plain

__all__: list[str] = []  # everything here is reached through the registry

NdArray = np.ndarray[Any, Any]


@process()
def first(data: ArrayOf, ignore_nodata: Boolean = True) -> AnyValue:
    """Return the first element.

    Parameters
    ----------
    data
        The array.
    ignore_nodata
        Return the first that is not missing.
    """
    return _end(data, ignore_nodata, 1)


@process()
def last(data: ArrayOf, ignore_nodata: Boolean = True) -> AnyValue:
    """Return the last element.

    Parameters
    ----------
    data
        The array.
    ignore_nodata
        Return the last that is not missing.
    """
    return _end(data, ignore_nodata, -1)


def _end(data: Any, ignore_nodata: bool, step: int) -> Any:
    if is_plain(data):
        elements = items(data)[::step]
        present = [v for v in elements if v is not None] if ignore_nodata else elements
        return present[0] if present else None
    values = along(data)[::step]
    if len(values) == 0:
        return np.full(values.shape[1:], np.nan, dtype=np.float32)
    if not ignore_nodata:
        return values[0]
    index = (~np.isnan(values)).argmax(axis=0)
    return np.take_along_axis(values, index[np.newaxis], axis=0)[0]


@process()
def sort(data: ArrayOf, asc: Boolean = True, nodata: Boolean = None) -> Elements:
    """Sort an array.

    Parameters
    ----------
    data
        Numbers, texts or dates; labels are lost.
    asc
        Smallest first.
    nodata
        Whether missing values come last (true) or first (false). By default they are taken out;
        over pixels they come last, since all pixels have as many elements.
    """
    elements = items(data)
    if is_plain(data):
        return [elements[i] for i in _plain_order(elements, asc, nodata)]
    values = along(data)
    order = _order(values, bool(asc), nodata)
    return pack(list(np.take_along_axis(values, order, axis=0)), array=True)


@process()
def order(data: ArrayOf, asc: Boolean = True, nodata: Boolean = None) -> Elements:
    """Return the indices that sort an array; equal elements keep their order.

    Parameters
    ----------
    data
        Numbers, texts or dates.
    asc
        Smallest first.
    nodata
        Whether missing values come last (true) or first (false). By default they are taken out;
        over pixels their indices are missing, at the end.
    """
    if is_plain(data):
        return _plain_order(items(data), asc, nodata)
    values = along(data)
    indices = _order(values, bool(asc), nodata)
    if nodata is None:
        gaps = np.take_along_axis(np.isnan(values), indices, axis=0)
        indices = np.where(gaps, np.float32(np.nan), indices.astype(np.float32))
    return pack(list(indices), array=True)


def _plain_order(elements: list[Any], asc: bool, nodata: bool | None) -> list[int]:
    present = [i for i, v in enumerate(elements) if v is not None]
    gaps = [i for i, v in enumerate(elements) if v is None]
    # reverse=True keeps the order of equal elements as well.
    ordered = sorted(present, key=lambda i: elements[i], reverse=not asc)
    if nodata is None:
        return ordered
    return ordered + gaps if nodata else gaps + ordered


def _order(values: NdArray, asc: bool, nodata: bool | None) -> NdArray:
    indices = np.argsort(values if asc else -values, axis=0, kind="stable")
    if nodata is False:
        count = np.isnan(values).sum(axis=0)
        position = (np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1)) - count) % len(
            values
        )
        indices = np.take_along_axis(indices, position, axis=0)
    return indices


@process()
def rearrange(data: ArrayOf, order: ArrayOf) -> Elements:
    """Reorder an array by indices.

    Parameters
    ----------
    data
        The array; labels are lost.
    order
        Indices, as ``order`` gives them; elements left out are dropped.
    """
    indices = items(order)
    if not any(isinstance(i, np.ndarray) for i in indices):
        elements = items(data)
        return pack([elements[int(i)] for i in indices], array=isinstance(data, Array))
    values, wanted = along(data), along(order)
    gaps = np.isnan(wanted)
    chosen = np.take_along_axis(values, np.where(gaps, 0, wanted).astype(np.intp), axis=0)
    return pack(list(np.where(gaps, values.dtype.type(np.nan), chosen)), array=True)


@process()
def array_interpolate_linear(data: ArrayOf) -> Elements:
    """Fill gaps between values linearly; gaps at the ends stay.

    Positions are the labels where those are numbers, as the openEO test cases want, and the
    indices otherwise: along the dates or bands of a cube, as CDSE does it.

    Parameters
    ----------
    data
        Numbers.
    """
    values = along(data)
    labels = labels_of(data)
    numeric = labels is not None and all(isinstance(v, int | float) for v in labels)
    positions = np.asarray(labels if numeric else np.arange(len(values)), dtype=np.float64)
    out = interpolate_gaps(values, positions)
    if not is_plain(data):
        return Array(out, getattr(data, "labels", None))
    elements = items(data)
    filled = [
        None if old is None and np.isnan(new) else plain(new)
        for old, new in zip(elements, out, strict=True)
    ]
    return pack(filled, labels=labels)
