"""The account of a run as ``samples.parquet``: one line a sample, for people and their programs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openeo_gfmap.files import whole
from openeo_gfmap.manager import _log
from openeo_gfmap.manager.job_store import JobStore
from openeo_gfmap.manager.ledger import Sample, Sums, commonest
from openeo_gfmap.manager.model import Job

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NAME", "tell", "write_samples"]

NAME: Final = "samples.parquet"
_BATCH: Final = 1 << 16  # samples
_REASONS: Final = 3  # that are told


def write_samples(path: Path, store: JobStore) -> None:
    """Write the samples of a store, by row and feature; a file that is there is replaced.

    See docs/account.md for the columns.

    Parameters
    ----------
    path : Path
        The file.
    store : JobStore
        Read batch by batch: many samples do not fit in memory.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    jobs = {job.row: job for job in store.jobs()}
    samples = store.samples()
    schema = _schema(pa)
    with whole(path) as part:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            while batch := list(islice(samples, _BATCH)):
                writer.write_table(pa.Table.from_pylist(list(_lines(batch, jobs)), schema))
        with part.open("rb") as file:
            os.fsync(file.fileno())


def _schema(pa: Any) -> pa.Schema:
    word = pa.dictionary(pa.int32(), pa.string())
    types = {
        "row": pa.int32(),
        "feature": pa.int32(),
        "sample_id": pa.string(),
        "sensor": word,
        "state": word,
        "reason": word,
        "path": pa.string(),
        "backend": word,
        "job_id": word,
        "job_status": word,
        "attempt": pa.int32(),
        "error_kind": word,
    }
    return pa.schema(list(types.items()))


def _lines(samples: list[Sample], jobs: Mapping[int, Job]) -> Iterator[dict[str, Any]]:
    for sample in samples:
        job = jobs[sample.row]
        yield {
            "row": sample.row,
            "feature": sample.feature,
            "sample_id": sample.sample_id,
            "sensor": sample.sensor,
            "state": sample.state.value,
            "reason": sample.reason,
            "path": sample.path,
            "backend": job.backend,
            "job_id": job.id,
            "job_status": job.status.shown,
            "attempt": job.attempt,
            "error_kind": job.kind,
        }


def tell(path: Path, store: JobStore) -> None:
    """Say how many samples came, and why most of the others did not.

    Parameters
    ----------
    path : Path
        Where each sample is told of.
    store : JobStore
        What is known of them.
    """
    sums = Sums.of(store.states())
    still = f", {sums.open:,} not decided yet" if sums.open else ""
    if not sums.lacking:
        _log.info("%s%s; see %s.", sums, still, path)
        return
    _log.info("%s%s; the reason of each is in %s. Most often:", sums, still, path)
    for reason, count in commonest(store.samples(), _REASONS):
        _log.info("  %s of them: %s", f"{count:,}", reason)
