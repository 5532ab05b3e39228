"""JSON schemas of what this server takes and gives, for its OpenAPI description.

They say what is served, which is at times less than the openEO API would allow: an optional member
that never comes is left out, and those that always come are required.
"""

from __future__ import annotations

from typing import Any

from .joblog import LEVELS

__all__ = ["SCHEMAS", "array", "ref"]

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_ANY_OBJECT: Schema = {"type": "object"}
_NULLABLE_TEXT: Schema = {"type": ["string", "null"]}
_MOMENT: Schema = {"type": "string", "format": "date-time"}


def ref(name: str) -> Schema:
    """Return a reference to a schema of this module."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema, **more: Any) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items, **more}


def _object(required: str, **properties: Any) -> Schema:
    """Return the schema of an object; ``required`` names members, separated by blanks."""
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": required.split()} if required else schema


_NAMED: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_]{1,200}$"}

# How a process describes itself, beside its graph.
_PROCESS_MEMBERS: dict[str, Schema] = {
    "id": _NAMED,
    "summary": _NULLABLE_TEXT,
    "description": _NULLABLE_TEXT,
    "categories": {"type": ["array", "null"], "items": _TEXT},
    "parameters": {"type": ["array", "null"], "items": ref("Parameter"), "maxItems": 200},
    "returns": {"type": ["object", "null"]},
    "exceptions": {"type": ["object", "null"]},
    "examples": {"type": ["array", "null"]},
    "links": {"type": ["array", "null"]},
    "deprecated": {"type": ["boolean", "null"]},
    "experimental": {"type": ["boolean", "null"]},
}

_JOB_TEXTS: dict[str, Schema] = {
    "title": {"type": ["string", "null"], "maxLength": 100_000},
    "description": {"type": ["string", "null"], "maxLength": 100_000},
    "plan": {"type": ["string", "null"], "maxLength": 100_000},
}
_JOB_CHANGES: dict[str, Schema] = {
    "process": ref("Process"),
    **_JOB_TEXTS,
    "budget": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1e15},
    "log_level": {"type": "string", "enum": list(LEVELS)},
    "job_options": {"type": ["object", "null"]},
}
_STATUS: Schema = {
    "type": "string",
    "enum": ["created", "queued", "running", "canceled", "finished", "error"],
}
_JOB_MEMBERS: dict[str, Schema] = {
    "id": _TEXT,
    "status": _STATUS,
    "progress": {"type": "number", "minimum": 0, "maximum": 100},
    "created": _MOMENT,
    "updated": _MOMENT,
    "costs": {"type": "null"},
    "title": _TEXT,
    "description": _TEXT,
    "plan": _TEXT,
    "budget": {"type": "number"},
}
_JOB_REQUIRED = "id status progress created updated"

SCHEMAS: dict[str, Schema] = {
    "Error": _object(
        "id code message links",
        id=_TEXT,
        code=_TEXT,
        message=_TEXT,
        links=array(ref("Link")),
    ),
    "Link": _object("rel href", rel=_TEXT, href=_TEXT, type=_TEXT, title=_TEXT),
    "Node": {
        **_object(
            "process_id",
            process_id=_TEXT,
            namespace={
                "type": ["string", "null"],
                "description": "backend, user, or the address of a process definition. By default "
                "the user's processes are looked at first, then the predefined ones.",
            },
            arguments=_ANY_OBJECT,
            result={"type": "boolean"},
            description=_NULLABLE_TEXT,
        ),
        "description": "One call of a process.",
    },
    "ProcessGraph": {
        "type": "object",
        "description": 'Calls of processes by id; exactly one has "result": true.',
        "minProperties": 1,
        "additionalProperties": ref("Node"),
    },
    "Parameter": _object(
        "name",
        name=_NAMED,
        description=_TEXT,
        schema={
            "anyOf": [
                _object("", type={"anyOf": [_TEXT, array(_TEXT)]}),
                array(_object("", type={"anyOf": [_TEXT, array(_TEXT)]})),
            ]
        },
        optional={"type": "boolean"},
        default={},
        deprecated={"type": "boolean"},
        experimental={"type": "boolean"},
    ),
    "Process": {
        **_object("process_graph", process_graph=ref("ProcessGraph"), **_PROCESS_MEMBERS),
        "description": "A process that is defined by a process graph.",
    },
    "StoredProcess": _object("id", **_PROCESS_MEMBERS),
    "PredefinedProcess": _object(
        "id summary description categories parameters returns",
        id=_NAMED,
        summary=_TEXT,
        description=_TEXT,
        categories=array(_TEXT),
        parameters=array({**ref("Parameter"), "required": ["name", "description", "schema"]}),
        returns=_object("description schema", description=_TEXT, schema={}),
    ),
    "ValidationErrors": _object(
        "errors",
        errors=array(
            _object(
                "id code message node", id=_TEXT, code=_TEXT, message=_TEXT, node=_NULLABLE_TEXT
            )
        ),
    ),
    "NewJob": {**_object("process", **_JOB_CHANGES)},
    "JobChanges": {**_object("", **_JOB_CHANGES), "minProperties": 1},
    "SyncRequest": {
        **_object("process", **_JOB_CHANGES),
        "description": "Of the members beside process only job_options counts.",
    },
    "Job": _object(_JOB_REQUIRED, **_JOB_MEMBERS),
    "JobWithProcess": _object(
        f"{_JOB_REQUIRED} process log_level",
        **_JOB_MEMBERS,
        process=ref("Process"),
        log_level={"type": "string", "enum": list(LEVELS)},
        job_options=_ANY_OBJECT,
        usage=_ANY_OBJECT,
    ),
    "Jobs": _object("jobs links", jobs=array(ref("Job")), links=array(ref("Link"))),
    "Logs": _object(
        "level logs links",
        level={"type": "string", "enum": list(LEVELS)},
        logs=array(
            _object(
                "id level message",
                id=_TEXT,
                level={"type": "string", "enum": list(LEVELS)},
                message=_TEXT,
                time=_MOMENT,
                code=_TEXT,
            )
        ),
        links=array(ref("Link")),
    ),
    "Results": _object(
        "type stac_version id description license extent links assets openeo:status",
        **{
            "type": {"const": "Collection"},
            "stac_version": _TEXT,
            "id": _TEXT,
            "description": _TEXT,
            "license": _TEXT,
            "extent": _ANY_OBJECT,
            "links": array(ref("Link")),
            "assets": {"type": "object", "additionalProperties": ref("Asset")},
            "openeo:status": _STATUS,
        },
    ),
    "ResultItem": _object(
        "type stac_version id geometry properties links assets",
        type={"const": "Feature"},
        stac_version=_TEXT,
        id=_TEXT,
        geometry={"type": ["object", "null"]},
        properties=_ANY_OBJECT,
        links=array(ref("Link")),
        assets={"type": "object", "additionalProperties": ref("Asset")},
    ),
    "Asset": _object(
        "href type roles title", href=_TEXT, type=_TEXT, roles=array(_TEXT), title=_TEXT
    ),
    "File": _object(
        "path size modified", path=_TEXT, size={"type": "integer", "minimum": 0}, modified=_MOMENT
    ),
    "Files": _object("files links", files=array(ref("File")), links=array(ref("Link"))),
    "Capabilities": _object(
        "type api_version backend_version stac_version id title description production "
        "conformsTo endpoints links",
        type={"const": "Catalog"},
        api_version={"type": "string", "pattern": r"^1\.2\.\d+$"},
        backend_version=_TEXT,
        stac_version=_TEXT,
        id=_TEXT,
        title=_TEXT,
        description=_TEXT,
        production={"type": "boolean"},
        conformsTo=array(_TEXT),
        endpoints=array(
            _object(
                "path methods",
                path=_TEXT,
                methods=array({"enum": ["GET", "POST", "PATCH", "PUT", "DELETE"]}, minItems=1),
            )
        ),
        links=array(ref("Link")),
    ),
    "Versions": _object(
        "versions",
        versions=array(
            _object(
                "url api_version production",
                url=_TEXT,
                api_version=_TEXT,
                production={"type": "boolean"},
            ),
            minItems=1,
        ),
    ),
    "Conformance": _object("conformsTo", conformsTo=array(_TEXT)),
    "Collection": _object(
        "type stac_version id description license extent links cube:dimensions summaries",
        **{
            "type": {"const": "Collection"},
            "stac_version": _TEXT,
            "id": _TEXT,
            "description": _TEXT,
            "license": _TEXT,
            "extent": _ANY_OBJECT,
            "links": array(ref("Link")),
            "cube:dimensions": _ANY_OBJECT,
            "summaries": _ANY_OBJECT,
        },
    ),
    "Collections": _object(
        "collections links", collections=array(ref("Collection")), links=array(ref("Link"))
    ),
    "Processes": _object(
        "processes links", processes=array(ref("PredefinedProcess")), links=array(ref("Link"))
    ),
    "StoredProcesses": _object(
        "processes links", processes=array(ref("StoredProcess")), links=array(ref("Link"))
    ),
    "FileFormats": _object(
        "input output",
        input={"type": "object", "additionalProperties": ref("FileFormat")},
        output={"type": "object", "additionalProperties": ref("FileFormat")},
    ),
    "FileFormat": _object(
        "title gis_data_types parameters",
        title=_TEXT,
        description=_TEXT,
        gis_data_types=array({"enum": ["raster", "vector", "table", "pointcloud", "other"]}),
        parameters=_ANY_OBJECT,
    ),
    "Runtimes": {
        "type": "object",
        "additionalProperties": _object(
            "type default versions",
            type={"enum": ["language", "docker"]},
            title=_TEXT,
            description=_TEXT,
            default=_TEXT,
            versions=_ANY_OBJECT,
        ),
    },
    "Token": _object("access_token", access_token=_TEXT),
    "User": _object("user_id", user_id=_TEXT, name=_TEXT, links=array(ref("Link"))),
    "OpenApi": _object("openapi info paths", openapi=_TEXT, info=_ANY_OBJECT, paths=_ANY_OBJECT),
}
