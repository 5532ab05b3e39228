"""The process registry: a process is one Python function, its openEO description is derived.

Signature and numpydoc docstring give the description: parameter names, defaults and
optionality from the signature, types from the annotations below, texts from the docstring.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from ..errors import OpenEOError
from .cube import Array as _Array
from .cube import Cube as _Cube
from .schemas import problem_with

__all__ = [
    "NOTHING",
    "AnyValue",
    "ArrayOf",
    "BandName",
    "Boolean",
    "BoundingBox",
    "Callback",
    "CollectionId",
    "CubeData",
    "Date",
    "GeoJson",
    "Geometries",
    "InputFormat",
    "InputOptions",
    "Integer",
    "Label",
    "Number",
    "Object",
    "OutputFormat",
    "OutputOptions",
    "Process",
    "Projection",
    "Scalar",
    "Schema",
    "TableData",
    "Text",
    "Uri",
    "all_processes",
    "get_process",
    "process",
]


@dataclass(frozen=True, eq=False)  # compared by identity: a dict has no hash
class Schema:
    """JSON schema of a parameter or return value, as the openEO description shows it."""

    json: dict[str, Any] | list[dict[str, Any]]


# The annotations a process function may use. Values inside callbacks are numpy arrays or Python
# scalars (elementwise), or `cube.Array` (along a dimension). Null is no value of these types:
# parameters that take it are annotated `Number | None`, or have the default None.
AnyValue = Annotated[Any, Schema({"description": "Any data type."})]
Number = Annotated[Any, Schema({"type": "number"})]
Integer = Annotated[Any, Schema({"type": "integer"})]
Boolean = Annotated[Any, Schema({"type": "boolean"})]
Text = Annotated[Any, Schema({"type": "string"})]
Scalar = Annotated[Any, Schema({"type": ["number", "boolean", "string", "null"]})]
Label = Annotated[Any, Schema([{"type": "number"}, {"type": "string"}])]
Object = Annotated[Any, Schema({"type": "object"})]
ArrayOf = Annotated[_Array, Schema({"type": "array", "items": {}})]
CubeData = Annotated[_Cube, Schema({"type": "object", "subtype": "datacube"})]
TableData = Annotated[Any, Schema({"type": "object", "subtype": "datacube"})]
Geometries = Annotated[
    Any,
    Schema(
        [
            {"type": "object", "subtype": "geojson"},
            {
                "type": "object",
                "subtype": "datacube",
                "dimensions": [{"type": "geometry"}],
            },
        ]
    ),
]
Callback = Annotated[Any, Schema({"type": "object", "subtype": "process-graph"})]
# Texts and objects with a meaning that clients know.
BandName = Annotated[Any, Schema({"type": "string", "subtype": "band-name"})]
BoundingBox = Annotated[Any, Schema({"type": "object", "subtype": "bounding-box"})]
CollectionId = Annotated[Any, Schema({"type": "string", "subtype": "collection-id"})]
GeoJson = Annotated[Any, Schema({"type": "object", "subtype": "geojson"})]
InputFormat = Annotated[Any, Schema({"type": "string", "subtype": "input-format"})]
InputOptions = Annotated[Any, Schema({"type": "object", "subtype": "input-format-options"})]
OutputFormat = Annotated[Any, Schema({"type": "string", "subtype": "output-format"})]
OutputOptions = Annotated[Any, Schema({"type": "object", "subtype": "output-format-options"})]
Uri = Annotated[Any, Schema({"type": "string", "subtype": "uri"})]
Projection = Annotated[
    Any,
    Schema(
        [
            {"type": "integer", "subtype": "epsg-code"},
            {"type": "string", "subtype": "wkt2-definition"},
        ]
    ),
]
Date = Annotated[
    Any,
    Schema(
        [
            {"type": "string", "subtype": "date-time", "format": "date-time"},
            {"type": "string", "subtype": "date", "format": "date"},
        ]
    ),
]

NOTHING: Mapping[str, Any] = MappingProxyType({})
"""The default of parameters that take an object."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Process:
    """A registered process.

    Attributes
    ----------
    id
        openEO process id.
    function
        The implementation.
    plan
        How the process moves metadata forward and demands backward in the dry run
        (see ``plan.py``); None for processes on plain values.
    wants_env
        Whether the function takes the keyword ``env`` (a :class:`plan.Scope`), which is no
        openEO parameter.
    parameters
        The openEO parameter descriptions, in the signature's order.
    arrays
        Names of the parameters annotated :data:`ArrayOf`, which get a :class:`cube.Array` whole;
        all others get plain numpy arrays or scalars.
    vectors
        Whether the result is a vector cube.
    """

    id: str
    function: Callable[..., Any]
    plan: Any = None
    wants_env: bool = False
    parameters: tuple[dict[str, Any], ...] = field(default=())
    arrays: frozenset[str] = frozenset()
    vectors: bool = False

    def call(self, arguments: Mapping[str, Any], env: Any = None) -> Any:
        """Call the function with arguments by their openEO names.

        Parameters
        ----------
        arguments
            Values; those left out take their defaults.
        env
            Handed on to functions that want it.

        Raises
        ------
        OpenEOError
            ProcessParameterInvalid: a text, number or truth value where the description has
            another type. Graphs are checked for that before, but not what their nodes give.
        """
        for parameter in self.parameters:
            value = arguments.get(parameter["name"])
            if isinstance(value, bool | int | float | str):
                problem = problem_with(value, parameter["schema"])
                if problem:
                    raise OpenEOError(
                        "ProcessParameterInvalid",
                        f"Argument {parameter['name']!r} of process {self.id!r} {problem}.",
                    )
        names = inspect.signature(self.function).parameters
        keywords = {n if n in names else f"{n}_": v for n, v in arguments.items()}
        return self.function(**keywords, **({"env": env} if self.wants_env else {}))

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters without a default."""
        return tuple(p["name"] for p in self.parameters if not p.get("optional"))

    def describe(self) -> dict[str, Any]:
        """Return the openEO process description (``GET /processes``)."""
        summary, body, _, returns = _docstring(self.function)
        schema = _schema(typing.get_type_hints(self.function, include_extras=True).get("return"))
        return {
            "id": self.id,
            "summary": summary,
            "description": (summary + "\n\n" + body).strip(),
            "categories": [self.function.__module__.rsplit(".", 1)[-1]],
            "parameters": [dict(p) for p in self.parameters],
            "returns": {"description": returns or "The result.", "schema": schema},
        }


_PROCESSES: dict[str, Process] = {}


def process(id: str | None = None, *, plan: Any = None) -> Callable[[F], F]:
    """Register a function as an openEO process.

    Parameters
    ----------
    id
        openEO process id; by default the function's name without a trailing underscore
        (``and_`` is ``and``).
    plan
        Planning rule for processes on cubes.
    """

    def register(function: F) -> F:
        name = id or function.__name__.rstrip("_")
        if name in _PROCESSES:
            raise RuntimeError(f"openEO process {name!r} is registered twice")
        signature = inspect.signature(function)
        _PROCESSES[name] = Process(
            id=name,
            function=function,
            plan=plan,
            wants_env="env" in signature.parameters,
            parameters=tuple(_parameters(function, signature)),
            arrays=_array_parameters(function),
            vectors=typing.get_type_hints(function, include_extras=True).get("return") == TableData,
        )
        return function

    return register


def get_process(id: str) -> Process:
    """Return a process by id; ProcessUnsupported names the unknown one."""
    _load()
    try:
        return _PROCESSES[id]
    except KeyError:
        raise OpenEOError(
            "ProcessUnsupported",
            f"Process {id!r} is not available here. GET /processes lists the "
            f"{len(_PROCESSES)} that are.",
        ) from None


def all_processes() -> dict[str, Process]:
    """Return all processes by id, sorted."""
    _load()
    return dict(sorted(_PROCESSES.items()))


def _load() -> None:
    # Imported late: the process modules import this one.
    from . import processes  # noqa: F401, PLC0415


def _parameters(function: Callable[..., Any], signature: inspect.Signature) -> list[dict[str, Any]]:
    hints = typing.get_type_hints(function, include_extras=True)
    texts = _docstring(function)[2]
    found = []
    for parameter in signature.parameters.values():
        if parameter.name == "env":
            continue
        name = parameter.name.rstrip("_")
        schema = _schema(hints.get(parameter.name))
        entry: dict[str, Any] = {
            "name": name,
            "description": texts.get(parameter.name, ""),
            "schema": _nullable(schema) if parameter.default is None else schema,
        }
        if parameter.default is not inspect.Parameter.empty:
            entry["optional"] = True
            entry["default"] = _json(parameter.default)
        found.append(entry)
    return found


def _array_parameters(function: Callable[..., Any]) -> frozenset[str]:
    hints = typing.get_type_hints(function, include_extras=True)
    return frozenset(
        name.rstrip("_") for name, hint in hints.items() if hint == ArrayOf and name != "return"
    )


def _schema(hint: Any) -> dict[str, Any] | list[dict[str, Any]]:
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, Schema):
            return extra.json
    for member in typing.get_args(hint):
        if member is not type(None) and (schema := _schema(member)):
            return _nullable(schema)
    return {}


def _nullable(schema: Any) -> dict[str, Any] | list[dict[str, Any]]:
    """Return a schema that takes null as well."""
    choices = schema if isinstance(schema, list) else [schema]
    if any("type" not in c or "null" in [c["type"], *c["type"]] for c in choices):
        return dict(schema) if isinstance(schema, dict) else list(schema)
    if len(choices) > 1 or choices[0].keys() != {"type"}:
        return [*choices, {"type": "null"}]
    types = choices[0]["type"]
    return {"type": [*([types] if isinstance(types, str) else types), "null"]}


def _json(default: Any) -> Any:
    """Return a default as JSON: Python's must not be changeable."""
    if isinstance(default, tuple):
        return list(default)
    return dict(default) if isinstance(default, Mapping) else default


def _docstring(function: Callable[..., Any]) -> tuple[str, str, dict[str, str], str]:
    """Split a numpydoc docstring into summary, body, parameter texts and the returns text."""
    text = inspect.getdoc(function) or ""
    parts = re.split(r"^(Parameters|Returns|Raises|Notes)\n-+\n", text, flags=re.MULTILINE)
    head, sections = parts[0], dict(zip(parts[1::2], parts[2::2], strict=True))
    summary, _, body = head.strip().partition("\n\n")
    parameters: dict[str, str] = {}
    for name, described in re.findall(
        r"^(\w+)[^\n]*\n((?:[ \t]+[^\n]*\n?|\n)*)", sections.get("Parameters", ""), re.MULTILINE
    ):
        parameters[name] = inspect.cleandoc(described)
    # Under "Returns" the first line names the type; the text is indented below it.
    returned = re.sub(r"^\S[^\n]*\n(?=[ \t])", "", sections.get("Returns", "").lstrip("\n"))
    return summary, body.strip(), parameters, inspect.cleandoc(returned)
