"""Where result files come from: one document a job, beside the data.

``provenance/<title>_<job id>_<row>.json`` is an openEO process, so that an openEO editor opens it,
with what else is known of the job: what the back-end says of it, the row it was made for, and the
versions of the software. Secrets are taken out before anything is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from openeo_gfmap.files import safe_name, whole
from openeo_gfmap.manager.job_store import Record
from openeo_gfmap.manager.model import Job, SavedFile
from openeo_gfmap.manager.run_notes import software
from openeo_gfmap.manager.secrets import may_hold_secrets, without_secrets

__all__ = ["FOLDER", "Provenance", "linked"]

FOLDER: Final = "provenance"

#: Media type of an openEO process.
PROCESS: Final = "application/vnd.openeo+json;type=process"
_LARGE: Final = 1 << 14  # characters of a cell that is not written out, as that of a lone geometry
_MOST_SOURCES: Final = 20  # links of an item; of more, one leads to their list


class Provenance:
    """Writes the documents; used by several threads, each for other jobs.

    What is known of a job before it ends is kept in memory: the process graph as it was sent, and
    the last description of the job, which the manager asks for anyway. A run that was broken off in
    between asks the back-end again.

    Parameters
    ----------
    output_dir : Path
        Output folder of the run.
    """

    def __init__(self, output_dir: Path):
        self._folder = output_dir / FOLDER
        self._processes: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._descriptions: dict[tuple[str, str], Mapping[str, Any]] = {}

    def sent(self, backend: str, job_id: str, process: Mapping[str, Any]) -> None:
        """Remember the process that a job was made of."""
        self._processes[backend, job_id] = process

    def described(self, job: Job, description: Mapping[str, Any]) -> None:
        """Remember what a back-end says of a job at its end."""
        self._descriptions[str(job.backend), str(job.id)] = description

    def knows(self, job: Job) -> bool:
        """Tell whether all is known of a job that its back-end can tell."""
        key = str(job.backend), str(job.id)
        description = self._descriptions.get(key)
        return description is not None and (key in self._processes or "process" in description)

    def write(self, job: Job, record: Record, *, url: str, sources: Sequence[str] = ()) -> str:
        """Write the document of a job; return its path relative to the output folder.

        Parameters
        ----------
        job : Job
            The job.
        record : Record
            The user's row.
        url : str
            Address of the back-end.
        sources : sequence of str
            What the back-end says that the results were made of.
        """
        key = str(job.backend), str(job.id)
        description = dict(self._descriptions.pop(key, {}))
        described = description.pop("process", None) or {}
        process = self._processes.pop(key, None) or described
        document = {
            **process,
            "job": {"id": job.id, **description},
            "attempt": job.attempt,
            "job_options": json.loads(job.options) if job.options else {},
            "backend": {"name": job.backend, "url": url},
            "input": {
                "row": job.row,
                "label": record.label,
                "values": {name: _cell(value) for name, value in record.values.items()},
            },
            "software": software(),
            "derived_from": list(sources),
        }
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        if may_hold_secrets(text):
            taken: list[str] = []
            document = without_secrets(document, taken)
            if taken:
                document["taken_out"] = taken
            text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        self._folder.mkdir(parents=True, exist_ok=True)
        title = job.title or description.get("title") or "job"
        # With the row: two back-ends may call their jobs the same.
        name = f"{safe_name(str(title), 140)}_{safe_name(str(job.id), 80)}_{job.row}.json"
        path = self._folder / name.replace(" ", "_")  # a link leads to it
        with whole(path) as part:
            # Half a character of a title that was cut short becomes what JSON writes for it.
            part.write_text(text, "utf-8", "backslashreplace")
        return f"{FOLDER}/{path.name}"


def _cell(value: Any) -> Any:
    """Return a value of the user's row; of a large one only what tells it.

    The samples of a job are written whole: they are what it was made for. A lone geometry of many
    vertices, say, is in the tracker's store and, as a rule, in the process graph.
    """
    if isinstance(value, str):
        text, is_collection = value, value.startswith("{") and "FeatureCollection" in value[:200]
    elif isinstance(value, list | dict):
        is_collection = isinstance(value, dict) and value.get("type") == "FeatureCollection"
        text = "" if is_collection else json.dumps(value)
    else:
        return value
    if is_collection or len(text) <= _LARGE:
        return value
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"characters": len(text), "sha256": digest, "where": "the tracker's store has it whole"}


# -------------------------------------------------------------------------------------------- links


def linked(file: SavedFile, path: str, sources: Sequence[str]) -> SavedFile:
    """Return a file whose item says where it comes from.

    Parameters
    ----------
    file : SavedFile
        A result file.
    path : str
        The job's document, relative to the output folder as all addresses in stored items.
    sources : sequence of str
        What the results were made of. When they are many, one link leads to the list of them.
    """
    links = [
        {
            "rel": "processing-expression",
            "href": path,
            "type": PROCESS,
            "title": "Process graph, job, input and software",
        }
    ]
    if len(sources) <= _MOST_SOURCES:
        links += [{"rel": "derived_from", "href": without_secrets(s, [])} for s in sources]
    else:
        title = f"List of {len(sources)} sources"
        links.append(
            {"rel": "derived_from", "href": path, "type": "application/json", "title": title}
        )
    ours = {link["rel"] for link in links}
    kept = [link for link in file.item.get("links", ()) if link.get("rel") not in ours]
    return replace(file, item={**file.item, "links": [*kept, *links]})
