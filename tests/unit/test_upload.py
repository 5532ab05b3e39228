"""Uploading geometries to a real store on the loopback: PUT with basic auth, and a workspace."""

from __future__ import annotations

import base64
import io
import socket
from typing import Any

import geopandas as gpd
import pytest
from geopandas.testing import assert_geodataframe_equal
from pytest_httpserver import HTTPServer
from shapely.geometry import Point, Polygon, box
from werkzeug import Request, Response

from openeo_gfmap.errors import InputError, InvalidGeometry, MissingCrs, UploadFailed
from openeo_gfmap.utils import upload_geoparquet
from support.fake_openeo import PASSWORD, USER, FakeOpenEO

AUTHORISED = {"Authorization": f"Basic {base64.b64encode(b'alice:secret').decode()}"}


@pytest.fixture
def patches() -> gpd.GeoDataFrame:
    squares = [box(x, 5_600_000, x + 640, 5_600_640) for x in (500_000, 510_000)]
    columns = {"sample_id": ["a", "b"], "extract": [True, False]}
    return gpd.GeoDataFrame(columns, geometry=squares, crs=32631, index=[7, 7])


class Store:
    """Keeps what is PUT below /store, by answers given in advance and then 201."""

    def __init__(self, server: HTTPServer, *answers: int) -> None:
        self.answers = list(answers)
        self.received: list[bytes] = []
        self.url = server.url_for("/store")
        server.expect_request(
            "/store/jobs/p_1.parquet", method="PUT", headers=AUTHORISED
        ).respond_with_handler(self.put)

    def put(self, request: Request) -> Response:
        self.received.append(request.get_data())
        status = self.answers.pop(0) if self.answers else 201
        return Response("disk is full" if status >= 400 else "", status)


@pytest.mark.parametrize("status", [200, 201, 204])
def test_store_gets_a_geoparquet_file(
    status: int, patches: gpd.GeoDataFrame, httpserver: HTTPServer
) -> None:
    store = Store(httpserver, status)
    url = upload_geoparquet(patches, "jobs/p_1.parquet", store.url, auth=("alice", "secret"))
    assert url == f"{store.url}/jobs/p_1.parquet"
    stored = gpd.read_parquet(io.BytesIO(store.received[0]))
    assert_geodataframe_equal(stored, patches.reset_index(drop=True))


def test_suffix_is_added_and_slashes_do_not_double(
    patches: gpd.GeoDataFrame, httpserver: HTTPServer
) -> None:
    store = Store(httpserver)
    url = upload_geoparquet(patches, "jobs/p_1", f"{store.url}/", auth=("alice", "secret"))
    assert url == f"{store.url}/jobs/p_1.parquet"


def test_passing_failure_is_tried_again(patches: gpd.GeoDataFrame, httpserver: HTTPServer) -> None:
    store = Store(httpserver, 503, 500)
    upload_geoparquet(patches, "jobs/p_1", store.url, auth=("alice", "secret"))
    assert len(store.received) == 3
    assert len(set(store.received)) == 1


@pytest.mark.parametrize("status", [400, 403, 507])
def test_refusal_is_told_with_the_stores_words(
    status: int, patches: gpd.GeoDataFrame, httpserver: HTTPServer
) -> None:
    store = Store(httpserver, status)
    with pytest.raises(UploadFailed, match=rf"{status}.*disk is full") as caught:
        upload_geoparquet(patches, "jobs/p_1", store.url, auth=("alice", "secret"))
    assert "secret" not in str(caught.value)
    assert len(store.received) == 1


def test_wrong_password(patches: gpd.GeoDataFrame, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/store/p.parquet").respond_with_data("who are you?", status=401)
    with pytest.raises(UploadFailed, match=r"401.*credentials"):
        upload_geoparquet(patches, "p", httpserver.url_for("/store"), auth=("alice", "guess"))


def test_nobody_answers(patches: gpd.GeoDataFrame) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(UploadFailed, match="could not be reached"):
        upload_geoparquet(patches, "p", f"http://127.0.0.1:{port}")


def test_workspace_of_a_back_end(patches: gpd.GeoDataFrame, httpserver: HTTPServer) -> None:
    service = FakeOpenEO(httpserver)
    service.accept_files()
    connection = service.connect().authenticate_basic(USER, PASSWORD)
    url = upload_geoparquet(patches, "jobs/p 1", connection)
    assert url == f"{service.url}/files/jobs/p%201.parquet"
    stored = gpd.read_parquet(io.BytesIO(service.files["jobs/p 1.parquet"]))
    assert stored.crs == patches.crs


def test_workspace_refuses_who_is_not_logged_in(
    patches: gpd.GeoDataFrame, httpserver: HTTPServer
) -> None:
    service = FakeOpenEO(httpserver)
    service.accept_files()
    with pytest.raises(UploadFailed, match="authenticated"):
        upload_geoparquet(patches, "p", service.connect())


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../p", "a/../../p", "."])
def test_name_stays_inside_the_store(name: str, patches: gpd.GeoDataFrame) -> None:
    with pytest.raises(InputError, match="file name"):
        upload_geoparquet(patches, name, "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("geometries", "crs", "error", "hint"),
    [
        ([Point(1, 2)], None, MissingCrs, "set_crs"),
        ([], 4326, InvalidGeometry, "no geometries"),
        ([Point(1, 2), None, Polygon()], 4326, InvalidGeometry, r"\[1, 2\]"),
    ],
)
def test_unusable_geometries(
    geometries: list[Any], crs: int | None, error: type[Exception], hint: str
) -> None:
    gdf = gpd.GeoDataFrame({"n": range(len(geometries))}, geometry=geometries, crs=crs)
    with pytest.raises(error, match=hint):
        upload_geoparquet(gdf, "p", "http://127.0.0.1:1")


def test_credentials_in_the_address_are_refused_and_not_repeated() -> None:
    gdf = gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs=4326)
    with pytest.raises(InputError, match=r"store\.example holds a user name.*auth=") as caught:
        upload_geoparquet(gdf, "a", "https://me:secret@store.example/x")
    assert "secret" not in str(caught.value)
