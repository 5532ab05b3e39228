"""The mark that tells a created job from one that was not.

Between asking a back-end for a job and storing its id, the answer can get lost: the connection
breaks, or this process is killed. Asking again could make the job twice. So a mark is stored
first and sent along with the request, in the job's description; afterwards the back-end's list of
jobs says whether the job with that mark exists. See docs/adr/0005-intent-marks.md.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin

import requests
from openeo.rest import OpenEoApiPlainError
from openeo.rest.connection import Connection
from requests.adapters import BaseAdapter

from openeo_gfmap.manager.access import server_time
from openeo_gfmap.manager.answers import is_gone

__all__ = ["Attempt", "find_job", "intending", "list_jobs", "mark_creations"]

_PAGE = 100  # jobs
_PAGES_IN_VAIN = 20  # in a row, without a job that was not on one before: the list is over
_CLOCKS_JUMP = timedelta(days=1)  # at most, or rarely further, between an intent and its search


def marked(description: str | None, mark: str) -> str:
    """Return a job description that holds the mark; `answers.without_mark` takes it out again."""
    return f"{description or ''} [gfmap:{mark}]".strip()


@dataclass
class Attempt:
    """What became of a creation request.

    Attributes
    ----------
    mark
        The intent's mark.
    sent
        The request was handed to the network: from here on the job may exist.
    status
        HTTP status of the answer; None when there was none.
    job_id
        Id in the answer.
    went_on
        Something was asked of the jobs after that: it may have been started.
    overrides
        Job options that the request is to have, whatever the callback asked for.
    options
        Job options that were sent.
    process
        Process that was sent.
    """

    mark: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    process: Mapping[str, Any] = field(default_factory=dict)
    sent: bool = False
    status: int | None = None
    job_id: str | None = None
    went_on: bool = False

    @property
    def lost(self) -> bool:
        """The job may exist without anybody knowing its id.

        A gateway (5xx) answers for a back-end that may have done the work; a refusal (4xx) is the
        back-end's own word.
        """
        refused = self.status is not None and 400 <= self.status < 500
        return self.sent and self.job_id is None and not refused


_here = threading.local()


@contextmanager
def intending(mark: str, overrides: Mapping[str, Any] | None = None) -> Iterator[Attempt]:
    """Mark the jobs that this thread creates in the block, and change their job options."""
    attempt = Attempt(mark, overrides or {})
    _here.attempt = attempt
    try:
        yield attempt
    finally:
        _here.attempt = None


class _MarkingAdapter(BaseAdapter):
    """Sends requests as the adapter it wraps does, with the mark in those that create jobs."""

    def __init__(self, inner: BaseAdapter, url: str):
        super().__init__()
        self._inner = inner
        self._url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        attempt: Attempt | None = getattr(_here, "attempt", None)
        if attempt is None or request.method != "POST" or request.url != self._url:
            if attempt is not None:
                attempt.went_on = True
            return self._inner.send(request, *args, **kwargs)
        body = json.loads(request.body or "{}")
        body["description"] = marked(body.get("description"), attempt.mark)
        # Where the openEO client puts what its users pass as job options.
        attempt.options = {**(body.get("job_options") or {}), **attempt.overrides}
        attempt.process = body.get("process") or {}
        if attempt.options:
            body["job_options"] = attempt.options
        request.prepare_body(data=None, files=None, json=body)
        attempt.went_on = attempt.sent  # a second job
        attempt.sent, attempt.status, attempt.job_id = True, None, None
        response = self._inner.send(request, *args, **kwargs)
        attempt.status = response.status_code
        attempt.job_id = response.headers.get("OpenEO-Identifier") or (
            response.headers.get("Location", "").rpartition("/")[2] or None
        )
        return response

    def close(self) -> None:
        self._inner.close()


def mark_creations(connection: Connection) -> None:
    """Let the connection send the marks of `intending`; calling it again changes nothing.

    The data cubes of the user's callback keep the connection they were made with, so a wrapper
    around it would not see the request. Its session does, and takes adapters for addresses.
    """
    session, url = connection.session, connection.build_url("/jobs")
    inner = session.get_adapter(url)
    if not isinstance(inner, _MarkingAdapter):
        session.mount(url, _MarkingAdapter(inner, url))


def find_job(
    connection: Connection, mark: str, known: Container[str], since: str | None
) -> str | None:
    """Return the id of the back-end's job that holds the mark.

    Parameters
    ----------
    connection : openeo.Connection
        Back-end to search.
    mark : str
        Mark of the intent.
    known : container of str
        Job ids that belong to other rows: not looked at.
    since : str or None
        When the intent was stored, ISO 8601; much older jobs are not looked at one by one.

    Raises
    ------
    OpenEoApiPlainError
        When no job was found, and one that cannot be looked at may be it.
    """
    wanted = f"[gfmap:{mark}]"
    undescribed: list[str] = []
    for response, jobs in _pages(connection):
        there = server_time(response.headers)
        for job in jobs:
            identifier = str(job.get("id"))
            if identifier in known:
                continue
            if wanted in str(job.get("description") or ""):
                return identifier
            if job.get("description") is None and not _older(job.get("created"), since, there):
                undescribed.append(identifier)
    # A list may leave descriptions out; the job itself has it.
    unread: BaseException | None = None
    for identifier in undescribed:
        try:
            description = connection.job(identifier).describe().get("description")
        except OpenEoApiPlainError as error:
            # Of one that is broken, or gone since, the others do not wait to be looked at.
            unread = unread if is_gone(error) else error
            continue
        if wanted in str(description or ""):
            return identifier
    if unread is not None:
        raise unread
    return None


def list_jobs(
    connection: Connection, pages: list[int] | None = None
) -> Iterator[Mapping[str, Any]]:
    """Iterate over all jobs of the user; a page is asked for when it is needed.

    Parameters
    ----------
    connection : openeo.Connection
        Back-end to ask.
    pages : list of int, optional
        Its first element is the count of requests that were made.
    """
    for _, jobs in _pages(connection):
        if pages is not None:
            pages[0] += 1
        yield from jobs


def _pages(
    connection: Connection,
) -> Iterator[tuple[requests.Response, Sequence[Mapping[str, Any]]]]:
    """Iterate over the pages of the list, and the jobs that each has."""
    seen: set[str] = set()
    told: set[str] = set()
    in_vain = 0
    url, parameters = "/jobs", {"limit": _PAGE}
    while url not in seen and in_vain < _PAGES_IN_VAIN:
        seen.add(url)
        response = connection.get(url, params=parameters, expected_status=200)
        page = response.json()
        jobs = page.get("jobs") or ()
        yield response, jobs
        known = len(told)
        told.update(str(job.get("id")) for job in jobs)
        # Some lists have a next page for ever.
        in_vain = in_vain + 1 if len(told) == known else 0
        following = next(
            (link.get("href") for link in page.get("links") or () if link.get("rel") == "next"),
            None,
        )
        if not following:
            return
        url, parameters = urljoin(response.url, following), {}


def _older(created: Any, since: str | None, there: datetime | None) -> bool:
    """Tell whether a job is older than an intent: each by its own clock, whatever that says.

    `there` is the back-end's time.
    """
    here = datetime.now(UTC)
    try:
        age = (there or here) - datetime.fromisoformat(str(created))
        intended = here - datetime.fromisoformat(str(since))
    except (TypeError, ValueError):  # no times, or one without time zone: it cannot be told
        return False
    # In the future: our clock was wrong when the intent was stored.
    return intended > -_CLOCKS_JUMP and age > intended + _CLOCKS_JUMP
