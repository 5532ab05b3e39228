"""Connections: addresses and credentials from the environment, against a loopback service."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from urllib.parse import quote

import openeo
import pytest
from pytest_httpserver import HTTPServer

from openeo_gfmap import Backend, BackendContext
from openeo_gfmap.backend import (
    BACKEND_CONNECTIONS,
    cdse_connection,
    cdse_staging_connection,
    eodc_connection,
    fed_connection,
    local_connection,
    vito_connection,
)
from openeo_gfmap.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    InputError,
    UnsupportedBackend,
)
from support.fake_openeo import CLIENT_ID, CLIENT_SECRET, PASSWORD, PROVIDER, USER, FakeOpenEO

REMOTE = {
    "CDSE": cdse_connection,
    "CDSE_STAGING": cdse_staging_connection,
    "VITO": vito_connection,
    "EODC": eodc_connection,
    "FED": fed_connection,
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Forget the credentials of whoever runs the tests."""
    for name in ("METHOD", "CLIENT_ID", "CLIENT_SECRET", "PROVIDER_ID"):
        for suffix in ("", *(f"_{suffix}" for suffix in REMOTE)):
            monkeypatch.delenv(f"OPENEO_AUTH_{name}{suffix}", raising=False)
    monkeypatch.setenv("OPENEO_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def service(httpserver: HTTPServer) -> FakeOpenEO:
    return FakeOpenEO(httpserver)


def use_client_credentials(monkeypatch: pytest.MonkeyPatch, suffix: str, secret: str) -> None:
    monkeypatch.setenv("OPENEO_AUTH_METHOD", "client_credentials")
    monkeypatch.setenv(f"OPENEO_AUTH_CLIENT_ID_{suffix}", CLIENT_ID)
    monkeypatch.setenv(f"OPENEO_AUTH_CLIENT_SECRET_{suffix}", secret)
    monkeypatch.setenv(f"OPENEO_AUTH_PROVIDER_ID_{suffix}", PROVIDER)


@pytest.mark.parametrize("suffix", REMOTE)
def test_client_credentials_of_each_backend(
    suffix: str,
    service: FakeOpenEO,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(f"OPENEO_GFMAP_URL_{suffix}", service.url)
    use_client_credentials(monkeypatch, suffix, CLIENT_SECRET)
    with caplog.at_level(logging.DEBUG):
        connection = REMOTE[suffix]()
    assert connection.describe_account()["user_id"] == USER
    assert connection.auth.bearer == f"oidc/{PROVIDER}/granted"
    assert CLIENT_SECRET not in caplog.text


def test_credentials_are_those_of_the_backend_asked_for(
    service: FakeOpenEO, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_client_credentials(monkeypatch, "VITO", "another secret")
    use_client_credentials(monkeypatch, "CDSE", CLIENT_SECRET)
    monkeypatch.setenv("OPENEO_GFMAP_URL_CDSE", service.url)
    assert cdse_connection().auth is not None


def test_clients_own_environment_variables_work_too(
    service: FakeOpenEO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENEO_GFMAP_URL_CDSE", service.url)
    monkeypatch.setenv("OPENEO_AUTH_METHOD", "client_credentials")
    monkeypatch.setenv("OPENEO_AUTH_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("OPENEO_AUTH_CLIENT_SECRET", CLIENT_SECRET)
    assert cdse_connection().auth is not None


def test_refused_client_credentials(service: FakeOpenEO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENEO_GFMAP_URL_CDSE", service.url)
    use_client_credentials(monkeypatch, "CDSE", "wrong secret")
    with pytest.raises(AuthenticationFailed, match="check the credentials") as caught:
        cdse_connection()
    assert "wrong secret" not in str(caught.value)


def test_missing_client_secret_is_named(
    service: FakeOpenEO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENEO_GFMAP_URL_CDSE", service.url)
    use_client_credentials(monkeypatch, "CDSE", "")
    with pytest.raises(AuthenticationFailed, match="OPENEO_AUTH_CLIENT_SECRET_CDSE"):
        cdse_connection()


def test_basic_authentication_by_the_address(
    service: FakeOpenEO, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = service.url.replace("//", f"//{USER}:{quote(PASSWORD, safe='')}@")
    monkeypatch.setenv("OPENEO_GFMAP_URL_CDSE", address)
    connection = cdse_connection()
    assert connection.auth.bearer == "basic//token"
    assert quote(PASSWORD, safe="") not in connection.root_url


def test_refused_basic_authentication_hides_the_password(
    service: FakeOpenEO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENEO_GFMAP_URL_CDSE", service.url.replace("//", "//alice:guess@"))
    with pytest.raises(AuthenticationFailed) as caught:
        cdse_connection()
    assert "guess" not in str(caught.value)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("OPENEO_GFMAP_URL_FED", f"http://127.0.0.1:{port}")
    with pytest.raises(BackendUnavailable, match=f"127.0.0.1:{port}"):
        fed_connection()


def test_something_else_answers(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    httpserver.expect_request("/").respond_with_data("<html>", content_type="text/html")
    httpserver.expect_request("/.well-known/openeo").respond_with_data("no", status=404)
    monkeypatch.setenv("OPENEO_GFMAP_URL_FED", httpserver.url_for(""))
    with pytest.raises(BackendUnavailable, match="openEO back-end"):
        fed_connection()


def test_time_to_wait_for_a_person_must_be_a_number(
    service: FakeOpenEO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENEO_GFMAP_URL_CDSE", service.url)
    monkeypatch.setenv("OPENEO_OIDC_DEVICE_CODE_MAX_POLL_TIME", "soon")
    with pytest.raises(InputError, match="'soon'"):
        cdse_connection()


def test_person_who_does_not_log_in_in_time(
    service: FakeOpenEO, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = {
        "device_code": "d",
        "user_code": "u",
        "verification_uri": f"{service.url}/login",
        "interval": 0.05,
    }
    httpserver.expect_request("/oidc/device", method="POST").respond_with_json(device)
    monkeypatch.setenv("OPENEO_GFMAP_URL_CDSE", service.url)
    monkeypatch.setenv("OPENEO_OIDC_DEVICE_CODE_MAX_POLL_TIME", "0.2")
    with pytest.raises(AuthenticationFailed):
        cdse_connection()


def test_every_backend_has_a_connection() -> None:
    assert set(BACKEND_CONNECTIONS) == set(Backend)
    assert BACKEND_CONNECTIONS[Backend.LOCAL] is local_connection


def test_backend_values_are_those_of_job_rows() -> None:
    assert {b.name: b.value for b in Backend} == {
        "TERRASCOPE": "terrascope",
        "EODC": "eodc",
        "CDSE": "cdse",
        "CDSE_STAGING": "cdse-staging",
        "LOCAL": "local",
        "FED": "fed",
    }


def test_backend_context_takes_a_backend_or_its_value() -> None:
    assert BackendContext("cdse-staging") == BackendContext(Backend.CDSE_STAGING)
    with pytest.raises(UnsupportedBackend, match=r"'aws'.*Backend\.CDSE"):
        BackendContext("aws")


def test_connection_functions_take_no_arguments() -> None:
    functions: list[Callable[[], openeo.Connection]] = list(BACKEND_CONNECTIONS.values())
    assert all(f.__code__.co_argcount == 0 for f in functions)
