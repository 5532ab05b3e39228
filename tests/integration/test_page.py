"""The page at ``/`` as its server gives it: who gets it, its headers, signing in, previews."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import openeo
import pytest

from support.service import ADD, ServerProcess, ended

HTML = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("home") / "state").start()
    yield server
    server.stop()


def bearer(server: ServerProcess) -> str:
    return f"Bearer {server.connect().auth.bearer}"


class TestWhoGetsIt:
    def test_browsers_get_the_page(self, server: ServerProcess) -> None:
        status, headers, body = server.request("GET", "/", Accept=HTML)
        assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
        assert headers["vary"] == "Accept"
        assert server.known["password"].encode() not in body
        for name in re.findall(rb'(?:src|href)="(page/[^"]+)"', body):
            status, headers, _ = server.request("GET", f"/{name.decode()}", Accept="*/*")
            assert status == 200, name
            assert headers["x-content-type-options"] == "nosniff"

    def test_documents_without_an_icon_get_its_own(self, server: ServerProcess) -> None:
        """A browser asks for it by itself, and complains in its console when there is none."""
        status, headers, body = server.request("GET", "/favicon.ico")
        assert (status, headers["content-type"]) == (200, "image/svg+xml") and b"<svg" in body

    @pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
    def test_clients_get_the_capabilities(self, server: ServerProcess, accept: str) -> None:
        status, headers, body = server.request("GET", "/", Accept=accept)
        assert status == 200 and headers["content-type"] == "application/json"
        assert json.loads(body)["api_version"] == "1.2.0" and headers["vary"] == "Accept"

    def test_the_client_that_asks_for_html_by_a_setting_still_finds_the_api(
        self, server: ServerProcess
    ) -> None:
        """It asks below the versioned root, where there is no page."""
        connection = openeo.connect(server.known["url"])
        connection.default_headers["Accept"] = HTML
        assert connection.list_collection_ids() == ["SENTINEL2_L2A"]
        status, headers, _ = server.request("GET", "/openeo/1.2/", Accept=HTML)
        assert status == 200 and headers["content-type"] == "application/json"

    def test_a_page_on_the_web_cannot_use_it(self, server: ServerProcess) -> None:
        _, headers, _ = server.request("GET", "/", Accept=HTML)
        policy = dict(
            part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        status, headers, _ = server.request("GET", "/status", Origin="https://example.org")
        assert status == 401 and "access-control-allow-origin" not in headers
        assert "set-cookie" not in headers

    @pytest.mark.parametrize(
        "name", ["none.js", "..%2Froutes.py", "%2e%2e/routes.py", "__init__.py"]
    )
    def test_only_its_own_files(self, server: ServerProcess, name: str) -> None:
        status, _, body = server.request("GET", f"/page/{name}")
        assert status == 404 and json.loads(body)["code"] == "NotFound"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"code": "none"}', 403, "InvitationInvalid"),
        (b'{"code": null}', 403, "InvitationInvalid"),
        (b"{}", 403, "InvitationInvalid"),
        (b"[]", 400, "ProcessInvalid"),
    ],
)
def test_wrong_codes(server: ServerProcess, body: bytes, status: int, code: str) -> None:
    found, _, answer = server.request("POST", "/page/session", body)
    assert (found, json.loads(answer)["code"]) == (status, code)


@pytest.fixture(scope="module")
def job(server: ServerProcess) -> openeo.BatchJob:
    cube = server.connect().load_collection(
        "SENTINEL2_L2A",
        spatial_extent={"west": 5.0, "south": 51.2, "east": 5.004, "north": 51.203},
        temporal_extent=["2021-05-01", "2021-05-10"],
        bands=["B02", "B03", "B04"],
    )
    job = cube.create_job(out_format="NetCDF", title="Small")
    job.start()
    assert ended(job) == "finished", job.logs()
    return job


class TestPreview:
    def test_a_result_is_drawn(self, server: ServerProcess, job: openeo.BatchJob) -> None:
        (name,) = job.get_results().get_metadata()["assets"]
        path = f"/page/preview/{job.job_id}/{name}"
        status, headers, body = server.request("GET", path, Authorization=bearer(server))
        assert status == 200 and headers["content-type"] == "image/png"
        assert body.startswith(b"\x89PNG")

    def test_only_with_the_token(self, server: ServerProcess, job: openeo.BatchJob) -> None:
        status, _, _ = server.request("GET", f"/page/preview/{job.job_id}/openEO.nc")
        assert status == 401

    def test_what_cannot_be_drawn(self, server: ServerProcess, job: openeo.BatchJob) -> None:
        sum_job = server.connect().create_job(ADD)
        sum_job.start()
        assert ended(sum_job) == "finished"
        (name,) = sum_job.get_results().get_metadata()["assets"]
        for path, code in [
            (f"{sum_job.job_id}/{name}", "NoPreview"),
            (f"{job.job_id}/none.nc", "NotFound"),
            (f"{job.job_id}/../../../identity.json", "NotFound"),
            ("j-none/openEO.nc", "JobNotFound"),
        ]:
            status, _, body = server.request(
                "GET", f"/page/preview/{path}", Authorization=bearer(server)
            )
            assert (status, json.loads(body)["code"]) == (404, code), path


def test_the_page_is_in_the_package() -> None:
    import openeo_gfmap.local.page as package

    names = {path.suffix for path in (Path(package.__file__).parent / "static").iterdir()}
    assert names == {".html", ".js", ".css", ".svg"}
