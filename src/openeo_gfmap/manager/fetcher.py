"""All result files of one job: fetched, described, and put where the user wants them."""

from __future__ import annotations

import shutil
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from openeo.rest.connection import Connection
from openeo.rest.job import BatchJob

from openeo_gfmap.errors import ResultIncomplete
from openeo_gfmap.files import safe_name
from openeo_gfmap.manager import _log, netcdf, results
from openeo_gfmap.manager.answers import one_line
from openeo_gfmap.manager.callbacks import RAISED, PathGenerator, within
from openeo_gfmap.manager.disk import MANAGERS_OWN
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.ledger import extracted_features
from openeo_gfmap.manager.model import Absence, SavedFile
from openeo_gfmap.manager.quarantine import Quarantine
from openeo_gfmap.manager.result_document import data_assets, item_of, results_of, sources_of
from openeo_gfmap.manager.tracker_lock import is_trackers
from openeo_gfmap.quality import Finding, QualityGates
from openeo_gfmap.stac.items import CubeFile, cube_item, item_id, service_item

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Arrival", "Fetcher"]


@dataclass(frozen=True)
class Arrival:
    """What came of a job.

    Attributes
    ----------
    files
        Files in place, in the order of their geometry indices.
    missing
        Which files cannot be had, or were rejected, and why; None when all are there.
    features
        Geometry index of each file; empty where the files are no feature's own.
    absent
        Files that are not there, by feature, and why.
    sources
        What the back-end says that the files were made of: addresses.
    kind
        That of what is missing.
    """

    files: tuple[SavedFile, ...]
    missing: str | None = None
    features: tuple[int, ...] = ()
    absent: tuple[Absence, ...] = ()
    sources: tuple[str, ...] = ()
    kind: ErrorKind | None = None


@dataclass(frozen=True)
class _Arrived:
    """A file in the staging folder."""

    key: str
    index: int
    path: Path
    size: int
    checksum: str


@dataclass(frozen=True)
class _Missing:
    """A file that cannot be had, or one that was rejected and lies at a path."""

    key: str
    index: int
    reason: str
    path: str | None = None


@dataclass(frozen=True)
class _Placed:
    """A file that passed, where it goes, and its item."""

    file: _Arrived
    path: str
    item: Mapping[str, Any]

    @property
    def saved(self) -> SavedFile:
        return SavedFile(self.path, self.file.size, self.file.checksum, self.item)


_staging_locks: WeakValueDictionary[Path, threading.Lock] = WeakValueDictionary()
_guard = threading.Lock()


@contextmanager
def _turn(staging: Path) -> Iterator[None]:
    """Let one thread at a time work in a staging folder.

    A run that was broken off leaves threads behind, which may still be at it when the next run of
    the same process, in a notebook say, comes to the same job.
    """
    with _guard:
        lock = _staging_locks.get(staging)
        if lock is None:
            lock = _staging_locks[staging] = threading.Lock()
    with lock:
        yield


@dataclass(frozen=True)
class Fetcher:
    """Fetches the results of jobs.

    Attributes
    ----------
    output_dir
        Folder that all files stay in.
    path_generator
        The user's callback.
    claims
        Which row each file belongs to.
    files_lock
        Held while NetCDF files are open.
    attempts
        How often a download that broke off is taken up again.
    wait
        Waits so many seconds, or until the run is to end at once.
    seconds
        Time limit of a call of the user's callback; None waits for ever.
    features_without_file
        Whether it is all right that features of a job have no file.
    gates
        What each file must be; None lets all pass.
    """

    output_dir: Path
    path_generator: PathGenerator
    claims: results.Claims
    files_lock: AbstractContextManager[Any]
    attempts: int
    wait: Callable[[float], object]
    seconds: float | None = None
    features_without_file: bool = True
    gates: QualityGates | None = None

    def fetch(self, job: BatchJob, row: int, values: pd.Series[Any]) -> Arrival:
        """Bring the result files of a job in place.

        Nothing gets its final name before all files that can be had have arrived, and have a place
        of their own. What has arrived waits in the staging folder when the rest has to be asked for
        again later, also by another process.

        Parameters
        ----------
        job : openeo.BatchJob
            A finished job.
        row : int
            Its row.
        values : pandas.Series
            The row as callbacks see it.

        Raises
        ------
        ResultIncomplete
            When there is no file, or one has no safe place.
        results.Unavailable
            When a file cannot be had now.
        """
        # With the row: two back-ends may call their jobs the same.
        staging = self.output_dir / ".downloads" / safe_name(f"{job.job_id}_{row}")
        with _turn(staging):
            staging.mkdir(parents=True, exist_ok=True)
            try:
                document = results_of(job)
                placed, lacking = self._bring(job, document, row, values, staging)
            except ResultIncomplete:
                shutil.rmtree(staging, ignore_errors=True)
                raise
            try:
                staging.rmdir()
            except OSError:  # something else is in there
                shutil.rmtree(staging, ignore_errors=True)
        return self._arrival(job, values, placed, lacking, document)

    def _arrival(
        self,
        job: BatchJob,
        values: pd.Series[Any],
        placed: list[_Placed],
        lacking: list[_Missing],
        document: Mapping[str, Any],
    ) -> Arrival:
        """Say what came, and what did not of each feature."""
        keys = [*(each.file.key for each in placed), *(file.key for file in lacking)]
        made = {*(each.file.index for each in placed), *(file.index for file in lacking)}
        features = extracted_features(values.get("geometry"))
        numbered = results.are_numbered(keys)
        owned = (
            features is not None
            and (numbered or len(keys) == len(features))
            and max(made, default=-1) < len(features)
        )
        without = _without_file(len(features), made) if features and numbered else None
        if without is not None and self.features_without_file:
            _log.info("Job %s: %s.", job.job_id, without)
            without = None
        missing = "; ".join(filter(None, [*_told(lacking, len(keys)), without])) or None
        rejected = without is None and all(file.path is not None for file in lacking)
        return Arrival(
            tuple(each.saved for each in placed),
            missing,
            tuple(each.file.index for each in placed) if owned else (),
            tuple(
                Absence(
                    file.index if owned else None,
                    file.reason,
                    rejected=file.path is not None,
                    path=file.path,
                )
                for file in sorted(lacking, key=lambda file: file.path is None)
            ),
            sources_of(document),
            (ErrorKind.REJECTED if rejected else ErrorKind.RESULTS) if missing else None,
        )

    def _bring(
        self,
        job: BatchJob,
        document: Mapping[str, Any],
        row: int,
        values: pd.Series[Any],
        staging: Path,
    ) -> tuple[list[_Placed], list[_Missing]]:
        """Return the files that are in place now, and why others are not."""
        arrived, lacking = self._download_all(job, document, staging)
        quarantine = Quarantine(self.output_dir, self.gates)
        placed: list[_Placed] = []
        rejected: list[tuple[_Arrived, str, tuple[Finding, ...]]] = []
        with self.files_lock:
            # Described and inspected before they are moved: a file that does not open gets no
            # final name.
            for file, path in zip(arrived, self._targets(arrived, row, values), strict=True):
                cube, findings = self._look_at(file, quarantine, values)
                if findings:
                    rejected.append((file, path, findings))
                else:
                    item = _item(job.connection, document, file, path, cube)
                    placed.append(_Placed(file, path, item))
        for file, path, findings in rejected:
            facts = {"job_id": job.job_id, "row": row, "size": file.size, "sha256": file.checksum}
            where = quarantine.put(file.path, path, findings, **facts)
            reason = "; ".join(finding.message for finding in findings)
            lacking.append(_Missing(file.key, file.index, reason, where))
        folders = {(self.output_dir / each.path).parent for each in placed}
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            for each in placed:
                results.move(each.file.path, self.output_dir / each.path)
                if self.gates is not None:
                    quarantine.clear(each.path)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            # Not the paths of other jobs: those are claimed before.
            raise ResultIncomplete(
                f"output_path_generator gave a file where a folder is, or the other way round: "
                f"{error}; return another path"
            ) from error
        for folder in folders:
            results.sync(folder)  # once, not after each file: the slowest part of it
        return placed, lacking

    def _look_at(
        self, file: _Arrived, quarantine: Quarantine, values: pd.Series[Any]
    ) -> tuple[CubeFile | None, tuple[Finding, ...]]:
        """Return what a file says of itself, and what is wrong with it."""
        try:
            cube = netcdf.describe(file.path)
        except (OSError, KeyError, RuntimeError) as error:  # what h5py raises on a bad file
            reason = f"{file.key} does not open: {error}"
            if self.gates is None:
                raise ResultIncomplete(reason) from error
            return None, (Finding("opens", reason),)
        period = {"start": values.get("start_date"), "end": values.get("end_date")}
        return cube, quarantine.inspect(file.path, cube, **period)

    def _download_all(
        self, job: BatchJob, document: Mapping[str, Any], staging: Path
    ) -> tuple[list[_Arrived], list[_Missing]]:
        """Return the files that arrived, and why others did not."""
        assets = data_assets(document)
        if not assets:
            raise ResultIncomplete(f"job {job.job_id} finished without any file")
        arrived: list[_Arrived] = []
        missing: list[_Missing] = []
        taken: set[str] = set()
        for position, (index, key) in enumerate(results.asset_order(list(assets))):
            name = results.file_name(key, assets[key])
            if name.casefold() in taken:
                name = f"{position}_{name}"
            taken.add(name.casefold())
            path = staging / name
            try:
                size, checksum = self._download(job, assets[key], path)
            except results.Expired:
                assets = {**assets, **data_assets(results_of(job))}  # has new addresses
                try:
                    size, checksum = self._download(job, assets[key], path)
                except (results.Expired, ResultIncomplete) as error:
                    missing.append(_Missing(key, index, f"{key} cannot be had: {error}"))
                    continue
            except ResultIncomplete as error:
                missing.append(_Missing(key, index, str(error)))
                continue
            arrived.append(_Arrived(key, index, path, size, checksum))
        if not arrived:
            raise ResultIncomplete("; ".join(_told(missing, len(missing))))
        return arrived, missing

    def _download(self, job: BatchJob, asset: Mapping[str, Any], target: Path) -> tuple[int, str]:
        if not isinstance(asset.get("href"), str):
            raise ResultIncomplete(
                f"{target.name} cannot be had: the back-end gives {asset.get('href')!r} as its "
                "address"
            )
        if target.exists():
            # It got this name when it had been checked; an earlier try ended before the others
            # arrived.
            with suppress(ResultIncomplete):
                return results.check(target, asset)
        return results.download(
            job.connection, asset, target, attempts=self.attempts, wait=self.wait
        )

    def _targets(self, arrived: list[_Arrived], row: int, values: pd.Series[Any]) -> list[str]:
        """Return where each file goes, relative to the output folder."""
        wanted: list[Path] = []

        def want() -> None:
            for file in arrived:
                path = self.path_generator(
                    root_folder=self.output_dir,
                    tmp_path=file.path,
                    geometry_index=file.index,
                    row=values,
                    asset_id=file.key,
                )
                wanted.append(path)

        try:
            within(self.seconds, want)
        except RAISED as error:
            _log.debug("output_path_generator raised:\n%s", traceback.format_exc())
            culprit = arrived[min(len(wanted), len(arrived) - 1)].key
            raise ResultIncomplete(
                f"output_path_generator raised {one_line(error)} for {culprit}"
            ) from error
        targets: list[Path] = []
        taken: set[str] = set()
        root = self.output_dir.resolve()
        for target in results.places(root, wanted):
            own = target.relative_to(root).parts[0]
            if own.casefold() in MANAGERS_OWN:
                raise ResultIncomplete(
                    f"output_path_generator gave {target}, but {own} in the output folder is the "
                    "manager's own; return another path"
                )
            if is_trackers(target):
                raise ResultIncomplete(
                    f"output_path_generator gave {target}, which is a file of the tracker; return "
                    "another path"
                )
            # Some file systems do not tell upper from lower case.
            if str(target).casefold() in taken:
                raise ResultIncomplete(
                    f"output_path_generator gave {target} for two files of one job; return a path "
                    "that differs for each geometry_index"
                )
            self.claims.take(row, target)
            taken.add(str(target).casefold())
            targets.append(target)
        return [target.relative_to(root).as_posix() for target in targets]


def _item(
    connection: Connection,
    document: Mapping[str, Any],
    file: _Arrived,
    path: str,
    cube: CubeFile | None,
) -> dict[str, Any]:
    """Describe a file from itself, or else from what the back-end says of it."""
    if cube is not None:
        return cube_item(item_id(path), path, cube)
    item = item_of(connection, document, file.key)
    return service_item(item_id(path), path, document["assets"][file.key], item, document)


def _without_file(features: int, made: set[int]) -> str | None:
    """Return for which features a job that makes one file a feature has made none."""
    if len(made) >= features:
        return None
    absent = [str(index) for index in range(features) if index not in made]
    shown = ", ".join(absent[:10]) + (", …" if len(absent) > 10 else "")
    return f"{features - len(made)} of {features} features have no file: {shown}"


def _told(lacking: list[_Missing], files: int) -> Iterator[str]:
    """Iterate over what to say of files that are not there: the first few, and how many."""
    kinds = {
        "are missing": [file.reason for file in lacking if file.path is None],
        "are rejected": [f"{file.key} {file.reason}" for file in lacking if file.path is not None],
    }
    for what, reasons in kinds.items():
        if reasons:
            shown = "; ".join(reasons[:3]) + ("; …" if len(reasons) > 3 else "")
            yield f"{len(reasons)} of {files} files {what}: {shown}"
