"""User-defined processes: those stored here, and those that stand somewhere on the web."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from .documents import NAME, check_depth, check_process
from .engine.inlining import Definition, Lookup, inline
from .errors import OpenEOError

__all__ = ["Definitions", "UserProcesses", "process_document"]

_LISTED = ("id", "summary", "description", "categories", "parameters", "returns",
           "deprecated", "experimental")  # fmt: skip


class UserProcesses:
    """The processes a user has stored, in SQLite; safe to use from several threads.

    Parameters
    ----------
    path
        The database, made when it is first used.
    """

    def __init__(self, path: Path):
        self._path = path

    def put(self, process: Mapping[str, Any]) -> None:
        """Store a process under its id, in place of one that is there."""
        with self._open() as db:
            db.execute("REPLACE INTO processes VALUES (?, ?)", (process["id"], json.dumps(process)))

    def get(self, id: str) -> dict[str, Any]:
        """Return a process; ProcessGraphNotFound (404) when there is none."""
        found = self.find(id)
        if found is None:
            raise OpenEOError(
                "ProcessGraphNotFound",
                f"There is no user-defined process {id[:200]!r}. GET /process_graphs lists those "
                "there are.",
                status=404,
            )
        return found

    def find(self, id: str) -> dict[str, Any] | None:
        """Return a process, None when there is none."""
        with self._open() as db:
            row = db.execute("SELECT document FROM processes WHERE id = ?", (id,)).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def list(self) -> list[dict[str, Any]]:
        """Return all processes by id, without their graphs."""
        with self._open() as db:
            rows = db.execute("SELECT document FROM processes ORDER BY id").fetchall()
        documents = (json.loads(row[0]) for row in rows)
        return [{k: d[k] for k in _LISTED if d.get(k) is not None} for d in documents]

    def delete(self, id: str) -> None:
        """Remove a process; ProcessGraphNotFound (404) when there is none."""
        self.get(id)
        with self._open() as db:
            db.execute("DELETE FROM processes WHERE id = ?", (id,))

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=30)
        try:
            with db:
                db.execute(
                    "CREATE TABLE IF NOT EXISTS processes (id TEXT PRIMARY KEY, document TEXT)"
                )
                yield db
        finally:
            db.close()


def process_document(id: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a process as it is stored.

    Parameters
    ----------
    id
        The id it gets.
    document
        The body of the request: ``process_graph``, and what else describes a process.

    Raises
    ------
    OpenEOError
        ``ProcessInvalid``, ``ProcessGraphMissing`` or ``ProcessGraphInvalid``, naming what is
        wrong.
    """
    if not NAME.fullmatch(id):
        raise OpenEOError(
            "ProcessInvalid",
            f"The process id {id[:200]!r} is invalid: letters without accents, digits and _ only, "
            "up to 200.",
        )
    if document.get("id", id) != id:
        raise OpenEOError(
            "ProcessInvalid", f"The process is called {document['id']!r:.80} and stored as {id!r}."
        )
    check_process(document)
    return {**document, "id": id}


@dataclass(frozen=True)
class Definitions:
    """Finds what a node calls, and puts it in.

    Attributes
    ----------
    stored
        The user's processes.
    max_bytes
        Largest process definition that is read from the web.
    """

    stored: UserProcesses
    max_bytes: int

    def inline(self, process: Mapping[str, Any]) -> dict[str, Any]:
        """Return a process's graph with all that is not predefined written out.

        Raises
        ------
        OpenEOError
            See :func:`engine.inlining.inline`; ``ProcessUnsupported`` for a namespace that
            cannot be used, or a definition that cannot be read.
        """
        return inline(process, self._lookup())

    def require_no_cycle(self, process: Mapping[str, Any]) -> None:
        """Refuse a process to be stored that calls itself, or another one wrongly.

        Raises
        ------
        OpenEOError
            As :meth:`inline`, but not for processes that are still to come.
        """
        try:
            inline(process, self._lookup({process["id"]: process}), id=process["id"])
        except OpenEOError as error:
            if error.code != "ProcessUnsupported":
                raise

    def _lookup(self, more: Mapping[str, Mapping[str, Any]] | None = None) -> Lookup:
        """Return a lookup that reads each definition once; ``more`` are processes of the user."""
        found: dict[tuple[str, str | None], Definition | None] = {
            (id, namespace): _definition(id, "user", document)
            for id, document in (more or {}).items()
            for namespace in (None, "user")
        }

        def lookup(id: str, namespace: str | None) -> Definition | None:
            key = (id, namespace)
            if key not in found:
                found[key] = self._find(id, namespace)
            return found[key]

        return lookup

    def _find(self, id: str, namespace: str | None) -> Definition | None:
        if namespace == "backend":
            return None
        if namespace in (None, "user"):
            document = self.stored.find(id)
            if document is None and namespace == "user":
                raise OpenEOError(
                    "ProcessUnsupported",
                    f"There is no user-defined process {id!r}. GET /process_graphs lists those "
                    "there are.",
                )
            return None if document is None else _definition(id, "user", document)
        if namespace is not None and urlsplit(namespace).scheme in ("http", "https"):
            return _definition(id, namespace, self._remote(id, namespace))
        raise OpenEOError(
            "ProcessUnsupported",
            f"Process {id!r} is asked for in the namespace {namespace!r:.80}; this back-end knows "
            "'backend', 'user', and addresses of process definitions (https://…).",
        )

    def _remote(self, id: str, url: str) -> Mapping[str, Any]:
        """Read a process, or a list of processes, and return the one that is meant."""
        try:
            document = json.loads(self._download(id, url))
        except (ValueError, RecursionError) as error:
            raise _unusable(id, url, f"it is no JSON: {error}") from None
        if isinstance(document, dict) and isinstance(document.get("processes"), list):
            named = [p for p in document["processes"] if isinstance(p, dict) and p.get("id") == id]
            document = named[0] if named else None
        if not isinstance(document, dict) or document.get("id", id) != id:
            raise _unusable(id, url, "it does not define this process")
        check_depth(document)
        return document

    def _download(self, id: str, url: str) -> bytes:
        body = bytearray()
        try:
            with requests.Session() as session:
                # A proxy has no business with this machine's own servers.
                session.trust_env = urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1")
                with session.get(url, stream=True, timeout=(10, 30)) as response:
                    if not response.ok:
                        raise _unusable(id, url, f"the answer is HTTP {response.status_code}")
                    for block in response.iter_content(1 << 16):
                        body += block
                        if len(body) > self.max_bytes:
                            raise _unusable(id, url, f"it is larger than {self.max_bytes} bytes")
        except requests.RequestException as error:
            raise _unusable(id, url, str(error)) from error
        return bytes(body)


def _definition(id: str, namespace: str, document: Mapping[str, Any]) -> Definition:
    check_process(document)
    return Definition(id, namespace, document["process_graph"], document.get("parameters") or [])


def _unusable(id: str, url: str, reason: str) -> OpenEOError:
    return OpenEOError(
        "ProcessUnsupported",
        f"The definition of the process {id!r} at {url} cannot be used: {reason}.",
    )
