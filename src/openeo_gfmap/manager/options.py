"""Settings of a run that its users rarely need to change."""

from __future__ import annotations

from dataclasses import dataclass, field

from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.policy import RetryPolicy
from openeo_gfmap.quality import QualityGates

__all__ = ["ManagerOptions"]


@dataclass(frozen=True)
class ManagerOptions:
    """How patient and how parallel the job manager is.

    Parameters
    ----------
    creation_attempts : int
        How often a job is asked for before its row is marked ``start_failed``, when the back-end or
        something on the way was not available.
    download_attempts : int
        How often a download that broke off, or brought the wrong bytes, is taken up again.
    request_threads : int or None
        Most jobs that are created or started on a back-end at once. None: as many as may be active
        on it, from 4 to 32. So many threads, or 4, look at its jobs.
    download_threads : int
        Most jobs whose files are fetched from a back-end at once.
    settle : float
        Seconds after the intent to create a job during which the back-end may still be busy
        creating it; only then a job that is not found is created anew.
    longest_wait : float
        Most seconds between two tries to reach a back-end that does not answer, unless it asks for
        more.
    longest_poll : float
        Most seconds between two looks at a job. They come every ``poll_sleep`` seconds at first,
        and for jobs that take long after a twentieth of the time that jobs take.
    retry : RetryPolicy
        What to do about jobs that failed. By default they stay failed: each new attempt may cost.
    job_seconds : float or None
        Jobs that run for longer are cancelled, which `retry` calls ``ErrorKind.TIME_LIMIT``.
    max_costs : float or None
        No job is made any more that would cost more than this with all the others, going by what
        jobs have cost so far; in the unit in which the back-ends bill.
    refetch_lost : bool or str
        Look at the start of a run whether the files of finished jobs are still what the catalogue
        says, and fetch again those that are not: those that are gone or have another size with
        True or "size"; with "checksum" also those with other content, for which all are read.
    connect_seconds : float
        Most seconds until a connection to a back-end stands.
    answer_seconds : float
        Most seconds without a byte of an answer to a question, or of a file.
    work_seconds : float
        The same for requests that let the back-end do something: create a job, start it.
    action_seconds : float or None
        Most seconds that ``post_job_action``, or ``output_path_generator`` for all files of a job,
        may take; the job fails then, and what a late call returns is not used. None waits for ever.
    features_without_file : bool
        Take it as all right that a job makes fewer files than its ``geometry`` has features to
        extract; the log says which have none. When false, such a job is ``error`` and says which,
        while the files that there are go into the catalogue.
    logs_of_finished : bool
        Save the logs of jobs that went well, too, beside what is written of their provenance. Costs
        a request a job.
    gates : QualityGates, optional
        What each received file must be. One that does not pass goes to ``quarantine/`` in the
        output folder, with the reason beside it, and its sample is rejected.
    show_progress : bool
        Show how the run stands, in a live table on a terminal; without it, only log lines do.
    parallel_callbacks : bool
        Let ``output_path_generator`` and ``post_job_action`` run in several threads at once. Off by
        default, because both usually open NetCDF files, and the libraries for that crash when
        used from several threads.
    """

    creation_attempts: int = 10
    download_attempts: int = 10
    request_threads: int | None = None
    download_threads: int = 4
    settle: float = 30.0
    longest_wait: float = 300.0
    longest_poll: float = 60.0
    retry: RetryPolicy = field(default_factory=RetryPolicy.never)
    job_seconds: float | None = None
    max_costs: float | None = None
    refetch_lost: bool | str = False
    connect_seconds: float = 10.0
    answer_seconds: float = 60.0
    work_seconds: float = 300.0
    action_seconds: float | None = 3600.0
    features_without_file: bool = False
    logs_of_finished: bool = False
    gates: QualityGates | None = None
    show_progress: bool = True
    parallel_callbacks: bool = False

    def __post_init__(self) -> None:
        for name in ("creation_attempts", "download_attempts", "request_threads",
                     "download_threads"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be 1 or more.")
        if self.refetch_lost not in (True, False, "size", "checksum"):
            raise InputError(
                f"refetch_lost is {self.refetch_lost!r}; expected true or false, or what to go by: "
                "'size' or 'checksum'."
            )
        for name in ("settle", "longest_wait", "longest_poll", "max_costs"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InputError(f"{name} is {value}; it must be 0 or more.")
        for name in ("job_seconds", "connect_seconds", "answer_seconds", "work_seconds",
                     "action_seconds"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; it must be more than 0.")
