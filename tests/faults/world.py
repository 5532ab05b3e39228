"""A back-end, a network that fails, a manager between them, and what must hold in the end."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import openeo
import pandas as pd
import pytest

from faults.proxy import Fault, FaultProxy
from openeo_gfmap.manager.job_manager import GFMAPJobManager
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.sqlite_store import SqliteJobStore
from support.fake_backend import FakeBackend, Script
from support.manager_run import output_path, start_job, table

QUICK = ManagerOptions(
    settle=0.3, longest_wait=0.4, connect_seconds=2.0, answer_seconds=1.0, work_seconds=1.5
)
BACKEND = "fake"


@dataclass
class World:
    """Everything a run needs.

    Attributes
    ----------
    folder
        Holds the tracker ``tracker.csv`` and the output folder ``out``.
    backend
        The honest server, with its ledger.
    proxy
        What the manager talks to.
    files
        The result files of each job, by name.
    caplog
        Has what was logged.
    """

    folder: Path
    backend: FakeBackend
    proxy: FaultProxy
    files: Mapping[str, bytes]
    caplog: pytest.LogCaptureFixture
    jobs: int = 5
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.backend.public_url = self.proxy.url
        self.backend.default = Script(assets=dict(self.files))

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def tracker(self) -> Path:
        return self.folder / "tracker.csv"

    def fail(self, *faults: Fault, seed: int = 0) -> None:
        """Let the proxy do harm from now on."""
        self.proxy.faults = list(faults)
        self.proxy.seed = seed

    def connect(self) -> openeo.Connection:
        return openeo.connect(self.proxy.url).authenticate_basic("user", "secret")

    def script(self, row: int, **changes: Any) -> None:
        """Let a row's job go another way than the others."""
        self.backend.scripts[f"job {row}"] = replace(self.backend.default, **changes)

    def manager(self, **settings: Any) -> GFMAPJobManager:
        settings = {
            "output_path_generator": output_path,
            "collection_id": "TEST",
            "poll_sleep": 0.05,
            "n_threads": 2,
            "options": QUICK,
            **self.settings,
            **settings,
        }
        connection = settings.pop("connection", self.connect)
        parallel = settings.pop("parallel_jobs", 3)
        made = settings.pop("kind", GFMAPJobManager)(self.out, **settings)
        made.add_backend(BACKEND, connection, parallel_jobs=parallel)
        return made

    def table(self) -> pd.DataFrame:
        return table(self.jobs)

    def run(self, start: Any = start_job, df: Any = None, **settings: Any) -> dict[str, int]:
        """Run all jobs to the end."""
        df = self.table() if df is None else df
        return self.manager(**settings).run_jobs(df, start, self.tracker)

    # -------------------------------------------------------------------------------- afterwards

    def rows(self) -> pd.DataFrame:
        return pd.read_csv(self.tracker)

    def messages(self) -> dict[int, str]:
        """Return why rows are in the states they are in."""
        with closing(sqlite3.connect(f"{self.tracker}.sqlite")) as store:
            found = store.execute("SELECT row, message FROM jobs WHERE message IS NOT NULL")
            return dict(found.fetchall())

    def warnings(self) -> list[str]:
        return [r.getMessage() for r in self.caplog.records if r.levelno >= logging.WARNING]

    def check(
        self,
        failed: Mapping[int, tuple[str, str]] | None = None,
        *,
        warnings: int = 3,
        missing: Mapping[int, Sequence[str]] | None = None,
        made: Mapping[int, int] | None = None,
        parallel: int = 3,
    ) -> None:
        """Check all that must hold after any run.

        Parameters
        ----------
        failed : mapping
            Row: its status, and words of the reason. All other rows are finished.
        warnings : int
            Most lines of warning, beside one for each failed row.
        missing : mapping
            Row: names of files that cannot be had; all other files of that row are there.
        made : mapping
            Row: how many jobs there are of it; of the others one, or none when they are
            ``start_failed`` or ``skipped``.
        parallel : int
            Most jobs that may have been active at once.
        """
        failed, missing, made = failed or {}, missing or {}, made or {}
        self._check_rows(failed)
        self._check_ledger(failed, made)
        self._check_files(failed, missing)
        self._check_samples(failed)
        self._check_log(failed, warnings)
        assert self.backend.most_active <= parallel

    def _check_rows(self, failed: Mapping[int, tuple[str, str]]) -> None:
        rows, wanted = self.rows(), self.table()
        expected = [failed.get(row, ("finished", ""))[0] for row in range(self.jobs)]
        assert list(rows.status) == expected, self.messages()
        assert list(rows.title) == list(wanted.title)
        assert list(rows.geometry) == list(wanted.geometry)
        messages = self.messages()
        for row, (_, reason) in failed.items():
            assert reason in messages.get(row, ""), (row, messages)
        with closing(sqlite3.connect(f"{self.tracker}.sqlite")) as store:
            assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    def _check_ledger(self, failed: Mapping[int, tuple[str, str]], made: Mapping[int, int]) -> None:
        without = {row for row, (status, _) in failed.items() if status in _MAY_HAVE_NO_JOB}
        created, started = self.backend.created(), self.backend.started()
        for row in range(self.jobs):
            count = created.get(f"job {row}", 0)
            least, most = (0, 1) if row in without and row not in made else (made.get(row, 1),) * 2
            assert least <= count <= most, f"{count} jobs were made of row {row}"
        assert all(job.started <= 1 for job in self.backend.jobs.values()), started
        assert not set(created) - {f"job {row}" for row in range(self.jobs)}
        if not made:
            assert set(self.backend.graphs().values()) <= {1}

    def _check_files(
        self, failed: Mapping[int, tuple[str, str]], missing: Mapping[int, Sequence[str]]
    ) -> None:
        whole = {name.replace("openEO", "patch"): body for name, body in self.files.items()}
        expected = {}
        for row in range(self.jobs):
            if row not in failed or row in missing:
                for name, body in whole.items():
                    if name not in missing.get(row, ()):
                        expected[f"job_{row}/{name}"] = body
        found = {
            path.relative_to(self.out).as_posix(): path.read_bytes()
            for path in self.out.rglob("*")
            if path.is_file() and path.relative_to(self.out).parts[0] not in _BESIDE
        }
        assert found.keys() == expected.keys()
        assert all(found[name] == body for name, body in expected.items())
        assert not [path for path in self.folder.rglob("*") if path.suffix == ".part"]
        linked = [asset for item in self.items() for asset in item["assets"].values()]
        assert {asset["href"].split("/out/")[-1].lstrip("./") for asset in linked} == set(expected)

    def _check_samples(self, failed: Mapping[int, tuple[str, str]]) -> None:
        """Each row is a sample; it came, or the account says why not."""
        with closing(SqliteJobStore(Path(f"{self.tracker}.sqlite"), read_only=True)) as store:
            found = [(sample.row, sample.state, sample.reason) for sample in store.samples()]
        expected = [(row, "missing" if row in failed else "received") for row in range(self.jobs)]
        assert [(row, state) for row, state, _ in found] == expected
        assert all((reason is not None) == (row in failed) for row, _, reason in found)

    def items(self) -> list[dict[str, Any]]:
        """Return the items of the collection; all of them, and each once."""
        collection = json.loads((self.out / "stac/collection.json").read_text())
        hrefs = [link["href"] for link in collection["links"] if link["rel"] == "item"]
        items = [json.loads((self.out / "stac" / href).read_text()) for href in hrefs]
        assert len({item["id"] for item in items}) == len(items)
        assert len(list((self.out / "stac/items").rglob("*.json"))) == len(items)
        return items

    def _check_log(self, failed: Mapping[int, tuple[str, str]], warnings: int) -> None:
        told = self.warnings()
        assert len(told) <= warnings + len(failed), told
        assert max(Counter(told).values(), default=1) <= 1 + len(failed), told
        errors = [text for text in told if ": error: " in text or "_failed: " in text]
        for row in failed:
            assert sum(f"ow {row}:" in text for text in errors) <= 1, errors


_BESIDE = frozenset({"stac", "failed_jobs", "provenance", "samples.parquet"})
_MAY_HAVE_NO_JOB = frozenset({"start_failed", "skipped", "not_started"})
