"""STAC APIs as a source, against a real server on the loopback."""

from __future__ import annotations

import json
import pickle
from datetime import date
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from openeo_gfmap.local.catalog import Catalog
from openeo_gfmap.local.errors import OpenEOError
from openeo_gfmap.local.stac_api import ApiSource
from support.scenes import item

MOL = (5.0, 51.0, 5.1, 51.1)
JUNE = (date(2023, 6, 1), date(2023, 7, 1))


def june(day: int, **fields: object) -> dict:
    return item(f"day-{day:02d}", datetime=f"2023-06-{day:02d}T10:00:00Z", **fields)


class StacApi:
    """A small STAC API: two items a page, POST or GET, what was asked is kept."""

    def __init__(self, server: HTTPServer, items: list[dict], *, methods: tuple[str, ...]):
        self.items, self.methods, self.asked = items, methods, []
        server.expect_request("/stac/search").respond_with_handler(self.search)
        self.url = server.url_for("/stac")

    def search(self, request: Request) -> Response:
        if request.method not in self.methods:
            return Response("method not allowed", status=405)
        query = request.get_json() if request.method == "POST" else dict(request.args)
        self.asked.append(query)
        begin = int(query.get("token") or 0)
        page = {"type": "FeatureCollection", "features": self.items[begin : begin + 2]}
        if begin + 2 < len(self.items):
            link = {"rel": "next", "href": "/stac/search", "method": request.method}
            if request.method == "POST":
                link |= {"body": {"token": begin + 2}, "merge": True}
            else:
                link["href"] += f"?bbox={query['bbox']}&token={begin + 2}"
            page["links"] = [link]
        return Response(json.dumps(page), content_type="application/geo+json")


@pytest.mark.parametrize("methods", [("POST",), ("GET",), ("GET", "POST")])
def test_pages_are_followed(httpserver: HTTPServer, methods: tuple[str, ...]) -> None:
    api = StacApi(httpserver, [june(d) for d in (5, 4, 3, 2, 1)], methods=methods)
    source = ApiSource(api.url, "sentinel-2-l2a")
    found = source.search([MOL], *JUNE)
    assert [i["id"] for i in found] == [f"day-0{d}" for d in range(1, 6)]
    assert len(api.asked) == 3
    assert all(
        query["bbox"] in ([5.0, 51.0, 5.1, 51.1], "5.0,51.0,5.1,51.1") for query in api.asked
    )
    if "POST" in methods:
        assert api.asked[2]["collections"] == ["sentinel-2-l2a"]  # merged into the next request
    else:
        assert api.asked[0]["collections"] == "sentinel-2-l2a"
    assert api.asked[0]["datetime"] == "2023-06-01T00:00:00Z/2023-07-01T00:00:00Z"


def test_hrefs_become_absolute(httpserver: HTTPServer) -> None:
    api = StacApi(httpserver, [june(1)], methods=("POST",))
    (found,) = ApiSource(api.url).search([MOL], *JUNE)
    assert found["assets"]["B04"]["href"] == httpserver.url_for("/stac/B04.tif")


def test_what_the_api_gives_too_much_is_left_out(httpserver: HTTPServer) -> None:
    items = [
        june(1),
        item("july", datetime="2023-07-01T00:00:00Z"),  # APIs include the end
        june(2, bbox=(7.0, 51.0, 7.1, 51.1)),
    ]
    api = StacApi(httpserver, items, methods=("POST",))
    assert [i["id"] for i in ApiSource(api.url).search([MOL], *JUNE)] == ["day-01"]


def test_near_areas_share_a_request(httpserver: HTTPServer) -> None:
    api = StacApi(httpserver, [june(1)], methods=("POST",))
    near = [(5.0 + i / 100, 51.0, 5.001 + i / 100, 51.001) for i in range(60)]
    far = (-60.0, -10.0, -59.9, -9.9)
    ApiSource(api.url).search([*near, far], *JUNE)
    assert [q["bbox"] for q in api.asked] == [list(far), [5.0, 51.0, 5.591, 51.001]]


def test_area_across_the_antimeridian_is_two_boxes(httpserver: HTTPServer) -> None:
    across = june(1, bbox=(179.9, -18, -179.9, -17))
    api = StacApi(httpserver, [across], methods=("POST",))
    found = ApiSource(api.url).search([(179.5, -18.0, -179.5, -17.0)], *JUNE)
    assert [q["bbox"] for q in api.asked] == [
        [-180.0, -18.0, -179.5, -17.0],
        [179.5, -18.0, 180.0, -17.0],
    ]
    assert [i["id"] for i in found] == ["day-01"]  # once, though both boxes have it


@pytest.mark.parametrize("status", [429, 500, 503])
def test_tries_again(httpserver: HTTPServer, status: int) -> None:
    page = {"type": "FeatureCollection", "features": [june(1)]}
    for _ in range(2):
        httpserver.expect_ordered_request("/search").respond_with_data("busy", status=status)
    httpserver.expect_ordered_request("/search").respond_with_json(page)
    source = ApiSource(httpserver.url_for("/"), backoff_seconds=0.01)
    assert [i["id"] for i in source.search([MOL], *JUNE)] == ["day-01"]
    httpserver.check_assertions()


def test_gives_up_with_a_clear_error(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/search").respond_with_data("out of order", status=503)
    source = ApiSource(httpserver.url_for("/"), retries=2, backoff_seconds=0.01)
    with pytest.raises(OpenEOError, match="HTTP 503: out of order") as error:
        source.search([MOL], *JUNE)
    assert error.value.code == "SourceUnavailable"
    assert len(httpserver.log) == 3


def test_a_refused_search_is_not_repeated(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/search").respond_with_data("bbox too large", status=400)
    with pytest.raises(OpenEOError, match="HTTP 400: bbox too large"):
        ApiSource(httpserver.url_for("/")).search([MOL], *JUNE)
    assert len(httpserver.log) == 1


def test_nobody_listens() -> None:
    source = ApiSource("http://127.0.0.1:9", retries=1, backoff_seconds=0.01)
    with pytest.raises(OpenEOError, match="did not answer") as error:
        source.search([MOL], *JUNE)
    assert error.value.code == "SourceUnavailable"


@pytest.mark.parametrize("body", ["<html>", "[]"])
def test_an_answer_that_is_no_item_collection(httpserver: HTTPServer, body: str) -> None:
    httpserver.expect_request("/search").respond_with_data(body, content_type="application/json")
    with pytest.raises(OpenEOError, match="STAC API"):
        ApiSource(httpserver.url_for("/")).search([MOL], *JUNE)


def test_a_page_that_links_to_itself(httpserver: HTTPServer) -> None:
    page = {"features": [june(1)], "links": [{"rel": "next", "href": "/search?page=2"}]}
    httpserver.expect_request("/search").respond_with_json(page)
    with pytest.raises(OpenEOError, match="links a page of its search answer to itself"):
        ApiSource(httpserver.url_for("/")).search([MOL], *JUNE)


def test_real_answer(httpserver: HTTPServer, shared_data: Path) -> None:
    answer = json.loads((shared_data / "stac_items/cdse_stac_search_answer.json").read_text())
    httpserver.expect_request("/search").respond_with_json(answer)
    source = ApiSource(httpserver.url_for("/"), "sentinel-2-l2a")
    (found,) = source.search([(35.0, 2.0, 35.1, 2.1)], date(2020, 3, 1), date(2020, 4, 1))
    assert found["assets"]["B02_10m"]["href"].startswith("s3://eodata/")


def test_first_items_and_pickling(httpserver: HTTPServer) -> None:
    api = StacApi(httpserver, [june(d) for d in range(1, 8)], methods=("POST",))
    source = ApiSource(api.url)
    assert len(source.first_items(3)) == 3
    assert len(api.asked) == 2
    assert len(pickle.loads(pickle.dumps(source)).first_items(1)) == 1


class TestOtherMissions:
    """An API may answer with more than it was asked for; SENTINEL2_L2A must not take it."""

    LANDSAT = june(3, collection="landsat-c2-l2")

    def test_are_left_out(self, httpserver: HTTPServer, caplog: pytest.LogCaptureFixture) -> None:
        api = StacApi(httpserver, [june(2), self.LANDSAT], methods=("POST",))
        httpserver.expect_request("/stac").respond_with_json(
            {"conformsTo": [], "links": [{"rel": "search", "href": f"{api.url}/search"}]}
        )
        catalog = Catalog.from_settings({"SENTINEL2_L2A": api.url}, Path("unused"))
        scenes = catalog.get("SENTINEL2_L2A").scenes([MOL], *JUNE)
        assert [scene.id for scene in scenes] == ["day-02"]
        assert api.asked[0]["collections"] == ["sentinel-2-l2a"]
        assert "Left out 1 of 2 items" in caplog.text and "landsat-c2-l2" in caplog.text

    def test_alone_are_an_error(self, httpserver: HTTPServer) -> None:
        api = StacApi(httpserver, [self.LANDSAT], methods=("POST",))
        place = f"{api.url}#landsat-c2-l2"
        catalog = Catalog.from_settings({"SENTINEL2_L2A": place}, Path("unused"))
        with pytest.raises(OpenEOError, match=r"None of the 1 items .* landsat-c2-l2") as caught:
            catalog.get("SENTINEL2_L2A").scenes([MOL], *JUNE)
        assert caught.value.code == "SourceInvalid"

    def test_nothing_found_is_no_error(self, httpserver: HTTPServer) -> None:
        api = StacApi(httpserver, [], methods=("POST",))
        place = f"{api.url}#sentinel-2-l2a"
        catalog = Catalog.from_settings({"SENTINEL2_L2A": place}, Path("unused"))
        assert catalog.get("SENTINEL2_L2A").scenes([MOL], *JUNE) == []
