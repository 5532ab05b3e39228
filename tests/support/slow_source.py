"""A file on HTTP that comes when the test lets it: a job that loads it hangs until then."""

from __future__ import annotations

import threading
from types import TracebackType

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

FEATURES = (
    b'{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"id": 7},'
    b' "geometry": {"type": "Point", "coordinates": [5.0, 51.2]}}]}'
)


class SlowSource:
    """Serve one GeoJSON file, once released.

    Attributes
    ----------
    requests
        How often it was asked for.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._released = threading.Event()
        self._server = HTTPServer(host="127.0.0.1", threaded=True)
        self._server.expect_request("/features.geojson").respond_with_handler(self._answer)

    def __enter__(self) -> SlowSource:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self.release()
        self._server.stop()

    def release(self) -> None:
        self._released.set()

    @property
    def graph(self) -> dict[str, object]:
        """A process graph that loads the file."""
        url = self._server.url_for("/features.geojson")
        arguments = {"url": url, "format": "GeoJSON"}
        return {"load": {"process_id": "load_url", "arguments": arguments, "result": True}}

    def _answer(self, request: Request) -> Response:
        self.requests += 1
        self._released.wait(60)
        return Response(FEATURES, content_type="application/geo+json")
