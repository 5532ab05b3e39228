"""Making, reading and changing arrays along a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from ...errors import OpenEOError
from ..complexity import require_small, weight
from ..cube import Array
from ..registry import (
    AnyValue,
    ArrayOf,
    Boolean,
    Callback,
    Integer,
    Label,
    Scalar,
    Schema,
    process,
)
from ..values import Elements, floats, items, labels_of, pack, plain, truth
from .logic import eq

__all__: list[str] = []  # everything here is reached through the registry


Values = Annotated[Any, Schema({"type": "array", "items": {}})]
LabeledElements = Annotated[Any, Schema({"type": "array", "subtype": "labeled-array", "items": {}})]


@process()
def array_create(data: Values = (), repeat: Integer = 1) -> Elements:
    """Make an array of values.

    Parameters
    ----------
    data
        A list of values, or one value.
    repeat
        How often to repeat them, at least once.
    """
    elements, times = items(data), int(repeat)
    if times < 1:
        raise OpenEOError(
            "ProcessParameterInvalid", f"array_create: repeat must be at least 1, got {repeat}."
        )
    require_small("array_create", count=len(elements) * times)
    return pack(elements * times, array=isinstance(data, Array))


@process()
def array_create_labeled(data: AnyValue, labels: ArrayOf) -> LabeledElements:
    """Make a labeled array.

    Parameters
    ----------
    data
        The values.
    labels
        As many labels.
    """
    elements, names = items(data), items(labels)
    if len(elements) != len(names):
        raise OpenEOError(
            "ArrayLengthMismatch",
            f"array_create_labeled: {len(names)} labels cannot label {len(elements)} values.",
        )
    return pack(elements, labels=names)


@process()
def array_element(
    data: ArrayOf, index: Integer = None, label: Label = None, return_nodata: Boolean = False
) -> AnyValue:
    """Return one element of an array.

    Parameters
    ----------
    data
        The array.
    index
        Its zero-based index.
    label
        Its label, instead of an index.
    return_nodata
        Return null for an element that does not exist, which is an error otherwise.
    """
    if index is None and label is None:
        raise OpenEOError(
            "ArrayElementParameterMissing", "array_element: give the element's 'index' or 'label'."
        )
    if index is not None and label is not None:
        raise OpenEOError(
            "ArrayElementParameterConflict",
            f"array_element: give either index {index!r} or label {label!r}, not both.",
        )
    if label is not None:
        known = labels_of(data)
        if known is None:
            raise OpenEOError(
                "ArrayNotLabeled",
                f"array_element: the array has no labels to find {label!r} in; use 'index'.",
            )
        found = [i for i, name in enumerate(known) if eq(name, label)]
        index = found[0] if found else None
        wanted, available = f"label {label!r}", f"the labels are {', '.join(map(str, known))}"
    else:
        size = len(data) if data is not None else 0
        wanted, available = f"index {index}", f"the array has {size} elements"
    elements: Any = data.values if isinstance(data, Array) else data
    if index is None or not 0 <= int(index) < len(elements):
        if return_nodata:
            return None
        raise OpenEOError(
            "ArrayElementNotAvailable", f"array_element: there is no {wanted}; {available}."
        )
    return plain(elements[int(index)])


@process()
def array_concat(array1: ArrayOf, array2: ArrayOf) -> Elements:
    """Put one array after another.

    Parameters
    ----------
    array1
        The first array.
    array2
        The second array. Labels are kept if both have some.
    """
    labels1, labels2 = labels_of(array1), labels_of(array2)
    labels = None if labels1 is None or labels2 is None else labels1 + labels2
    if labels is not None and len(set(labels)) != len(labels):
        raise OpenEOError(
            "ArrayLabelConflict",
            f"array_concat: both arrays have the labels {set(labels1 or ()) & set(labels2 or ())}.",
        )
    array = any(isinstance(data, Array) for data in (array1, array2))
    return pack(items(array1) + items(array2), labels=labels, array=array)


@process()
def array_append(data: ArrayOf, value: AnyValue, label: Label = None) -> Elements:
    """Put a value at the end of an array.

    Parameters
    ----------
    data
        The array.
    value
        The value.
    label
        Its label in a labeled array, by default its index.
    """
    labels = labels_of(data)
    elements = items(data)
    if labels is None and label is not None:
        raise OpenEOError(
            "ArrayNotLabeled",
            f"array_append: the array has no labels, so the value cannot have the label {label!r}.",
        )
    if labels is not None:
        label = len(elements) if label is None else label
        if label in labels:
            raise OpenEOError(
                "LabelExists", f"array_append: the label {label!r} exists; choose another."
            )
        labels = [*labels, label]
    return pack([*elements, value], labels=labels, array=isinstance(data, Array))


@process()
def array_modify(
    data: ArrayOf, values: ArrayOf, index: Integer, length: Integer = None
) -> Elements:
    """Insert, replace or remove elements of an array.

    Parameters
    ----------
    data
        The array; labels are lost.
    values
        The values to put in; an empty array removes.
    index
        Where.
    length
        How many elements to take out there: by default none, or one if ``values`` is empty.
    """
    elements, inserted = items(data), items(values)
    if index > len(elements):
        raise OpenEOError(
            "ArrayElementNotAvailable",
            f"array_modify: there is no index {index} in an array of {len(elements)} elements.",
        )
    taken = (0 if inserted else 1) if length is None else int(length)
    out = elements[:index] + inserted + elements[index + taken :]
    return pack(out, array=isinstance(data, Array))


@process()
def array_labels(data: ArrayOf) -> Elements:
    """Return the labels of an array; the indices of one without labels.

    Parameters
    ----------
    data
        The array.
    """
    labels = labels_of(data)
    return labels if labels is not None else list(range(len(items(data))))


@process()
def array_contains(data: ArrayOf, value: Scalar) -> Boolean:
    """Whether an array contains a value (of the same type).

    Parameters
    ----------
    data
        The array.
    value
        The value; null is never found.
    """
    elements = items(data)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and _are_numbers(elements):
        return _is_any_of(value, elements)
    out: Any = False
    for element in elements:
        out = out | truth(_same(element, value))
    return out


def _are_numbers(elements: Sequence[Any]) -> bool:
    return all(isinstance(e, int | float) and not isinstance(e, bool) for e in elements)


def _is_any_of(values: np.ndarray[Any, Any], elements: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return where values equal one of some numbers: masks of classes are made like this."""
    out = np.zeros(values.shape, dtype=bool)
    equal = np.empty_like(out)
    for element in elements:
        np.equal(values, element, out=equal)
        np.logical_or(out, equal, out=out)
    return out


@process()
def array_find(data: ArrayOf, value: AnyValue, reverse: Boolean = False) -> Integer | None:
    """Return the index of the first (or last) element that equals a value; null if there is none.

    Parameters
    ----------
    data
        The array.
    value
        The value, of the same type.
    reverse
        Find the last one.
    """
    found = [truth(_same(element, value)) for element in items(data)]
    if not any(isinstance(f, np.ndarray) for f in found):
        hits = [i for i, hit in enumerate(found) if hit]
        return (hits[-1] if reverse else hits[0]) if hits else None
    hit = np.stack(np.broadcast_arrays(*found))
    first = len(hit) - 1 - hit[::-1].argmax(axis=0) if reverse else hit.argmax(axis=0)
    return np.where(hit.any(axis=0), first.astype(np.float32), np.float32(np.nan))


def _same(element: Any, value: Any) -> Any:
    if isinstance(element, list | dict) or isinstance(value, list | dict):
        return False  # only scalars are found
    return eq(element, value)


@process()
def array_find_label(data: ArrayOf, label: Label) -> Integer | None:
    """Return the index of a label; null if there is none.

    Parameters
    ----------
    data
        A labeled array.
    label
        The label.
    """
    for index, name in enumerate(labels_of(data) or ()):
        if eq(name, label):
            return index
    return None


@process()
def array_apply(data: ArrayOf, process: Callback, context: AnyValue = None) -> Elements:
    """Apply a process to each element of an array.

    Parameters
    ----------
    data
        The array; its labels are kept.
    process
        Gets ``x``, ``index``, ``label`` and ``context``; ``label`` is null without labels.
    context
        Passed on to the process.
    """
    labels = labels_of(data)
    out, size = [], 0
    for i, x in enumerate(items(data)):
        label = None if labels is None else labels[i]
        out.append(process(x=x, index=i, label=label, context=context))
        size += weight(out[-1])
        require_small("array_apply", count=size)
    return pack(out, labels=labels, array=isinstance(data, Array))


@process()
def array_filter(data: ArrayOf, condition: Callback, context: AnyValue = None) -> Elements:
    """Keep the elements of an array that meet a condition.

    Over pixels, a condition on the values cannot take an element out of some pixels only: it
    becomes a missing value there, which reducers leave out.

    Parameters
    ----------
    data
        The array; labels are kept.
    condition
        Gets ``x``, ``index``, ``label`` and ``context``, gives true for elements to keep.
    context
        Passed on to the condition.
    """
    labels = labels_of(data)
    kept, names = [], []
    for index, x in enumerate(items(data)):
        label = None if labels is None else labels[index]
        chosen = truth(condition(x=x, index=index, label=label, context=context))
        if isinstance(chosen, np.ndarray):
            kept.append(np.where(chosen, floats(x), np.float32(np.nan)))
        elif chosen:
            kept.append(x)
        else:
            continue
        names.append(label)
    array = isinstance(data, Array)
    return pack(kept, labels=None if labels is None else names, array=array)
