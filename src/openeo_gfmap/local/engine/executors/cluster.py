"""Windows on a Dask cluster.

A task is a few windows that lie near to each other. The job itself, graph and scenes, is the result
of a task of its own, so that Dask takes it to each worker once, also to one that joins later, and
makes it again when the worker that held it is lost. Dask gives the tasks of a lost worker to
another one; doing a window twice is harmless, since files appear whole under their final name.
"""

from __future__ import annotations

import os
import pickle
import platform
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...errors import OpenEOError
from ...files import Fetcher
from ...malloc import keep_memory
from ..demands import Window
from .places import Place
from .shares import Shares
from .work import Done, Job, Worker

__all__ = ["DaskCluster"]

# Tasks a thread has at hand: so many that none waits for the leading process.
_AT_HAND = 2
_CONNECT_SECONDS = 15
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_WITHOUT_WORKERS = 60.0

# Of MALLOC_TRIM_THRESHOLD_, in Dask's configuration.
_DASKS_OWN = "65536"


class DaskCluster:
    """Evaluates windows on the workers of a Dask scheduler.

    Parameters
    ----------
    address
        Of the scheduler, such as ``tcp://10.0.0.1:8786``; certificates for ``tls://`` come from
        Dask's own configuration.
    log
        Takes level and message.
    news
        Takes address, names of the workers, and threads, whenever they change.
    """

    def __init__(
        self,
        address: str,
        log: Callable[[str, str], None],
        news: Callable[[Mapping[str, Any]], None],
    ):
        self._address = address
        self._log = log
        self._news = news
        self._threads: dict[str, int] = {}
        self._looked = 0.0

    def run(self, job: Job, windows: Sequence[Window]) -> Iterator[Done]:
        """Yield what becomes of each window, as they are done."""
        import distributed  # noqa: PLC0415 - an extra, and slow to import

        parcel = pickle.dumps((_release(), job.away()), protocol=pickle.HIGHEST_PROTOCOL)
        name = f"gfmap-{uuid.uuid4().hex[:16]}"
        with self._connected(distributed) as client:
            threads = self._await_workers(client)
            carried = client.submit(_carry, parcel, key=name)
            shares = Shares(windows, threads)
            waiting: dict[Any, tuple[str, list[Window]]] = {}
            given = 0
            try:
                while True:
                    for worker in _free(threads, Counter(w for w, _ in waiting.values())):
                        task = shares.next(worker)
                        if not task:
                            break
                        given += 1
                        future = client.submit(
                            _evaluate, name, carried, task, key=f"{name}-{task[0].index}",
                            workers=[worker], allow_other_workers=True,
                            priority=-given,  # in this order: the last ones are the small ones
                        )  # fmt: skip
                        waiting[future] = worker, task
                    if not waiting:
                        break
                    for future in self._finished(waiting, client, distributed):
                        _, task = waiting.pop(future)
                        yield from self._outcome(future, task, distributed)
                    threads = self._look_at_workers(client)
            finally:
                for future in waiting:
                    future.release()
                self._forget(client, name)

    @contextmanager
    def _connected(self, distributed: Any) -> Iterator[Any]:
        try:
            client = distributed.Client(
                self._address, timeout=_CONNECT_SECONDS, set_as_default=False, name="gfmap"
            )
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise OpenEOError(
                "ClusterUnavailable",
                f"No Dask scheduler answers at {self._address} ({type(error).__name__}: {error}). "
                "Start it, or change the setting scheduler.",
                status=500,
            ) from error
        try:
            with client.as_current():  # in this thread alone
                yield client
        finally:
            # What still runs is let go: the scheduler drops the tasks of a client that is gone.
            client.close(timeout=5)

    def _finished(self, waiting: Iterable[Any], client: Any, distributed: Any) -> list[Any]:
        """Wait until one task or more are done; meanwhile tell when nobody works on them."""
        while True:
            try:
                done = distributed.wait(
                    list(waiting), timeout=_SECONDS_WITHOUT_WORKERS, return_when="FIRST_COMPLETED"
                ).done
                return list(done)
            except TimeoutError:
                if not self._look_at_workers(client):
                    self._log(
                        "warning",
                        f"The cluster at {self._address} has no workers; waiting for one.",
                    )
            except CancelledError as error:
                raise self._lost(error) from error

    def _await_workers(self, client: Any) -> Mapping[str, int]:
        threads = self._look_at_workers(client)
        while not threads:
            self._log("warning", f"The cluster at {self._address} has no workers; waiting for one.")
            try:
                client.wait_for_workers(1, timeout=_SECONDS_WITHOUT_WORKERS)
            except TimeoutError:
                continue
            threads = self._look_at_workers(client)
        return threads

    def _look_at_workers(self, client: Any) -> Mapping[str, int]:
        """Return the threads of each worker; those that came and went are logged."""
        if time.monotonic() - self._looked < _SECONDS_BETWEEN_LOOKS and self._threads:
            return self._threads
        self._looked = time.monotonic()
        known = client.scheduler_info(n_workers=-1)["workers"]
        came, went = known.keys() - self._threads.keys(), self._threads.keys() - known.keys()
        self._threads = {address: worker["nthreads"] for address, worker in known.items()}
        together = sum(self._threads.values())
        if came or went:
            self._news(
                {
                    "scheduler": self._address,
                    "workers": sorted(self._threads),
                    "threads": together,
                }
            )
        if went:
            self._log("warning", f"Lost: {_named(went)}; others do what it was at.")
        if came:
            self._log(
                "info",
                f"At work: {_named(came)} of the cluster at {self._address}; {together} threads "
                "altogether.",
            )
        return self._threads

    def _outcome(self, future: Any, task: Sequence[Window], distributed: Any) -> Sequence[Done]:
        try:
            done: Sequence[Done] = future.result()
        except distributed.KilledWorker as error:
            names = ", ".join(str(window.index) for window in task)
            raise OpenEOError(
                "JobFailed",
                f"Several workers, one after the other, ended while they were given the windows "
                f"{names} and others near them: most often for want of memory. Ask for fewer bands "
                "or dates in a job, or give the workers more memory.",
                status=500,
            ) from error
        except CancelledError as error:
            raise self._lost(error) from error
        except (ImportError, AttributeError) as error:
            raise OpenEOError(
                "ClusterUnsuitable",
                f"A worker cannot run openeo-gfmap {version('openeo-gfmap')} ({error}). Install "
                'the same release on all: pip install "openeo-gfmap[local,distributed]".',
                status=500,
            ) from error
        finally:
            future.release()
        return done

    def _lost(self, error: BaseException) -> OpenEOError:
        return OpenEOError(
            "ClusterUnavailable",
            f"The Dask scheduler at {self._address} was lost ({error}). Start the job again when "
            "it is back.",
            status=500,
        )

    def _forget(self, client: Any, name: str) -> None:
        """Free what workers keep for the job."""
        try:
            client.run(_forget, name, on_error="ignore")
        except (OSError, RuntimeError) as error:
            self._log("info", f"The workers could not be told that the job is over ({error}).")


def _free(threads: Mapping[str, int], busy: Mapping[str, int]) -> Iterator[str]:
    """Yield workers in turns, each once for every task that it can be given."""
    for held in range(_AT_HAND * max(threads.values(), default=0)):
        for worker, count in threads.items():
            if busy.get(worker, 0) <= held < _AT_HAND * count:
                yield worker


def _named(workers: Iterable[str]) -> str:
    names = sorted(workers)
    return f"{'worker' if len(names) == 1 else 'workers'} {', '.join(names)}"


def _release() -> tuple[str, str]:
    """Return what must be the same on all sides for a job to be understood."""
    return version("openeo-gfmap"), ".".join(platform.python_version_tuple()[:2])


# --- on the workers ---------------------------------------------------------------------------


def _carry(parcel: bytes) -> bytes:
    return parcel


@dataclass(frozen=True)
class _Kept:
    """The job that a thread of a worker is at; reader, caches and UDF process go with it."""

    name: str
    place: Place
    worker: Worker


_kept: dict[int, _Kept] = {}


def _evaluate(name: str, parcel: bytes, windows: Sequence[Window]) -> list[Done]:
    _keep_memory()
    thread = threading.get_ident()
    kept = _kept.get(thread)
    if kept is None or kept.name != name:
        if kept is not None:
            kept.worker.close()
        job = _unpacked(parcel)
        kept = _kept[thread] = _Kept(name, job.place, Worker(job, away=True))
    kept.place.check()
    return list(kept.worker.run(windows))


def _forget(name: str) -> None:
    for thread, kept in list(_kept.items()):
        if kept.name == name:
            del _kept[thread]
            kept.worker.close()


@cache
def _keep_memory() -> None:
    """Undo what ``dask worker`` does to malloc, where nobody has chosen anything else."""
    if os.environ.get("MALLOC_TRIM_THRESHOLD_") == _DASKS_OWN:
        keep_memory(block=32 * 2**20, idle=64 * 2**20)


def _unpacked(parcel: bytes) -> Job:
    """Return the job as it fits this worker: its memory, and its own folder for downloads."""
    release: tuple[str, str]
    job: Job
    release, job = pickle.loads(parcel)  # noqa: S301 - from our own leading process
    if release != _release():
        raise OpenEOError(
            "ClusterUnsuitable",
            f"The server runs openeo-gfmap {release[0]} on Python {release[1]}, a worker "
            f"{_release()[0]} on Python {_release()[1]}. Install the same on all.",
            status=500,
        )
    env = job.env
    fetch = env.fetch
    if isinstance(fetch, Fetcher):
        fetch = replace(fetch, cache=Path(tempfile.gettempdir()) / "gfmap-downloads")
    return replace(job, env=replace(env, fetch=fetch, memory=min(env.memory, _memory_share())))


def _memory_share() -> int:
    """Return a quarter of what a thread of this worker may use, as in a job's own processes."""
    from distributed import get_worker  # noqa: PLC0415

    worker = get_worker()
    limit = worker.memory_manager.memory_limit
    threads: int = worker.state.nthreads
    return int(limit) // (4 * threads) if limit else 1 << 62
