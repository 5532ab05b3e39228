"""Files without pixels: they open, are not empty, and have the columns that were asked for."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from openeo_gfmap.quality.finding import Finding, some
from openeo_gfmap.quality.gates import QualityGates

__all__ = ["TABLES", "judge_table"]

#: Gates that mean something for a table, too.
_APPLY: Final = frozenset({"bands", "within_period", "clear_share"})


def judge_table(path: Path, gates: QualityGates) -> Iterator[Finding]:
    """Iterate over what is wrong with a table.

    Parameters
    ----------
    path : Path
        File of one of the kinds in `TABLES`.
    gates : QualityGates
        What it must be; ``bands`` are columns here. Gates of pixels, it does not pass.
    """
    try:
        columns, is_empty = TABLES[path.suffix.lower()](path)
    except (OSError, ValueError, csv.Error) as error:
        yield Finding("opens", f"{path.name} does not open as {path.suffix}: {error}")
        return
    if is_empty:
        yield Finding("opens", f"{path.name} opens, but is empty")
        return
    if absent := [band for band in gates.bands if band not in columns]:
        yield Finding("bands", f"lacks {some(absent)}; it has {', '.join(columns) or 'no columns'}")
    for gate, wanted in gates.to_dict().items():
        if gate not in _APPLY:
            yield Finding(gate, f"is a table, without pixels; expected {gate} {wanted}")


def _parquet(path: Path) -> tuple[list[str], bool]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    metadata = pq.read_metadata(path)
    return metadata.schema.to_arrow_schema().names, metadata.num_rows == 0


def _csv(path: Path) -> tuple[list[str], bool]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        return next(lines, []), next(lines, None) is None


def _json(path: Path) -> tuple[list[str], bool]:
    document: Any = json.loads(path.read_bytes())
    if isinstance(document, Mapping) and document.get("type") == "FeatureCollection":
        document = [each.get("properties") or {"": None} for each in document.get("features") or ()]
    first = document[0] if isinstance(document, list) and document else document
    columns = list(first) if isinstance(first, Mapping) else []
    return columns, isinstance(document, Mapping | list) and not document


#: By suffix, what reads the names of columns, and whether there is nothing but them.
TABLES: Final[Mapping[str, Callable[[Path], tuple[list[str], bool]]]] = {
    ".parquet": _parquet,
    ".geoparquet": _parquet,
    ".csv": _csv,
    ".json": _json,
    ".geojson": _json,
}
