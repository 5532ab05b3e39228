"""Where the official cases contradict the text of the process they are for, one by one.

A case with an erratum must fail as it stands and hold once corrected, so that neither list can
outlive its reason. Where the text leaves two ways open and the engine goes another way than the
case, the case is a deviation: it is not corrected, and does not hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NULL = math.nan


@dataclass(frozen=True)
class Erratum:
    """A mistake in a case.

    Attributes
    ----------
    reason
        What contradicts what.
    changes
        New values by path: ``"arguments/data/0"``, ``"returns"``, ``"delta"``.
    """

    reason: str
    changes: Mapping[str, Any]


# Parameters that the cases call by the name of an earlier version of the process.
OLD_NAMES = {("array_filter", "process"): "condition"}

_JUNE = [["2020-06-01T00:00:00Z", "2020-06-07T00:00:00Z"],
         ["2020-06-07T00:00:00Z", "2020-06-14T00:00:00Z"],
         ["2020-06-14T00:00:00Z", "2020-06-21T00:00:00Z"]]  # fmt: skip
_WRONG_MONTH = "the intervals are in January, the cube's dates and the result's values in June"
_ROUNDED = "; the values are rounded"
_INVERTED = {"arguments/mask/data": [[0, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 1]]}
_MASK = "the text replaces pixels where the mask is not zero, the case where it is zero"
_BLUE = (
    "the fourth pixel of blue is the nodata value in the cube that is referred to, and 165 in the "
    "result"
)

_NOTHING = [[NULL] * 4] * 3

ERRATA: dict[tuple[str, int], Erratum] = {
    ("aggregate_temporal", 5): Erratum(
        _WRONG_MONTH + _ROUNDED,
        {
            "arguments/intervals": [["2020-06-01", "2020-06-07"], ["2020-06-07", "2020-06-14"]],
            "returns/dimensions/t/values": ["2020-06-01", "2020-06-07"],
            "delta": 0.00501,
        },
    ),
    ("aggregate_temporal", 6): Erratum(
        _WRONG_MONTH + _ROUNDED,
        {
            "arguments/intervals": _JUNE,
            "returns/dimensions/t/values": [start for start, _ in _JUNE],
            "delta": 0.00501,
        },
    ),
    ("aggregate_temporal", 7): Erratum(
        _WRONG_MONTH + _ROUNDED, {"arguments/intervals": _JUNE, "delta": 0.00501}
    ),
    ("aggregate_temporal", 8): Erratum(
        _WRONG_MONTH,
        {
            "arguments/intervals": _JUNE[:2],
            "returns/dimensions/t/values": [start for start, _ in _JUNE[:2]],
        },
    ),
    ("aggregate_temporal", 9): Erratum(
        _WRONG_MONTH + _ROUNDED + ", and the labels stand inside the reducer",
        {
            "arguments/intervals": [[None, "2020-06-04"], ["2020-06-04", None]],
            "arguments/labels": ["before", "after"],
            "delta": 0.000501,
        },
    ),
    ("aggregate_temporal", 10): Erratum(
        "the reducer is mean, the result that of median, which the case says it requires",
        {"arguments/reducer/process_graph/mean/process_id": "median"},
    ),
    ("aggregate_temporal_period", 3): Erratum(
        "five hours have four labels, and those of days",
        {
            "returns/dimensions/t/values": [f"2020-06-01-0{hour}" for hour in range(5)],
            "returns/data": [
                [
                    [-23.075, 31.375, -47.81, -36.125],
                    [-8.475, -27.675, 34.97, 15.275],
                    [49.13, 13.97, 25.16, -17.725],
                ],
                [
                    [29.195, 36.07, 70.445, -0.88],
                    [29.185, 74.1, 19.14, 16.61],
                    [-41.17, -42.13, 1.26, 39.27],
                ],
                _NOTHING,
                _NOTHING,
                [
                    [-12.23, 61.46, 2.38, -84.76],
                    [28.36, 48.45, -65.85, 65.9],
                    [29.5, -45.82, 78.05, 58.27],
                ],
            ],
        },
    ),
    ("aggregate_temporal_period", 4): Erratum(
        "days are labelled YYYY-DDD in the text, like hours in the case",
        {"returns/dimensions/t/values": [f"2020-{day}" for day in range(153, 157)]},
    ),
    ("aggregate_temporal_period", 8): Erratum(
        "the time dimension t2 is called t in the result",
        {
            "returns/order": ["t2", "y", "x"],
            "returns/dimensions/t2": {
                "type": "temporal",
                "values": ["2023-djf", "2024-mam", "2024-jja", "2024-son"],
            },
        },
    ),
    ("aggregate_temporal_period", 9): Erratum(
        "the time dimension t2 is called t in the result",
        {
            "returns/order": ["t2", "y", "x"],
            "returns/dimensions/t2": {
                "type": "temporal",
                "values": ["2023-ndjfma", "2024-mjjaso", "2024-ndjfma"],
            },
        },
    ),
    ("apply", 2): Erratum(_BLUE, {"returns/data/2/0/3": 255}),
    ("apply_dimension", 1): Erratum(
        _BLUE,
        {"returns/data/0/0/3": 204.0, "returns/data/1/0/3": 210.0, "returns/data/2/0/3": 213.6},
    ),
    ("apply_dimension", 2): Erratum(
        "the cube has no dimension bands; the result is that along t", {"arguments/dimension": "t"}
    ),
    ("array_append", 0): Erratum("[] and 0 are [0], not [1]", {"returns": [0]}),
    ("array_apply", 8): Erratum(
        "'mulitply' is no process, and the product of -3.225 and 2 is negative",
        {
            "arguments/process/process_graph/mulitply/process_id": "multiply",
            "returns/3": -6.45,
        },
    ),
    ("array_element", 3): Erratum("'BO2' has a letter O", {"arguments/label": "B02"}),
    ("array_filter", 0): Erratum(
        "gt has no y, which it requires",
        {
            "arguments/process/process_graph/gt/arguments": {
                "x": {"from_parameter": "x"},
                "y": 3,
            }
        },
    ),
    ("array_filter", 5): Erratum(
        "subtract gives no truth value; the case says it requires gt",
        {
            "arguments/process/process_graph/const": {
                "process_id": "gt",
                "arguments": {"x": {"from_parameter": "x"}, "y": 1},
                "result": True,
            }
        },
    ),
    ("array_find", 6): Erratum("3 is at index 0, not 1", {"returns": 0}),
    ("filter_bands", 4): Erratum(
        "the bands asked for are not those of the result", {"arguments/bands": ["blue", "green"]}
    ),
    ("lte", 15): Erratum("infinity is less than or equal to infinity", {"returns": True}),
    ("mask", 0): Erratum(_MASK, _INVERTED),
    ("mask", 1): Erratum(
        _MASK + "; and there is no file xyb-minimal-float.json5",
        {"arguments/data": {"$ref": "assets/xyt-minimal-float.json5"}, **_INVERTED},
    ),
    ("mask", 2): Erratum(
        _MASK + "; and a pixel that the mask keeps, and that has no value, is replaced",
        {**_INVERTED, **{f"returns/data/{band}/2/2": 255 for band in range(3)}},
    ),
    ("mask_polygon", 0): Erratum(
        "the text replaces pixels inside when inside is true, the case those outside",
        {"arguments/inside": False},
    ),
    ("mask_polygon", 1): Erratum(
        "the text replaces pixels inside when inside is true, the case those outside",
        {"arguments/inside": True},
    ),
    ("mask_polygon", 6): Erratum(
        "four pixels inside have values in one band of one date",
        {f"returns/data/3/5/2/{column}": NULL for column in range(3, 7)},
    ),
    ("product", 10): Erratum("the product of -inf and inf is -inf", {"returns": -math.inf}),
    ("reduce_dimension", 1): Erratum(
        "divide takes nodes for parameters; " + _BLUE,
        {
            "arguments/reducer/process_graph/divide/arguments": {
                "x": {"from_node": "red"},
                "y": {"from_node": "blue"},
            },
            "returns/data/0/3": NULL,
        },
    ),
    ("rename_labels", 5): Erratum(
        "the new labels are given as source, and target is missing",
        {"arguments/target": ["red", "green", "blue"], "arguments/source": []},
    ),
    ("rename_labels", 7): Erratum(
        "the new labels are given as source, and target is missing",
        {"arguments/target": ["red"], "arguments/source": []},
    ),
}

_SPATIAL = "the spatial dimensions are always x and y here, as in the files"

# Cases that the engine answers otherwise on purpose, and why.
DEVIATIONS: dict[tuple[str, int], str] = {
    ("filter_bands", 2): "a band that the cube does not have is refused, not ignored: it is a typo",
    ("filter_bbox", 0): "an extent beside the cube is refused, as it can only give nothing",
    ("filter_spatial", 0): "geometries beside the cube are refused, as they can only give nothing",
    ("rename_dimension", 3): _SPATIAL + "; the case renames x, its result keeps x and lacks y",
    ("rename_dimension", 4): _SPATIAL + "; the case renames y, its result keeps y and lacks x",
    ("rename_labels", 0): "clients leave the source out, and CDSE takes the labels in their order",
}
