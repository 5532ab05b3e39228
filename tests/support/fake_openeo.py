"""A loopback openEO service that answers what building graphs and logging in ask for."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import parse_qs

import openeo
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from openeo_gfmap.bands import BASE_SENTINEL2_L2A_MAPPING

CLIENT_ID, CLIENT_SECRET = "robot", "hunter2"
USER, PASSWORD = "alice", "p@ss/word"
PROVIDER = "egi"


class FakeOpenEO:
    """Serves capabilities, one collection, basic and OIDC log-in, and stores uploaded files."""

    def __init__(self, server: HTTPServer) -> None:
        self.server = server
        self.url = server.url_for("").rstrip("/")
        self.files: dict[str, bytes] = {}
        answers = {
            "/": _capabilities(self.url),
            "/collections/SENTINEL2_L2A": _collection(),
            "/processes": {"processes": [], "links": []},
            "/file_formats": _file_formats(),
            "/.well-known/openeo": {
                "versions": [{"api_version": "1.2.0", "url": self.url, "production": True}]
            },
            "/credentials/oidc": {
                "providers": [
                    {
                        "id": PROVIDER,
                        "issuer": f"{self.url}/oidc",
                        "title": "",
                        "scopes": ["openid"],
                    }
                ]
            },
            "/oidc/.well-known/openid-configuration": {
                "issuer": f"{self.url}/oidc",
                "token_endpoint": f"{self.url}/oidc/token",
                "device_authorization_endpoint": f"{self.url}/oidc/device",
                "scopes_supported": ["openid"],
            },
            "/me": {"user_id": USER},
        }
        for path, answer in answers.items():
            server.expect_request(path, method="GET").respond_with_json(answer)
        server.expect_request("/oidc/token", method="POST").respond_with_handler(_token)
        server.expect_request("/credentials/basic").respond_with_handler(_basic)

    def connect(self) -> openeo.Connection:
        """Return a connection that is not logged in."""
        return openeo.connect(self.url)

    def accept_files(self) -> None:
        """Let PUT /files/<path> store what it gets, for whoever is logged in."""

        def store(request: Request) -> Response:
            if request.headers.get("Authorization") != "Bearer basic//token":
                return Response('{"code": "AuthenticationRequired", "message": "who?"}', 401)
            path = request.path.removeprefix("/files/")
            self.files[path] = request.get_data()
            body = {"path": path, "size": len(self.files[path]), "modified": "2024-01-01T00:00:00Z"}
            return _json(body)

        self.server.expect_request(re.compile("/files/.+"), method="PUT").respond_with_handler(
            store
        )


def _json(body: object, status: int = 200) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


def _token(request: Request) -> Response:
    form = {key: values[0] for key, values in parse_qs(request.get_data(as_text=True)).items()}
    if form.get("client_id") == CLIENT_ID and form.get("client_secret") == CLIENT_SECRET:
        return _json({"access_token": "granted", "token_type": "Bearer"})
    return _json({"error": "unauthorized_client"}, 401)


def _basic(request: Request) -> Response:
    expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    if request.headers.get("Authorization") == f"Basic {expected}":
        return _json({"access_token": "token"})
    return _json({"code": "CredentialsInvalid", "message": "no such user"}, 403)


def _capabilities(url: str) -> dict[str, object]:
    paths = [
        "/collections/{collection_id}",
        "/credentials/oidc",
        "/credentials/basic",
        "/processes",
    ]
    return {
        "api_version": "1.2.0",
        "backend_version": "0",
        "stac_version": "1.0.0",
        "id": "fake",
        "title": "Fake",
        "description": "Fake",
        "endpoints": [{"path": path, "methods": ["GET"]} for path in paths],
        "links": [],
    }


def _file_formats() -> dict[str, object]:
    def formats(*names: str) -> dict[str, object]:
        return {name: {"gis_data_types": [], "parameters": {}} for name in names}

    return {"input": formats("GeoJSON", "Parquet"), "output": formats("NetCDF", "Parquet")}


def _collection() -> dict[str, object]:
    bands = list(BASE_SENTINEL2_L2A_MAPPING)
    return {
        "stac_version": "1.0.0",
        "id": "SENTINEL2_L2A",
        "description": "",
        "license": "proprietary",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[None, None]]},
        },
        "links": [],
        "cube:dimensions": {
            "x": {"type": "spatial", "axis": "x"},
            "y": {"type": "spatial", "axis": "y"},
            "t": {"type": "temporal"},
            "bands": {"type": "bands", "values": bands},
        },
        "summaries": {"eo:bands": [{"name": band} for band in bands]},
    }
