"""Tokens, passwords and signatures are taken out of what is written; all else stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeo_gfmap.manager.secrets import may_hold_secrets, without_secrets

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://a.b/c.nc?X-Amz-Credential=me&X-Amz-Signature=s3cr3t", "https://a.b/c.nc"),
        ("s3://bucket/c.nc?AWSAccessKeyId=s3cr3t&Expires=1", "s3://bucket/c.nc"),
        ("https://a.blob/c.tif?sv=2020&sig=s3cr3t%3D", "https://a.blob/c.tif"),
        ("https://user:s3cr3t@host:80/path", "https://host:80/path"),
        ("https://a.b/x?token=s3cr3t", "https://a.b/x"),
        ('load("https://a.b/x?Signature=s3cr3t") + 1', 'load("https://a.b/x") + 1'),
        ("Authorization: Bearer s3cr3t-s3cr3t", "Authorization: Bearer [taken out]"),
        (f"it was {JWT}.", "it was [taken out]."),
    ],
)
def test_what_lets_others_in_is_taken_out(text: str, clean: str) -> None:
    taken: list[str] = []
    assert without_secrets({"a": [0, {"b": text}]}, taken) == {"a": [0, {"b": clean}]}
    assert taken == ["a/1/b"]


@pytest.mark.parametrize(
    "text",
    [
        "https://earth-search/v1/search?collections=sentinel-2-l2a&limit=100",
        "sigma0-ellipsoid; the key to all tokens is a secret",
        "mail me@example.org, basic idea: use a policy",
        "https://host/a@b/c",
        "",
    ],
)
def test_what_lets_nobody_in_stays(text: str) -> None:
    taken: list[str] = []
    assert without_secrets([text], taken) == [text]
    assert taken == []


def test_names_tell_secrets_too() -> None:
    document = {
        "token": "abc", "api_key": "abc", "client-secret": "abc", "password": "", "keyword": "abc",
        "context": {"AWS_SECRET": "abc", "tokens": 3},
    }  # fmt: skip
    taken: list[str] = []
    clean = without_secrets(document, taken)
    assert taken == ["token", "api_key", "client-secret", "context/AWS_SECRET"]
    assert clean["token"] == "[taken out]"
    assert clean["keyword"] == "abc" and clean["context"]["tokens"] == 3
    assert document["token"] == "abc"


words = st.sampled_from(
    ["token", "password", "a", "X-Amz-Signature=q", "https://u:p@h/x?sig=1", JWT, "Bearer 12345678"]
)
json_values = st.recursive(
    st.none() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
)


@given(json_values)
def test_a_glance_misses_nothing(value: Any) -> None:
    taken: list[str] = []
    clean = without_secrets(value, taken)
    if not may_hold_secrets(json.dumps(value, separators=(",", ":"))):
        assert clean == value
    assert without_secrets(clean, []) == clean
