"""Comparing process graphs by what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openeo_gfmap.preprocessing

_UDF_FOLDER = Path(openeo_gfmap.preprocessing.__file__).parent
_PACKAGED = {path.read_text("utf-8"): path.name for path in _UDF_FOLDER.glob("udf_*.py")}

#: Words that tell which packaged file stands for a published UDF.
_PUBLISHED = {"score_doy": "udf_score.py", "rank_mask": "udf_rank.py"}


def canonical(graph: dict[str, Any]) -> Any:
    """Return the result node with every reference replaced by what it refers to.

    Node names and the order of nodes and arguments drop out. The key "srs", a repetition of "crs"
    in published bounding boxes, is left out, and UDF source is replaced by the name of its file.
    """
    (result,) = (name for name, node in graph.items() if node.get("result"))
    return _node(graph, result)


def _node(graph: dict[str, Any], name: str) -> Any:
    node = graph[name]
    return (node["process_id"], _value(graph, node["arguments"]))


def _value(graph: dict[str, Any], value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"from_node"}:
            return _node(graph, value["from_node"])
        if value.keys() == {"process_graph"}:
            return canonical(value["process_graph"])
        return {
            key: udf_file(item) if key == "udf" else _value(graph, item)
            for key, item in value.items()
            if key != "srs"
        }
    if isinstance(value, list | tuple):
        return [_value(graph, item) for item in value]
    return value


def udf_file(code: str) -> str:
    """Return the packaged file that the code is, or stands for."""
    if code in _PACKAGED:
        return _PACKAGED[code]
    (name,) = (name for word, name in _PUBLISHED.items() if word in code)
    return name
