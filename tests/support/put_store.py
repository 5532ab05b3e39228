"""An artifact store on loopback: PUT with basic auth answers 201, GET is public."""

from __future__ import annotations

import base64
import re

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response


class PutStore:
    """Files that were put, by path.

    Attributes
    ----------
    files
        Body of each stored path.
    """

    def __init__(self, server: HTTPServer, user: str, password: str):
        self.files: dict[str, bytes] = {}
        self._token = base64.b64encode(f"{user}:{password}".encode()).decode()
        server.expect_request(re.compile(r"/store/.*")).respond_with_handler(self._answer)
        self.url = server.url_for("/store")

    def _answer(self, request: Request) -> Response:
        if request.method == "PUT":
            if request.headers.get("Authorization") != f"Basic {self._token}":
                return Response("no", status=401)
            self.files[request.path] = request.get_data()
            return Response(status=201)
        body = self.files.get(request.path)
        return Response(status=404) if body is None else Response(body)
