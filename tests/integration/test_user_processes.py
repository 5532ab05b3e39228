"""User-defined processes through the real client: stored here, or read from an address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openeo
import pytest
import xarray as xr
from openeo.api.process import Parameter
from openeo.rest import OpenEoApiError
from pytest_httpserver import HTTPServer

from support.service import ServerProcess, ended


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("home") / "state").start() as server:
        yield server


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[openeo.Connection]:
    connection = server.connect()
    yield connection
    for known in connection.list_user_defined_processes():
        connection.user_defined_process(known["id"]).delete()


def node(id: str, /, namespace: str | None = None, **arguments: Any) -> dict[str, Any]:
    extra = {} if namespace is None else {"namespace": namespace}
    return {"process_id": id, "arguments": arguments, "result": True, **extra}


def parameter(name: str) -> dict[str, str]:
    return {"from_parameter": name}


FAHRENHEIT = {
    "scaled": {
        "process_id": "multiply",
        "arguments": {"x": parameter("celsius"), "y": 1.8},
    },
    "moved": node("add", x={"from_node": "scaled"}, y=parameter("zero")),
}
CELSIUS = Parameter("celsius", "A temperature.", schema={"type": "number"})
ZERO = Parameter("zero", "The freezing point.", schema={"type": "number"}, default=32)


def store(connection: openeo.Connection, id: str = "fahrenheit") -> None:
    connection.save_user_defined_process(id, FAHRENHEIT, [CELSIUS, ZERO], summary="Convert.")


def value_of(connection: openeo.Connection, graph: dict[str, Any]) -> Any:
    return json.loads(connection.download(graph))


def test_stored_listed_described_replaced_deleted(connection: openeo.Connection) -> None:
    store(connection)
    (listed,) = connection.list_user_defined_processes()
    assert listed["id"] == "fahrenheit" and listed["summary"] == "Convert."
    assert [p["name"] for p in listed["parameters"]] == ["celsius", "zero"]
    assert "process_graph" not in listed
    described = connection.user_defined_process("fahrenheit").describe()
    assert described["process_graph"] == FAHRENHEIT
    connection.save_user_defined_process(
        "fahrenheit", {"same": node("constant", x=parameter("celsius"))}, [CELSIUS]
    )
    assert value_of(connection, {"n": node("fahrenheit", "user", celsius=5)}) == 5
    connection.user_defined_process("fahrenheit").delete()
    assert not connection.list_user_defined_processes()
    with pytest.raises(OpenEoApiError, match=r"\[404\] ProcessGraphNotFound"):
        connection.user_defined_process("fahrenheit").describe()


@pytest.mark.parametrize(
    ("graph", "code", "text"),
    [
        (node("fahrenheit"), "ProcessParameterMissing", "celsius"),
        (node("fahrenheit", kelvin=1), "ProcessParameterUnsupported", "kelvin"),
        (node("fahrenheit", celsius="hot"), "ProcessParameterInvalid", "number"),
        (node("fahrenheit", "backend", celsius=1), "ProcessUnsupported", "fahrenheit"),
        (node("nothing", "user"), "ProcessUnsupported", "nothing"),
        (node("fahrenheit", "@someone", celsius=1), "ProcessUnsupported", "@someone"),
        (
            node("fahrenheit", "https://127.0.0.1:1/x.json", celsius=1),
            "ProcessUnsupported",
            "x.jso",
        ),
    ],
)
def test_wrong_calls_are_told_with_their_node(
    connection: openeo.Connection, graph: Any, code: str, text: str
) -> None:
    store(connection)
    (error,) = connection.validate_process_graph({"n": graph})
    assert error["code"] == code and error["node"] == "n" and text in error["message"]
    with pytest.raises(OpenEoApiError, match=f"{code}: Node 'n'"):
        connection.create_job({"n": graph}, validate=False)


def test_errors_inside_are_those_of_the_node_that_calls(connection: openeo.Connection) -> None:
    connection.save_user_defined_process(
        "load", {"l": node("load_collection", id="NOPE", spatial_extent=parameter("box"),
                           temporal_extent=["2023-01-01", "2023-02-01"])},
        [Parameter("box", "Where.", schema={"type": "object"})],
    )  # fmt: skip
    box = {"west": 5, "south": 51, "east": 5.1, "north": 51.1}
    (error,) = connection.validate_process_graph({"n": node("load", box=box)})
    assert (error["code"], error["node"]) == ("CollectionNotFound", "n")


def test_cycles_are_refused(connection: openeo.Connection) -> None:
    def calls(id: str) -> dict[str, Any]:
        return {"process_graph": {"n": node(id, x=parameter("x"))}, "parameters": [{"name": "x"}]}

    connection.put("/process_graphs/one", json=calls("two"))
    with pytest.raises(OpenEoApiError, match=r"ProcessGraphInvalid: .*two → one → two"):
        connection.put("/process_graphs/two", json=calls("one"))
    with pytest.raises(OpenEoApiError, match=r"ProcessGraphInvalid: .*self → self"):
        connection.put("/process_graphs/self", json=calls("self"))


def greenest() -> dict[str, Any]:
    """A process on cubes, with a callback and with parameters that reach into it."""
    graph = {
        "load": {
            "process_id": "load_collection",
            "arguments": {
                "id": "SENTINEL2_L2A",
                "spatial_extent": parameter("place"),
                "temporal_extent": ["2022-06-01", "2022-06-16"],
                "bands": parameter("bands"),
            },
        },
        "brightest": node(
            "reduce_dimension",
            data={"from_node": "load"},
            dimension="t",
            reducer={"process_graph": {"max": node("max", data=parameter("data"))}},
        ),
    }
    bands = Parameter("bands", "Which.", schema={"type": "array"}, default=["B08"])
    place = Parameter("place", "Where.", schema={"type": "object"})
    return {
        "id": "brightest",
        "process_graph": graph,
        "parameters": [place.to_dict(), bands.to_dict()],
    }


PLACE = {"west": 640000, "south": 5665000, "east": 640160, "north": 5665160, "crs": 32631}


def test_a_job_of_a_process_from_an_address(
    connection: openeo.Connection, httpserver: HTTPServer, tmp_path: Path
) -> None:
    httpserver.expect_request("/brightest.json").respond_with_json(greenest())
    url = httpserver.url_for("/brightest.json")
    cube = connection.datacube_from_process("brightest", namespace=url, place=PLACE)
    job = cube.create_job(out_format="NetCDF")
    assert job.describe()["process"]["process_graph"]["brightest1"]["namespace"] == url
    job.start()
    assert ended(job) == "finished", job.logs()
    (file,) = job.get_results().download_files(tmp_path, include_stac_metadata=False)
    with xr.open_dataset(file) as result:
        assert dict(result.sizes) == {"x": 16, "y": 16} and "B08" in result


def test_a_process_of_a_list_at_an_address(
    connection: openeo.Connection, httpserver: HTTPServer
) -> None:
    others = [{"id": "other", "process_graph": {"n": node("e")}}, greenest()]
    httpserver.expect_request("/all").respond_with_json({"processes": others})
    url = httpserver.url_for("/all")
    assert value_of(connection, {"n": node("other", url)}) == pytest.approx(2.718281828)
    good = {"n": node("brightest", url, place=PLACE, bands=["B02"])}
    assert connection.validate_process_graph(good) == []
    (error,) = connection.validate_process_graph(
        {"n": node("brightest", url, place=PLACE, bands=["B99"])}
    )
    assert error["node"] == "n" and "B99" in error["message"]
    with pytest.raises(OpenEoApiError, match=r"ProcessUnsupported: .*'else' at"):
        connection.datacube_from_process("else", namespace=url).create_job(validate=False)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"no JSON", "no JSON"),
        (b"[]", "does not define"),
        (b'{"id": "p"}', "no process_graph"),
        (b'{"id": "p", "process_graph": {"n": 1}}', "no process node"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, ""),
    ],
)
def test_addresses_without_a_process(
    connection: openeo.Connection, httpserver: HTTPServer, answer: bytes, text: str
) -> None:
    httpserver.expect_request("/p.json").respond_with_data(answer)
    graph = {"n": node("p", httpserver.url_for("/p.json"))}
    (error,) = connection.validate_process_graph(graph)
    assert text in error["message"] and error["node"] == "n"


def test_a_process_deleted_since_fails_the_job(connection: openeo.Connection) -> None:
    store(connection)
    job = connection.create_job({"n": node("fahrenheit", celsius=1)})
    connection.user_defined_process("fahrenheit").delete()
    job.start()
    assert ended(job) == "error"
    (entry,) = job.logs(level="error")
    assert entry["code"] == "ProcessUnsupported" and "fahrenheit" in entry["message"]


def test_parameters_of_a_job_need_values(connection: openeo.Connection) -> None:
    body = {
        "process": {
            "process_graph": {"n": node("absolute", x=parameter("v"))},
            "parameters": [{"name": "v", "description": "", "schema": {}}],
        }
    }
    with pytest.raises(OpenEoApiError, match=r"ProcessParameterMissing: Node 'n'.*'v'"):
        connection.post("/jobs", json=body)
    assert connection.post("/validation", json=body["process"]).json()["errors"] == []
    body["process"]["parameters"][0]["default"] = -3
    assert connection.post("/result", json=body).json() == 3


@pytest.mark.parametrize(
    ("id", "body", "code"),
    [
        ("a-b", {"process_graph": {"n": node("e")}}, "ProcessInvalid"),
        ("ab", {"id": "c", "process_graph": {"n": node("e")}}, "ProcessInvalid"),
        ("ab", {}, "ProcessGraphMissing"),
        ("ab", {"process_graph": {"n": 1}}, "ProcessGraphInvalid"),
        ("ab", {"process_graph": {"n": node("e")}, "parameters": {}}, "ProcessInvalid"),
        ("ab", {"process_graph": {"n": node("e")}, "parameters": [1]}, "ProcessInvalid"),
        ("ab", {"process_graph": {"n": node("e")}, "parameters": [{"name": "x"}] * 2},
         "ProcessInvalid"),
        ("ab", {"process_graph": {"n": node("e")}, "summary": 5}, "ProcessInvalid"),
    ],
)  # fmt: skip
def test_formless_processes_are_not_stored(
    connection: openeo.Connection, id: str, body: Any, code: str
) -> None:
    with pytest.raises(OpenEoApiError, match=rf"\[400\] {code}"):
        connection.put(f"/process_graphs/{id}", json=body)
    assert not connection.list_user_defined_processes()
