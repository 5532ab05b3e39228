"""Write the parameters of openEO's official processes, as far as a test compares them.

    python tools/make_process_signatures.py FOLDER... > tests/support/official_processes.json

FOLDER holds process descriptions as https://processes.openeo.org publishes them (Apache-2.0), one
JSON file each; of several folders a later one wins. Only names, types and defaults are kept.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def kinds(schema: Any) -> list[str]:
    """Return the JSON types of a schema with their openEO subtypes, sorted: ``string:date``."""
    # Earlier versions told cubes apart; today a cube's dimensions do.
    same = {"raster-cube": "datacube", "vector-cube": "datacube"}
    found = set()
    for choice in schema if isinstance(schema, list) else [schema]:
        types = choice.get("type", "any")
        for name in [types] if isinstance(types, str) else types:
            subtype = choice.get("subtype") if name != "null" else None
            subtype = same.get(subtype, subtype)
            found.add(f"{name}:{subtype}" if subtype else name)
    return sorted(found)


def signature(process: dict[str, Any]) -> dict[str, Any]:
    """Return what a test compares of a process description."""
    parameters = []
    for parameter in process["parameters"]:
        entry = {"name": parameter["name"], "types": kinds(parameter["schema"])}
        if parameter.get("optional"):
            entry["optional"] = True
        if "default" in parameter:
            entry["default"] = parameter["default"]
        parameters.append(entry)
    return {"parameters": parameters, "returns": kinds(process["returns"]["schema"])}


if __name__ == "__main__":
    paths = [path for folder in sys.argv[1:] for path in sorted(Path(folder).glob("*.json"))]
    processes = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    lines = (
        f"  {json.dumps(name)}: {json.dumps(signature(processes[name]))}"
        for name in sorted(processes)
    )
    print("{\n" + ",\n".join(lines) + "\n}")
