"""Settings of a run that its users rarely need to change."""

from __future__ import annotations

from dataclasses import dataclass

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
    request_threads : int
        Most requests to back-ends at once: creating, starting, looking.
    download_threads : int
        Most jobs whose files are fetched at once.
    settle : float
        Seconds after the intent to create a job during which the back-end may still be busy
        creating it; only then a job that is not found is created anew.
    longest_wait : float
        Most seconds between two tries to reach a back-end that does not answer.
    connect_seconds : float
        Most seconds until a connection to a back-end stands.
    answer_seconds : float
        Most seconds without a byte of an answer to a question, or of a file.
    work_seconds : float
        The same for requests that let the back-end do something: create a job, start it.
    action_seconds : float or None
        Most seconds that a call of ``post_job_action`` or ``output_path_generator`` may take; the
        job fails then, and what a late call returns is not used. None waits for ever.
    parallel_callbacks : bool
        Let ``output_path_generator`` and ``post_job_action`` run in several threads at once. Off by
        default, because both usually open NetCDF files, and the libraries for that crash when
        used from several threads.
    """

    creation_attempts: int = 10
    download_attempts: int = 10
    request_threads: int = 8
    download_threads: int = 4
    settle: float = 30.0
    longest_wait: float = 300.0
    connect_seconds: float = 10.0
    answer_seconds: float = 60.0
    work_seconds: float = 300.0
    action_seconds: float | None = 3600.0
    parallel_callbacks: bool = False
