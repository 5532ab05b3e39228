"""What kind of error it was: decided by rules that are data.

A back-end tells of a failure in three places: the HTTP status, openEO's error code, and the text of
a message or of a job's log. Each rule looks at one or more of them; the first that fits decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["FILES_LACK", "RULES", "ErrorKind", "Rule", "classify"]


class ErrorKind(StrEnum):
    """Kinds of errors, by what helps against them."""

    #: A glitch of network, storage or a lost worker: the same again may work.
    TRANSIENT = "transient"
    #: No room now: too many jobs or requests, or no credits left.
    CAPACITY = "capacity"
    #: The job needs more memory than it was given.
    OUT_OF_MEMORY = "out-of-memory"
    #: It ran longer than the run's limit and was cancelled.
    TIME_LIMIT = "time-limit"
    #: There is no data for what was asked, or a value of the row cannot be used.
    BAD_INPUT = "bad-input"
    #: The process graph, its arguments, its UDF or its job options are wrong.
    BAD_GRAPH = "bad-graph"
    #: The back-end failed at something that it should be able to do.
    BACKEND_BUG = "backend-bug"
    #: The back-end no longer has the job.
    VANISHED = "vanished"
    #: The job is done, but files of it cannot be had or have no safe place.
    RESULTS = "results"
    #: All files came, but the quality gates reject some: the same again would be rejected again.
    REJECTED = "rejected"
    #: A callback of the user raised.
    CALLBACK = "callback"
    #: Nothing that the rules know.
    UNKNOWN = "unknown"


#: What is wrong with a job that is done and paid for: only its files are fetched again.
FILES_LACK = frozenset({ErrorKind.RESULTS, ErrorKind.REJECTED})


@dataclass(frozen=True)
class Rule:
    """A kind, and what tells it. All that is given must fit.

    Attributes
    ----------
    kind
        What it is, when the rule fits.
    status
        HTTP statuses.
    code
        Regular expression for openEO's error code; the whole code must match, case counts.
    text
        Regular expression, found anywhere in the message or log; case does not count.
    """

    kind: ErrorKind
    status: frozenset[int] = frozenset()
    code: str | None = None
    text: str | None = None

    def fits(self, text: str, status: int | None, code: str | None) -> bool:
        """Tell whether an error is of this kind."""
        if not (self.status or self.code or self.text):
            return False
        return (
            (not self.status or status in self.status)
            and (self.code is None or re.fullmatch(self.code, code or "") is not None)
            and (self.text is None or re.search(self.text, text, re.IGNORECASE) is not None)
        )


def _any(*parts: str) -> str:
    return "|".join(f"(?:{part})" for part in parts)


#: In this order: what a log says of memory goes before the general words that come with it, and
#: what the user can mend goes before what the back-end calls its own failure.
RULES: tuple[Rule, ...] = (
    # openeo-geopyspark-driver, and Spark, YARN and Kubernetes under it.
    Rule(
        ErrorKind.OUT_OF_MEMORY,
        text=_any(
            r"OutOfMemory",
            r"used too much (?:python |java )?memory",
            r"exceed\w* (?:the )?(?:physical )?memory limits?",
            r"beyond the 'PHYSICAL' memory limit",
            r"Exit (?:code|status)(?: is)?:? ?(?:137|143)\b",
            r"OOM ?Kill",
            r"\bOOM\b",
            r"MemoryError\b",
            r"Cannot allocate memory|Unable to allocate",
            r"INVALID_DRIVER_MEMORY|System memory \d+ must be at least",
            r"Java heap space|GC overhead limit exceeded",
            r"MultiThreader.*Unable to join thread",
        ),
    ),
    # More than the cluster can give is a wrong job option, although it speaks of memory.
    Rule(
        ErrorKind.BAD_GRAPH,
        text=_any(
            r"Requested too much (?:executor|driver) (?:memory|cores)",
            r"Required executor memory .* is above the max threshold",
        ),
    ),
    Rule(
        ErrorKind.CAPACITY,
        code=r"ConcurrentJobLimit|TooManyRequests|PaymentRequired|InsufficientCredits"
        r"|BudgetExceeded|JobLimitExceeded",
    ),
    Rule(ErrorKind.CAPACITY, status=frozenset({429})),
    Rule(
        ErrorKind.CAPACITY,
        text=_any(
            r"concurrent (?:job|pod|batch job)\w* limit",
            r"too many (?:concurrent |parallel |running |queued )?(?:jobs|requests)",
            r"queue limit exceeded",
            r"(?:insufficient|not enough) credits",
        ),
    ),
    Rule(
        ErrorKind.BAD_INPUT,
        code=r"NoDataAvailable|ExtentTooLarge|ExtentOutOfRange|SpatialExtentInvalid"
        r"|TemporalExtentEmpty|BandNotAvailable",
    ),
    Rule(
        ErrorKind.BAD_INPUT,
        text=_any(
            r"no data available",
            r"empty (?:image )?collection",
            r"resulted in an empty|Cannot stitch empty collection",
            r"could not find (?:data|products|any (?:data|products))",
            r"is not present in Sentinel 1 tile",
            r"No (?:spatial|temporal) extent given",
        ),
    ),
    Rule(
        ErrorKind.TRANSIENT,
        text=_any(
            r"ExecutorLostFailure|Executor heartbeat timed out|FetchFailed",
            r"unrecoverable worker failures",
            r"Connection (?:reset|refused|aborted|timed out)|Connection pool shut down",
            r"Read timed out|timed? ?out (?:while|waiting|after)|SocketTimeoutException",
            r"(?:HTTP )?(?:response|status)(?: code)?:? ?(?:429|500|502|503|504)\b",
            r"SlowDown|Service Unavailable|Bad Gateway|Gateway Time-?out|Temporary failure",
            r"/vsi(?:s3|curl)\S* .*(?:not recognized|does not exist|CURL error)",
            r"TIFFReadEncoded(?:Tile|Strip).* failed|IReadBlock failed",
            r"No space left on device|Disk quota exceeded",
            r"EjrHttpError|No such file or directory: '/data/projects/OpenEO/",
        ),
    ),
    Rule(
        ErrorKind.BAD_GRAPH,
        text=_any(
            r"UDF Exception",
            r"in run_udf_code|exception while evaluating .*(?:UDF|user defined function)",
            r"ModuleNotFoundError|ImportError: ",
            r"ProcessUnsupported|Process(?:Parameter\w+|Graph\w+)",
            r"Invalid band name|band \S+ does not exist|unknown bands?\b",
            r"IllegalArgumentException",
        ),
    ),
    Rule(
        ErrorKind.BAD_GRAPH,
        code=r"Process\w+|CollectionNotFound|FormatUnsupported|FormatArgument\w+|FeatureUnsupported"
        r"|BillingPlanInvalid|UDF\w*|InvalidRequest",
    ),
    Rule(ErrorKind.VANISHED, code=r"JobNotFound"),
    Rule(
        ErrorKind.BACKEND_BUG,
        text=_any(
            r"Exception during Spark execution",
            r"Job aborted due to stage failure",
            r"NullPointerException|AttributeError: |KeyError: |Py4JJavaError",
            r"failed during Spark execution",
            r"Server error: ",
        ),
    ),
    # Statuses alone say least, so they come last.
    Rule(ErrorKind.CAPACITY, status=frozenset({402})),
    Rule(ErrorKind.TRANSIENT, status=frozenset({408, 425, 502, 503, 504})),
    Rule(ErrorKind.BACKEND_BUG, status=frozenset({500, 501})),
    Rule(ErrorKind.VANISHED, status=frozenset({404, 410})),
    Rule(ErrorKind.BAD_GRAPH, status=frozenset({400, 422})),
)


def classify(
    text: str,
    *,
    status: int | None = None,
    code: str | None = None,
    rules: Iterable[Rule] = RULES,
) -> ErrorKind:
    """Return the kind of an error.

    Parameters
    ----------
    text : str
        Message of an answer, or the errors in a job's log.
    status : int, optional
        HTTP status of the answer.
    code : str, optional
        openEO error code of the answer.
    rules : iterable of Rule
        Asked in their order.
    """
    for rule in rules:
        if rule.fits(text, status, code):
            return rule.kind
    return ErrorKind.UNKNOWN
