"""Real messages of back-ends, sorted."""

from __future__ import annotations

import pytest
import requests
from openeo.rest import OpenEoApiError

from openeo_gfmap.manager.answers import is_outage, is_senseless, is_unpaid, kind_of
from openeo_gfmap.manager.kinds import RULES, ErrorKind, Rule, classify

K = ErrorKind

# What openEO's Geotrellis back-end, and Spark, YARN and Kubernetes under it, have said to people
# who reported it in public, and what the back-end's code says in such cases.
LOGS = [
    (
        K.OUT_OF_MEMORY,
        "Your batch job failed because workers used too much Python memory. The same task was "
        "attempted multiple times. Consider increasing executor-memoryOverhead or contact the "
        "developers to investigate.",
    ),
    (
        K.OUT_OF_MEMORY,
        "Your batch job failed because the 'driver' used too much java memory. Consider increasing "
        "driver-memory or contact the developers to investigate.",
    ),
    (
        K.OUT_OF_MEMORY,
        "Exception during Spark execution: org.apache.spark.SparkException: Job aborted due to "
        "stage failure: ExecutorLostFailure (executor 72 exited caused by one of the running "
        "tasks) Reason: Container killed by YARN for exceeding memory limits. 12.0 GB of 12 GB "
        "physical memory used. Consider boosting spark.yarn.executor.memoryOverhead",
    ),
    (
        K.OUT_OF_MEMORY,
        "Container [pid=31573] is running 30707712B beyond the 'PHYSICAL' memory limit. Current "
        "usage: 1.5 GB of 1.5 GB physical memory used; Killing container.",
    ),
    (K.OUT_OF_MEMORY, "Container killed on request. Exit code is 143"),
    (
        K.OUT_OF_MEMORY,
        "OpenEO batch job failed: org.apache.spark.SparkIllegalArgumentException: "
        "[INVALID_DRIVER_MEMORY] System memory 202768384 must be at least 471859200. Please "
        "increase heap size using the --driver-memory option",
    ),
    (K.OUT_OF_MEMORY, "java.lang.OutOfMemoryError: GC overhead limit exceeded"),
    (
        K.OUT_OF_MEMORY,
        "itk::ERROR: MultiThreader(0x1e837710): Unable to join thread.",
    ),
    (
        K.TRANSIENT,
        "ExecutorLostFailure (executor 5 exited unrelated to the running tasks) Reason: Executor "
        "heartbeat timed out after 130000 ms",
    ),
    (
        K.TRANSIENT,
        "Your job failed due to too many unrecoverable worker failures, please inspect the logs "
        "with level 'ERROR' for more details on why these failures occured.",
    ),
    (
        K.TRANSIENT,
        "Exception during Spark execution: java.net.SocketTimeoutException: Read timed out",
    ),
    (
        K.TRANSIENT,
        "In context 'DoubleJobRegistry.set_dependencies': caught EjrHttpError('EJR API error: "
        "502 Bad Gateway')",
    ),
    (
        K.BAD_INPUT,
        "Cannot construct an image because the given boundaries resulted in an empty image "
        "collection",
    ),
    (K.BAD_INPUT, "NoDataAvailable: There is no data available for the given extents."),
    (
        K.BAD_INPUT,
        "Requested band 'HH' is not present in Sentinel 1 tile; try specifying a \"polarization\" "
        "property filter",
    ),
    (
        K.BAD_GRAPH,
        'UDF Exception during Spark execution: File "<string>", line 8, in apply_datacube\n'
        "KeyError: 'B04'",
    ),
    (
        K.BAD_GRAPH,
        "[400] Internal: Requested too much executor memory: 6G + 2G, the max for this instance "
        "is: 15G",
    ),
    (
        K.BAD_GRAPH,
        "java.lang.IllegalArgumentException: Required executor memory (102400 MB), offHeap memory "
        "(0) MB, overhead (102400 MB), and PySpark memory (0 MB) is above the max threshold "
        "(52224 MB) of this cluster!",
    ),
    (
        K.BACKEND_BUG,
        "Exception during Spark execution: java.io.EOFException",
    ),
    (
        K.BACKEND_BUG,
        "Your openEO batch job failed during Spark execution: 'Traceback (most recent call last)'",
    ),
    (K.UNKNOWN, "It did not work."),
    (K.UNKNOWN, ""),
]

ANSWERS = [
    (K.CAPACITY, 400, "ConcurrentJobLimit",
     "Job was not started because concurrent job limit (10) is reached."),
    (K.CAPACITY, 429, None, "slow down"),
    (K.CAPACITY, 402, "PaymentRequired", "no credits"),
    (K.BAD_INPUT, 400, "ExtentTooLarge", "collection_id 'SENTINEL2_L2A': too many pixels"),
    (K.BAD_GRAPH, 400, "ProcessUnsupported", "Process 'foo' is not available."),
    (K.BAD_GRAPH, 404, "CollectionNotFound", "Collection 'X' does not exist."),
    (K.BAD_GRAPH, 400, None, "no"),
    (K.VANISHED, 404, "JobNotFound", "The batch job 'j-1' does not exist."),
    (K.VANISHED, 410, None, "gone"),
    (K.TRANSIENT, 502, None, "<html>Bad gateway</html>"),
    (K.TRANSIENT, 503, None, ""),
    (K.BACKEND_BUG, 500, "Internal", "Server error: NullPointerException"),
    (K.BACKEND_BUG, 500, None, "oops"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), LOGS)
def test_logs_of_failed_jobs(kind: ErrorKind, text: str) -> None:
    assert classify(text) is kind


@pytest.mark.parametrize(("kind", "status", "code", "text"), ANSWERS)
def test_answers_to_requests(kind: ErrorKind, status: int, code: str | None, text: str) -> None:
    assert classify(text, status=status, code=code) is kind
    error = OpenEoApiError(http_status_code=status, code=code or "Internal", message=text)
    if code is not None:
        assert kind_of(error) is kind


def test_a_log_of_many_lines_is_as_bad_as_what_the_user_can_mend() -> None:
    lines = [
        "Exception during Spark execution: Job aborted due to stage failure",
        "ExecutorLostFailure (executor 3 exited caused by one of the running tasks)",
        "Reason: Container killed by YARN for exceeding physical memory limits",
    ]
    assert classify("\n".join(lines)) is K.OUT_OF_MEMORY
    assert classify("\n".join(lines[:2])) is K.TRANSIENT


def test_rules_of_the_user_go_first_and_need_something_to_look_at() -> None:
    mine = Rule(K.TRANSIENT, text="NullPointerException")
    assert classify("java.lang.NullPointerException") is K.BACKEND_BUG
    assert classify("java.lang.NullPointerException", rules=[mine, *RULES]) is K.TRANSIENT
    assert not Rule(K.TRANSIENT).fits("anything", 500, "Internal")
    both = Rule(K.BAD_INPUT, status=frozenset({400}), text="extent")
    assert both.fits("the extent is odd", 400, None)
    assert not both.fits("the extent is odd", 500, None)


def test_what_is_no_answer_of_a_back_end() -> None:
    assert kind_of(requests.ConnectionError("reset")) is K.TRANSIENT
    assert kind_of(ValueError("the row has no geometry")) is K.CALLBACK


def test_a_request_to_another_host_says_nothing_of_the_back_end() -> None:
    root = "https://openeo.example/openeo/1.2"
    ours = requests.Request("GET", root + "/jobs").prepare()
    other = requests.Request("PUT", "https://store.example/fields.parquet").prepare()
    assert is_outage(requests.ConnectionError("reset", request=ours), root)
    assert not is_outage(requests.ConnectionError("reset", request=other), root)
    assert is_outage(requests.ConnectionError("reset"), root)
    assert is_outage(OpenEoApiError(http_status_code=503, code="x", message="away"), root)
    assert not is_outage(OpenEoApiError(http_status_code=500, code="x", message="bug"), root)
    assert is_outage(ValueError("an answer that is no JSON"), root)


def test_answers_that_make_no_sense_are_told_from_those_that_do_not_come() -> None:
    page = requests.exceptions.JSONDecodeError("Expecting value", "<html>", 0)
    for error in (page, AttributeError("'list' has no 'get'"), ValueError("no number")):
        assert is_senseless(error)
    for fine in (
        requests.ConnectionError("reset"),
        OpenEoApiError(http_status_code=500, code="x", message="bug"),
    ):
        assert not is_senseless(fine)
    assert is_unpaid(OpenEoApiError(http_status_code=402, code="PaymentRequired", message="pay"))
