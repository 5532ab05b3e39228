"""Validation of STAC documents against schemas on disk, without network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7


class SchemaFolder:
    """The core schemas that pystac brings, and extensions in a folder that mirrors addresses."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._core = JsonSchemaSTACValidator().schema_cache
        self._registry: Registry[Any] = Registry(retrieve=self._retrieve)

    def _retrieve(self, uri: str) -> Resource[Any]:
        return DRAFT7.create_resource(self._load(uri))

    def _load(self, uri: str) -> Any:
        if uri in self._core:
            return self._core[uri]
        if uri.startswith("https://proj.org/"):
            return {"type": "object"}  # PROJJSON, which these documents do not use
        return json.loads((self._folder / uri.removeprefix("https://").rstrip("#")).read_text())

    @cache  # noqa: B019 - a handful of schemas, as long as the tests run
    def _validator(self, uri: str) -> Draft7Validator:
        return Draft7Validator(self._load(uri), registry=self._registry)

    def check(self, document: Mapping[str, Any]) -> None:
        """Raise with all errors when the document breaks its core schema or an extension's."""
        kinds = {"Feature": "item", "Collection": "collection", "Catalog": "catalog"}
        kind = kinds[document["type"]]
        version = document["stac_version"]
        core = f"https://schemas.stacspec.org/v{version}/{kind}-spec/json-schema/{kind}.json"
        errors = [
            f"{schema}: {error.json_path}: {error.message[:300]}"
            for schema in [core, *document.get("stac_extensions", ())]
            for error in self._validator(schema).iter_errors(document)
        ]
        if errors:
            raise ValueError("\n".join(errors))
