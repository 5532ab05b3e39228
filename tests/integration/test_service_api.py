"""The openEO API of the embedded back-end: every endpoint, every error as an openEO document."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import openeo
import pystac
import pytest
import requests
from openeo.rest import OpenEoApiError

from support.service import ADD, ServerProcess, ended

ROOT = "/openeo/1.2"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("home") / "state").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def connection(server: ServerProcess) -> openeo.Connection:
    return server.connect()


@pytest.fixture(scope="module")
def finished(connection: openeo.Connection) -> openeo.BatchJob:
    """A job that has run."""
    job = connection.create_job(ADD, title="Three and five", description="A sum.")
    job.start()
    assert ended(job) == "finished", job.logs()
    return job


def bearer(connection: openeo.Connection) -> str:
    return f"Bearer {connection.auth.bearer}"


class TestDiscovery:
    def test_the_client_finds_the_version_by_itself(self, connection: openeo.Connection) -> None:
        assert connection.root_url.endswith(ROOT)
        capabilities = connection.capabilities()
        assert capabilities.api_version() == "1.2.0"
        for method, path in [
            ("GET", "/collections/{collection_id}"),
            ("POST", "/result"),
            ("PATCH", "/jobs/{job_id}"),
            ("DELETE", "/jobs/{job_id}/results"),
            ("PUT", "/files/{path}"),
            ("POST", "/validation"),
        ]:
            assert capabilities.supports_endpoint(path, method), (method, path)

    def test_the_versioned_address_works_as_well(self, server: ServerProcess) -> None:
        connection = openeo.connect(f"{server.known['url']}{ROOT}")
        assert connection.root_url == f"{server.known['url']}{ROOT}"
        assert connection.capabilities().api_version() == "1.2.0"

    @pytest.mark.parametrize("path", ["/", f"{ROOT}/", ROOT])
    def test_capabilities_at_every_root(self, server: ServerProcess, path: str) -> None:
        status, headers, body = server.request("GET", path)
        assert status == 200 and headers["content-type"] == "application/json"
        assert json.loads(body)["type"] == "Catalog"

    def test_conformance(self, connection: openeo.Connection) -> None:
        classes = connection.get("/conformance").json()["conformsTo"]
        assert "https://api.openeo.org/1.2.0" in classes

    def test_collections(self, connection: openeo.Connection) -> None:
        assert "SENTINEL2_L2A" in connection.list_collection_ids()
        metadata = connection.collection_metadata("SENTINEL2_L2A")
        assert {"B02", "B8A", "SCL"} <= set(metadata.band_names)

    def test_an_unknown_collection(self, connection: openeo.Connection) -> None:
        with pytest.raises(OpenEoApiError, match=r"\[404\] CollectionNotFound"):
            connection.describe_collection("SENTINEL_99")

    def test_processes(self, connection: openeo.Connection) -> None:
        ids = {process["id"] for process in connection.list_processes()}
        assert {"load_collection", "add", "save_result"} <= ids

    def test_file_formats(self, connection: openeo.Connection) -> None:
        formats = connection.list_file_formats()
        assert {"NetCDF", "GTiff", "Parquet", "JSON", "CSV"} == set(formats["output"])
        assert "sample_by_feature" in formats["output"]["NetCDF"]["parameters"]
        assert all(entry["gis_data_types"] for entry in formats["input"].values())

    def test_udf_runtimes(self, connection: openeo.Connection) -> None:
        runtime = connection.list_udf_runtimes()["Python"]
        assert runtime["default"] in runtime["versions"]
        assert "numpy" in runtime["versions"][runtime["default"]]["libraries"]

    def test_me(self, connection: openeo.Connection) -> None:
        assert connection.describe_account()["user_id"] == "gfmap"


class TestAccess:
    PRIVATE = (
        ("GET", "/me"), ("POST", "/validation"), ("POST", "/result"), ("GET", "/jobs"),
        ("POST", "/jobs"), ("GET", "/jobs/x"), ("PATCH", "/jobs/x"), ("DELETE", "/jobs/x"),
        ("GET", "/jobs/x/logs"), ("GET", "/jobs/x/results"), ("POST", "/jobs/x/results"),
        ("DELETE", "/jobs/x/results"), ("GET", "/jobs/x/results/items/y"),
        ("GET", "/jobs/x/results/assets/y"), ("GET", "/files"), ("GET", "/files/x"),
        ("PUT", "/files/x"), ("DELETE", "/files/x"), ("GET", "/process_graphs"),
        ("GET", "/process_graphs/x"), ("PUT", "/process_graphs/x"), ("DELETE", "/process_graphs/x"),
    )  # fmt: skip

    @pytest.mark.parametrize(("method", "path"), PRIVATE)
    def test_nothing_private_without_token(
        self, server: ServerProcess, method: str, path: str
    ) -> None:
        status, headers, body = server.request(method, ROOT + path, b"{}")
        assert (status, json.loads(body)["code"]) == (401, "AuthenticationRequired")
        assert headers["www-authenticate"].startswith("Bearer")
        for wrong in ("Bearer basic//no", "Bearer ", "Bearer basic//é", "Bearer oidc/x/y"):
            status, _, body = server.request(method, ROOT + path, b"{}", Authorization=wrong)
            assert (status, json.loads(body)["code"]) == (403, "TokenInvalid")

    def test_every_private_route_is_in_that_list(self, server: ServerProcess) -> None:
        public = {"/", "/conformance", "/collections", "/collections/{collection_id}",
                  "/processes", "/file_formats", "/udf_runtimes", "/credentials/basic",
                  "/openapi.json"}  # fmt: skip
        listed = json.loads(server.request("GET", "/")[2])["endpoints"]
        endpoints = {(m, e["path"]) for e in listed for m in e["methods"]}
        private = {(m, p) for m, p in endpoints if p not in public}
        assert len(private) == len(self.PRIVATE)

    def test_wrong_password(self, server: ServerProcess) -> None:
        connection = openeo.connect(server.known["url"])
        with pytest.raises(OpenEoApiError, match=r"\[403\] CredentialsInvalid"):
            connection.authenticate_basic("gfmap", "secret")
        for header in ("Basic", "Basic !!!", "Basic " + base64.b64encode(b"\xff:").decode()):
            status, _, body = server.request(
                "GET", f"{ROOT}/credentials/basic", Authorization=header
            )
            assert (status, json.loads(body)["code"]) == (403, "CredentialsInvalid")
        status, _, body = server.request("GET", f"{ROOT}/credentials/basic", Authorization="X y")
        assert (status, json.loads(body)["code"]) == (403, "AuthenticationSchemeInvalid")

    @pytest.mark.parametrize(
        "host", ["example.org", "127.0.0.1.example.org", "10.0.0.1:80", "", "[::2]", "127.1@x", "["]
    )
    def test_only_this_machines_names(self, server: ServerProcess, host: str) -> None:
        status, _, body = server.request("GET", "/", Host=host)
        assert (status, json.loads(body)["code"]) == (421, "HostInvalid")

    @pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:9", "[::1]:9"])
    def test_addresses_follow_the_name_the_client_used(
        self, server: ServerProcess, host: str
    ) -> None:
        """As through a port forwarding."""
        _, _, body = server.request("GET", "/.well-known/openeo", Host=host)
        assert json.loads(body)["versions"][0]["url"] == f"http://{host}{ROOT}"

    def test_secrets_are_for_this_user_only(self, server: ServerProcess) -> None:
        for name in ("server.json", "identity.json", "jobs.sqlite"):
            assert (server.state / name).stat().st_mode & 0o777 == 0o600
        assert server.state.stat().st_mode & 0o777 == 0o700
        assert server.known["password"] not in server.log.read_text()


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/nowhere", 404, "NotFound"),
            ("GET", f"{ROOT}/nowhere", 404, "NotFound"),
            ("GET", f"{ROOT}/jobs/", 404, "NotFound"),
            ("GET", "/openeo/1.1/jobs", 404, "UnsupportedApiVersion"),
            ("GET", f"{ROOT}/service_types", 501, "FeatureUnsupported"),
            ("GET", f"{ROOT}/services", 501, "FeatureUnsupported"),
            ("GET", f"{ROOT}/jobs/x/estimate", 501, "FeatureUnsupported"),
            ("POST", f"{ROOT}/collections", 405, "FeatureUnsupported"),
            ("DELETE", f"{ROOT}/jobs", 405, "FeatureUnsupported"),
            ("BREW", "/", 405, "FeatureUnsupported"),
        ],
    )
    def test_unknown_places(
        self, server: ServerProcess, method: str, path: str, status: int, code: str
    ) -> None:
        answered, headers, body = server.request(method, path)
        document = json.loads(body)
        assert (answered, document["code"]) == (status, code)
        assert headers["content-type"] == "application/json"
        assert document["message"] and document["id"]

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", "ProcessInvalid"),
            (b"{", "ProcessInvalid"),
            (b"[]", "ProcessInvalid"),
            (b"\xff\xfe", "ProcessInvalid"),
            (b'{"a": NaN}', "ProcessInvalid"),
            (b"[" * 200_000, "ProcessInvalid"),
            (b"{}", "ProcessGraphMissing"),
            (b'{"process": []}', "ProcessGraphMissing"),
            (b'{"process": {}}', "ProcessGraphMissing"),
            (b'{"process": {"process_graph": {}}}', "ProcessGraphMissing"),
            (b'{"process": {"process_graph": [1]}}', "ProcessGraphInvalid"),
            (b'{"process": {"process_graph": {"a": 1}}}', "ProcessGraphInvalid"),
            (b'{"process": {"process_graph": {"a": {"process_id": 1}}}}', "ProcessGraphInvalid"),
            (
                b'{"process": {"process_graph": {"a": {"process_id": "b", "arguments": 1}}}}',
                "ProcessGraphInvalid",
            ),
            (
                b'{"process": {"process_graph": {"a": {"process_id": "no_such"}}}}',
                "ProcessUnsupported",
            ),
        ],
    )
    def test_documents_without_form(
        self, server: ServerProcess, connection: openeo.Connection, body: bytes, code: str
    ) -> None:
        status, _, answer = server.request(
            "POST", f"{ROOT}/jobs", body, Authorization=bearer(connection)
        )
        assert (status, json.loads(answer)["code"]) == (400, code)
        assert not connection.list_jobs(limit=None) or code  # nothing half made
        status, _, answer = server.request(
            "POST", f"{ROOT}/result", body, Authorization=bearer(connection)
        )
        assert (status, json.loads(answer)["code"]) == (400, code)

    @pytest.mark.parametrize(
        "extra",
        [
            b'"title": "\\ud800"', b'"title": "\\ud83d\\ude00 \\u0000"', b'"budget": 1e400',
            b'"budget": 1' + b"0" * 30, b'"budget": 1' + b"0" * 400, b'"budget": 1' + b"0" * 5000,
            b'"x": ' + b"[" * 150 + b"]" * 150, b'"x": ' + b"[" * 250 + b"]" * 250,
            b'"x": ' + b'{"a":' * 900 + b"1" + b"}" * 900, b'"title": null, "title": "twice"',
        ],
    )  # fmt: skip
    def test_odd_values_are_refused_or_come_back(
        self, server: ServerProcess, connection: openeo.Connection, extra: bytes
    ) -> None:
        body = b'{"process": {"process_graph": ' + json.dumps(ADD).encode() + b"}, " + extra + b"}"
        status, headers, answer = server.request(
            "POST", f"{ROOT}/jobs", body, Authorization=bearer(connection)
        )
        if status != 201:
            code = json.loads(answer)["code"]
            assert status == 400 and code in ("ProcessInvalid", "BudgetInvalid")
        else:
            connection.job(headers["openeo-identifier"]).describe()

    @pytest.mark.parametrize(
        "members",
        [{"title": 1}, {"plan": []}, {"budget": "x"}, {"budget": True}, {"log_level": "loud"},
         {"job_options": []}, {"title": "x" * 200_000}],
    )  # fmt: skip
    def test_members_of_the_wrong_type(
        self, connection: openeo.Connection, members: dict[str, object]
    ) -> None:
        with pytest.raises(OpenEoApiError, match=rf"\[400\] JobInvalid: {next(iter(members))}"):
            connection.post("/jobs", json={"process": {"process_graph": ADD}, **members})

    def test_a_body_beyond_the_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENEO_GFMAP_MAX_DOCUMENT", "2K")
        monkeypatch.setenv("OPENEO_GFMAP_MAX_FILE", "2K")
        server = ServerProcess(tmp_path / "home").start()
        try:
            connection = server.connect()
            with pytest.raises(OpenEoApiError, match=r"\[413\] RequestTooLarge"):
                connection.post("/jobs", json={"title": "x" * 3000})
            url = f"{connection.root_url}/files/large"
            for data in (b"x" * 3000, iter([b"x" * 1500] * 2)):
                answer = requests.put(url, data=data, auth=connection.auth)
                assert (answer.status_code, answer.json()["code"]) == (400, "FileSizeExceeded")
            assert requests.put(url, data=b"x" * 2048, auth=connection.auth).status_code == 200
            assert not list((server.state / "uploads").iterdir())
        finally:
            server.stop()


class TestValidation:
    def test_a_good_process(self, connection: openeo.Connection) -> None:
        assert connection.validate_process_graph(ADD) == []

    def test_what_is_wrong_is_named(self, connection: openeo.Connection) -> None:
        graph = {"a": {"process_id": "no_such", "arguments": {}, "result": True}}
        (error,) = connection.validate_process_graph(graph)
        assert error["code"] == "ProcessUnsupported" and "no_such" in error["message"]

    def test_no_graph_at_all(self, connection: openeo.Connection) -> None:
        errors = connection.post("/validation", json={}).json()["errors"]
        assert [error["code"] for error in errors] == ["ProcessGraphMissing"]


class TestSynchronous:
    def test_a_value(self, connection: openeo.Connection) -> None:
        assert connection.execute(ADD) == 8

    def test_a_file(self, connection: openeo.Connection, tmp_path: Path) -> None:
        identifiers = []
        connection.download(
            ADD,
            tmp_path / "sum.json",
            on_response_headers=lambda headers: identifiers.append(headers["OpenEO-Identifier"]),
        )
        assert json.loads((tmp_path / "sum.json").read_text()) == 8
        assert identifiers[0].startswith("r-")

    def test_nothing_stays_behind(
        self, connection: openeo.Connection, server: ServerProcess
    ) -> None:
        connection.execute(ADD)
        assert not list((server.state / "sync").iterdir())

    def test_an_error_of_the_process(
        self, connection: openeo.Connection, server: ServerProcess
    ) -> None:
        graph = {"d": {"process_id": "add", "arguments": {"x": 1}, "result": True}}
        with pytest.raises(OpenEoApiError, match="ProcessParameter"):
            connection.execute(graph, validate=False)
        assert not list((server.state / "sync").iterdir())


class TestJobs:
    def test_create_and_describe(self, connection: openeo.Connection) -> None:
        job = connection.create_job(
            ADD, title="T", description="D", plan="free", budget=5, log_level="warning",
            job_options={"executor-memory": "5G", "executor-memoryOverhead": "2G", "other": [1]},
        )  # fmt: skip
        document = job.describe()
        assert document["status"] == "created" and document["progress"] == 0
        assert (document["title"], document["description"]) == ("T", "D")
        assert (document["plan"], document["budget"], document["costs"]) == ("free", 5, None)
        assert document["process"]["process_graph"] == ADD
        assert document["job_options"]["executor-memory"] == "5G"
        assert document["log_level"] == "warning"
        assert document["created"].endswith("Z") and document["updated"] >= document["created"]

    def test_creation_answers_where_the_job_is(self, connection: openeo.Connection) -> None:
        answer = connection.post("/jobs", json={"process": {"process_graph": ADD}})
        assert answer.status_code == 201
        location = answer.headers["Location"]
        assert location == f"{connection.root_url}/jobs/{answer.headers['OpenEO-Identifier']}"
        assert connection.get(location).json()["status"] == "created"

    def test_unknown_jobs(self, connection: openeo.Connection) -> None:
        job = connection.job("j-none")
        for call in (job.describe, job.start, job.stop, job.delete, job.logs):
            with pytest.raises(OpenEoApiError, match=r"\[404\] JobNotFound"):
                call()
        with pytest.raises(OpenEoApiError, match=r"\[404\] JobNotFound"):
            job.get_results().get_metadata()

    def test_pages(self, connection: openeo.Connection) -> None:
        made = [connection.create_job(ADD, title=str(i)).job_id for i in range(5)]
        first = connection.get("/jobs", params={"limit": 2}).json()
        assert [job["id"] for job in first["jobs"]] == made[:2:-1]
        later = connection.create_job(ADD).job_id  # must not shift the pages
        seen = [job["id"] for job in first["jobs"]]
        page = first
        while next_page := [link for link in page["links"] if link["rel"] == "next"]:
            page = connection.get(next_page[0]["href"]).json()
            assert len(page["jobs"]) <= 2
            seen += [job["id"] for job in page["jobs"]]
        assert len(seen) == len(set(seen)) and set(made) <= set(seen) and later not in seen
        everything = connection.list_jobs(limit=None)
        assert [job["id"] for job in everything] == [later, *seen]
        assert "process" not in everything[0]

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=x", "limit=-1", "before=x", "limit=1e3", "limit=" + "9" * 40]
    )
    def test_bad_queries(self, connection: openeo.Connection, query: str) -> None:
        with pytest.raises(OpenEoApiError, match=r"\[400\] QueryParameterInvalid"):
            connection.get(f"/jobs?{query}")

    def test_update(self, connection: openeo.Connection) -> None:
        job = connection.create_job(ADD, title="before")
        other = {"a": {"process_id": "add", "arguments": {"x": 1, "y": 1}, "result": True}}
        change = {"title": "after", "process": {"process_graph": other}}
        assert connection.patch(f"/jobs/{job.job_id}", json=change).status_code == 204
        document = job.describe()
        assert document["title"] == "after" and document["process"]["process_graph"] == other
        for wrong, code in (
            ({}, "NoDataForUpdate"),
            ({"status": "finished"}, "PropertyNotEditable"),
            ({"process": {}}, "ProcessGraphMissing"),
        ):
            with pytest.raises(OpenEoApiError, match=code):
                connection.patch(f"/jobs/{job.job_id}", json=wrong)

    def test_delete(self, connection: openeo.Connection, server: ServerProcess) -> None:
        job = connection.create_job(ADD)
        folder = server.state / "jobs" / job.job_id
        assert folder.is_dir()
        job.delete()
        assert not folder.exists()
        with pytest.raises(OpenEoApiError, match="JobNotFound"):
            job.describe()

    def test_results_before_their_time(self, connection: openeo.Connection) -> None:
        job = connection.create_job(ADD)
        with pytest.raises(OpenEoApiError, match=r"\[400\] JobNotStarted"):
            job.get_results().get_metadata()

    def test_canceling_what_does_not_run_has_no_effect(
        self, connection: openeo.Connection, finished: openeo.BatchJob
    ) -> None:
        job = connection.create_job(ADD)
        job.stop()
        assert job.status() == "created"
        finished.stop()
        assert finished.status() == "finished"

    def test_the_client_waits_for_a_job(
        self, connection: openeo.Connection, tmp_path: Path
    ) -> None:
        job = connection.create_job(ADD).start_and_wait(max_poll_interval=0.1, print=lambda _: None)
        paths = job.get_results().download_files(tmp_path)
        assert {path.name for path in paths} >= {"job-results.json"}
        document = job.describe()
        assert document["progress"] == 100
        usage = document["usage"]
        assert usage["cpu"]["value"] > 0 and usage["cpu"]["unit"] == "cpu-seconds"
        assert usage["duration"]["value"] > 0 and usage["memory"]["unit"] == "mb-seconds"

    def test_a_finished_job_runs_again(self, connection: openeo.Connection) -> None:
        job = connection.create_job(ADD)
        for _ in range(2):
            job.start()
            assert ended(job) == "finished"
        assert job.get_results().get_asset().load_json() == 8

    def test_a_failing_job(self, connection: openeo.Connection) -> None:
        connection.put("/files/broken.geojson", data=b"no GeoJSON")
        arguments = {"paths": ["broken.geojson"], "format": "GeoJSON"}
        graph = {"d": {"process_id": "load_uploaded_files", "arguments": arguments, "result": True}}
        job = connection.create_job(graph, validate=False)
        job.start()
        assert ended(job) == "error"
        (entry,) = job.logs(level=logging.ERROR)
        assert "broken.geojson" in entry["message"] and entry["code"]
        with pytest.raises(OpenEoApiError, match=r"\[424\]"):
            job.get_results().get_metadata()
        connection.delete("/files/broken.geojson")

    def test_a_job_that_cannot_run_is_not_created(self, connection: openeo.Connection) -> None:
        graph = {"d": {"process_id": "add", "arguments": {"x": 1}, "result": True}}
        with pytest.raises(OpenEoApiError, match=r"ProcessParameterMissing: Node 'd': .* 'y'"):
            connection.create_job(graph, validate=False)


class TestLogs:
    def test_pages_and_levels(
        self, connection: openeo.Connection, finished: openeo.BatchJob
    ) -> None:
        entries = finished.logs()
        assert len(entries) >= 3
        assert [int(e["id"]) for e in entries] == list(range(1, len(entries) + 1))
        assert all(e["time"] and e["message"] for e in entries)
        assert finished.logs(offset=entries[1]["id"]) == entries[2:]
        assert finished.logs(level="error") == []
        url, seen = f"/jobs/{finished.job_id}/logs?limit=2", []
        while url:
            page = connection.get(url).json()
            assert len(page["logs"]) <= 2
            seen += page["logs"]
            url = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
        assert seen == entries

    @pytest.mark.parametrize("query", ["level=loud", "offset=x", "limit=0"])
    def test_bad_queries(
        self, connection: openeo.Connection, finished: openeo.BatchJob, query: str
    ) -> None:
        with pytest.raises(OpenEoApiError, match=r"\[400\] QueryParameterInvalid"):
            connection.get(f"/jobs/{finished.job_id}/logs?{query}")


class TestResults:
    def test_a_collection_with_assets_and_items(
        self, connection: openeo.Connection, finished: openeo.BatchJob
    ) -> None:
        metadata = finished.get_results().get_metadata()
        assert metadata["openeo:status"] == "finished"
        assert metadata["title"] == "Three and five" and metadata["description"] == "A sum."
        collection = pystac.Collection.from_dict(metadata)
        assert collection.id == finished.job_id
        ((name, asset),) = metadata["assets"].items()
        assert asset["title"] == name and asset["roles"] == ["data"]
        (link,) = [link for link in metadata["links"] if link["rel"] == "item"]
        # As any STAC reader would: without credentials.
        item = pystac.Item.from_dict(requests.get(link["href"]).json())
        assert item.id == name and item.collection_id == finished.job_id
        assert requests.get(item.assets[name].href).json() == 8
        (canonical,) = [link for link in metadata["links"] if link["rel"] == "canonical"]
        assert requests.get(canonical["href"]).json()["id"] == finished.job_id

    def test_the_client_downloads_the_collection(
        self, finished: openeo.BatchJob, tmp_path: Path
    ) -> None:
        finished.get_results().download_as_collection(tmp_path, on_download_failure="raise")
        (item,) = pystac.Collection.from_file(str(tmp_path / "job-results.json")).get_items()
        (asset,) = item.assets.values()
        assert Path(asset.get_absolute_href()).read_text().strip() == "8"

    def test_asset_by_range_and_head(
        self, connection: openeo.Connection, finished: openeo.BatchJob
    ) -> None:
        (asset,) = finished.get_results().get_assets()
        whole = requests.get(asset.href)
        head = requests.head(asset.href)
        assert head.status_code == 200 and not head.content
        assert head.headers["Content-Length"] == str(len(whole.content))
        assert head.headers["Accept-Ranges"] == "bytes"
        assert head.headers["ETag"] == whole.headers["ETag"]
        assert whole.headers["Content-Type"] == "application/json"
        part = requests.get(asset.href, headers={"Range": "bytes=0-0"})
        assert part.status_code == 206 and part.content == whole.content[:1]
        assert part.headers["Content-Range"] == f"bytes 0-0/{len(whole.content)}"
        same = requests.get(asset.href, headers={"If-None-Match": whole.headers["ETag"]})
        assert same.status_code == 304
        for wrong in ("bytes=999-", "bytes=3-1", "bytes=x", "lines=1-2", "bytes=-0", "bytes"):
            answer = requests.get(asset.href, headers={"Range": wrong})
            assert (answer.status_code, answer.json()["code"]) == (416, "RangeInvalid"), wrong

    def test_signed_links(self, connection: openeo.Connection, finished: openeo.BatchJob) -> None:
        (asset,) = finished.get_results().get_assets()
        plain, _, query = asset.href.partition("?")
        assert requests.get(plain).status_code == 401
        assert connection.get(plain).json() == 8
        assert requests.get(f"{plain}?{query}0").json()["code"] == "TokenInvalid"
        late = query.replace("expires=", "expires=9")
        assert requests.get(f"{plain}?{late}").json()["code"] == "TokenInvalid"
        other = plain.replace("/assets/", "/items/")
        assert requests.get(f"{other}?{query}").json()["code"] == "TokenInvalid"

    @pytest.mark.parametrize(
        "name",
        ["../result.json", "..%2fresult.json", "%2e%2e/request.json", "../../../../server.json",
         "/etc/passwd", "%00", "nothing.nc"],
    )  # fmt: skip
    def test_only_the_results_are_served(
        self,
        server: ServerProcess,
        connection: openeo.Connection,
        finished: openeo.BatchJob,
        name: str,
    ) -> None:
        for kind in ("assets", "items"):
            path = f"{ROOT}/jobs/{finished.job_id}/results/{kind}/{name}"
            status, _, body = server.request("GET", path, Authorization=bearer(connection))
            assert (status, json.loads(body)["code"]) == (404, "NotFound")


class TestFiles:
    def test_the_whole_road(self, connection: openeo.Connection, tmp_path: Path) -> None:
        source = tmp_path / "fields.parquet"
        source.write_bytes(b"first")
        for target in ("fields.parquet", "deep/er/fields 2 é.parquet"):
            file = connection.upload_file(source, target)
            assert str(file.path) == target
            assert file.metadata["size"] == 5 and file.metadata["modified"].endswith("Z")
            assert file.download(tmp_path / "copy").read_bytes() == b"first"
        assert [str(f.path) for f in connection.list_files()] == [
            "deep/er/fields 2 é.parquet", "fields.parquet",
        ]  # fmt: skip
        source.write_bytes(b"second time")
        connection.upload_file(source)
        assert connection.get("/files/fields.parquet").content == b"second time"
        for file in connection.list_files():
            file.delete()
        assert connection.list_files() == []
        with pytest.raises(OpenEoApiError, match=r"\[404\] FileNotFound"):
            connection.get("/files/fields.parquet")
        with pytest.raises(OpenEoApiError, match=r"\[404\] FileNotFound"):
            connection.get_file("fields.parquet").delete()

    def test_range_of_a_file(self, connection: openeo.Connection, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(bytes(range(256)))
        connection.upload_file(tmp_path / "f")
        part = connection.get("/files/f", headers={"Range": "bytes=-6"})
        assert part.status_code == 206 and part.content == bytes(range(250, 256))
        connection.get_file("f").delete()

    def test_as_an_artifact_store(
        self, server: ServerProcess, connection: openeo.Connection
    ) -> None:
        """PUT with user and password, as pipelines do to their artifact store, answers 201."""
        url = f"{connection.root_url}/files/a/b.parquet"
        login = (server.known["user"], server.known["password"])
        for _ in range(2):
            answer = requests.put(url, data=b"x", auth=login)
            assert answer.status_code == 201 and answer.headers["Location"] == url
        assert requests.get(url, auth=login).content == b"x"
        assert requests.put(url, data=b"x", auth=("gfmap", "no")).status_code == 403
        assert requests.delete(url, auth=login).status_code == 204

    @pytest.mark.parametrize(
        "path",
        ["../out", "a/../../out", "%2e%2e/out", "..%2fout", "a//b", "/etc/out", "%2fout", "a/", "",
         "a%5cb", "%00", "a%09b", "./out", "x" * 300],
    )  # fmt: skip
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    def test_paths_out_of_the_workspace(
        self, server: ServerProcess, connection: openeo.Connection, path: str, method: str
    ) -> None:
        status, _, body = server.request(
            method, f"{ROOT}/files/{path}", b"evil", Authorization=bearer(connection)
        )
        assert (status, json.loads(body)["code"]) == (400, "FilePathInvalid")
        assert not list(server.home.rglob("out")) and not Path("/etc/out").exists()

    def test_links_out_of_the_workspace(
        self, server: ServerProcess, connection: openeo.Connection, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_text("x")
        link = server.state / "files" / "link"
        link.symlink_to(tmp_path)
        try:
            for method in ("GET", "PUT", "DELETE"):
                status, _, _ = server.request(
                    method, f"{ROOT}/files/link/secret", b"y", Authorization=bearer(connection)
                )
                assert status == 400
            assert (tmp_path / "secret").read_text() == "x"
        finally:
            link.unlink()

    def test_files_and_folders_do_not_replace_each_other(
        self, server: ServerProcess, connection: openeo.Connection
    ) -> None:
        url = f"{connection.root_url}/files"
        assert requests.put(f"{url}/d/f", data=b"x", auth=connection.auth).ok
        for path in ("d", "d/f/g"):
            answer = requests.put(f"{url}/{path}", data=b"x", auth=connection.auth)
            assert (answer.status_code, answer.json()["code"]) == (400, "FilePathInvalid")
        for method in (requests.get, requests.delete):
            assert method(f"{url}/d", auth=connection.auth).json()["code"] == "FilePathInvalid"
        assert connection.get("/files/d/f").content == b"x"
        connection.get_file("d/f").delete()
        assert not (server.state / "files" / "d").exists()
