"""The OpenAPI description is true, and no request made from it, right or wrong, gets a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.service import ADD, ServerProcess, ended

ROOT = "/openeo/1.2"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: Of each operation, right and wrong ones alike.
EXAMPLES = 20

# Those that read go before those that change.
_METHODS = ("get", "put", "patch", "post", "delete")


class Api:
    """A server with a job, a file and a process to be asked for."""

    def __init__(self, server: ServerProcess):
        self.server = server
        self.url = server.known["url"] + ROOT
        connection = server.connect()
        self.token = {"Authorization": f"Bearer {connection.auth.bearer}"}
        self.basic = (server.known["user"], server.known["password"])
        job = connection.create_job(ADD)
        job.start()
        assert ended(job) == "finished"
        (asset,) = job.get_results().get_assets()
        connection.put("/files/a/file.txt", data=b"text")
        connection.put("/process_graphs/five", json={"process_graph": ADD})
        self.known = {
            "job_id": job.job_id,
            "name": asset.key,
            "path": "a/file.txt",
            "process_graph_id": "five",
            "collection_id": "SENTINEL2_L2A",
        }
        self.document = requests.get(f"{self.url}/openapi.json", timeout=30).json()
        self.schema = schemathesis.openapi.from_dict(self.document)

    def operations(self) -> list[tuple[str, str]]:
        """Return methods and paths, those last that change or take away what others ask for."""
        found = [(m, p) for p, entry in self.document["paths"].items() for m in entry]
        return sorted(found, key=lambda operation: _METHODS.index(operation[0]))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with ServerProcess(tmp_path_factory.mktemp("home") / "state").start() as server:
        yield Api(server)


def test_the_description_is_openapi(api: Api) -> None:
    answer = requests.get(f"{api.url}/openapi.json", timeout=30)
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json;version=3.1"
    links = requests.get(f"{api.url}/", timeout=30).json()["links"]
    (link,) = (link for link in links if link["rel"] == "service-desc")
    assert link["href"] == f"{api.url}/openapi.json"
    assert link["type"] == answer.headers["content-type"]
    for schema in api.document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    ids = [entry[m]["operationId"] for entry in api.document["paths"].values() for m in entry]
    assert len(ids) == len(set(ids))
    assert all(m in _METHODS for entry in api.document["paths"].values() for m in entry)


def test_it_describes_just_the_endpoints_of_the_capabilities(api: Api) -> None:
    listed = requests.get(f"{api.url}/", timeout=30).json()["endpoints"]
    endpoints = {(m.lower(), e["path"]) for e in listed for m in e["methods"]}
    assert endpoints == set(api.operations())


def test_what_openeo_requires_of_a_backend_is_there(api: Api) -> None:
    """The endpoints of openEO's profiles for processing data, storing jobs, UDPs and files."""
    wanted = """get / | get /collections | get /collections/{collection_id} | get /processes
        get /file_formats | get /conformance | get /credentials/basic | get /me
        post /result | post /validation | get /jobs | post /jobs | get /jobs/{job_id}
        patch /jobs/{job_id} | delete /jobs/{job_id} | get /jobs/{job_id}/logs
        get /jobs/{job_id}/results | post /jobs/{job_id}/results | delete /jobs/{job_id}/results
        get /process_graphs | get /process_graphs/{process_graph_id}
        put /process_graphs/{process_graph_id} | delete /process_graphs/{process_graph_id}
        get /files | get /files/{path} | put /files/{path} | delete /files/{path}
        get /udf_runtimes"""
    entries = [e.strip() for line in wanted.splitlines() for e in line.split("|")]
    named = {tuple(entry.split()) for entry in entries if entry}
    assert named <= set(api.operations())
    for path, entry in api.document["paths"].items():
        for described in entry.values():
            errors = [s for s in described["responses"] if s[0] == "4"]
            assert not described["security"] or {"401", "403"} <= set(errors), path


def test_examples_of_the_description_work(api: Api) -> None:
    for path, entry in api.document["paths"].items():
        for method, described in entry.items():
            content = described.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            url = api.url + path.format(**api.known)
            answer = requests.request(
                method, url, data=json.dumps(content["example"]), headers=api.token, timeout=60
            )
            assert answer.ok, (method, path, answer.text)


def test_no_answer_is_a_500_or_undescribed(api: Api) -> None:
    for method, path in api.operations():
        _ask(api, method, path)
    assert "Internal error" not in api.server.log.read_text()


def _ask(api: Api, method: str, path: str) -> None:
    operation = api.schema[path][method.upper()]
    cases = st.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        if _can_be_wrong(operation)
        else operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
    )

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, real=st.booleans(), allowed=st.integers(0, 7))
    def ask(case: Any, real: bool, allowed: int) -> None:
        if real and case.path_parameters:
            case.path_parameters.update(
                {k: v for k, v in api.known.items() if k in case.path_parameters}
            )
        case.headers.pop("Authorization", None)
        access: dict[str, Any] = {"auth": api.basic} if path.startswith("/credentials") else {}
        access = access or {"headers": api.token}
        response = case.call(base_url=api.url, timeout=30, **(access if allowed else {}))
        case.validate_response(response, checks=CHECKS)

    ask()


def _can_be_wrong(operation: Any) -> bool:
    return bool(operation.path_parameters or operation.query or operation.body)
