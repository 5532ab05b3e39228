"""The manager's own requests: what is read from the environment for them."""

from __future__ import annotations

import openeo
import pytest

from openeo_gfmap.manager import access
from openeo_gfmap.manager.options import ManagerOptions
from support.fake_backend import fake_backend


def proxies(connection: openeo.Connection, url: str) -> dict[str, str]:
    settings = connection.session.merge_environment_settings(url, {}, None, None, None)
    return dict(settings["proxies"])


def test_proxies_are_read_once_for_each_host_and_always_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fake_backend() as backend:
        connection = openeo.connect(backend.url)
    access.attend(connection, ManagerOptions())
    access.attend(connection, ManagerOptions())  # again: nothing changes
    monkeypatch.setenv("NO_PROXY", "near.example")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:1")
    near, far = "https://near.example/a", "https://far.example/a"
    with access.managed():
        assert "https" not in proxies(connection, near)
        assert proxies(connection, far)["https"] == "http://proxy.example:1"
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:2")
    with access.managed():
        assert proxies(connection, far + "/other")["https"] == "http://proxy.example:1"
        assert "https" not in proxies(connection, near)
    assert proxies(connection, far)["https"] == "http://proxy.example:2"
