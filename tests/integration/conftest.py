"""Fixtures of tests that need more than this process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from distributed import LocalCluster


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3(_s3_server: str) -> Iterator[str]:
    """Address of an empty bucket of an S3 server on this machine, and the way to it."""
    import boto3

    settings = {
        "AWS_ENDPOINT_URL": _s3_server,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(
            Bucket="results"
        )
        yield "s3://results"


@pytest.fixture(scope="session")
def cluster(s3: str) -> Iterator[LocalCluster]:
    """Two workers, each a process of its own with a nanny, as ``dask worker`` starts them.

    They know the way to the object store from their environment.
    """
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
        dashboard_address="127.0.0.1:0", worker_dashboard_address=None,
    ) as cluster:  # fmt: skip
        yield cluster
