"""The source of user-defined functions before a run: fetched, and checked for what it needs.

A UDF says which packages it needs as a script does (PEP 723)::

    # /// script
    # dependencies = ["scikit-image>=0.22", "numpy"]
    # ///

Nothing is installed: the packages are those of the back-end, and what is missing is told.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..errors import OpenEOError

__all__ = ["check_needs", "is_place", "with_udfs"]

_BLOCK = re.compile(
    r"^# /// script[ \t]*$\n(?P<lines>(?:^#(?: .*)?$\n)+?)^# ///[ \t]*$", re.MULTILINE
)


def is_place(udf: str) -> bool:
    """Whether the argument of ``run_udf`` names a file, and is not the code itself."""
    text = udf.strip()
    return "\n" not in text and text.endswith(".py")


def with_udfs(graph: Mapping[str, Any], fetch: Callable[[str], Path] | None) -> Mapping[str, Any]:
    """Return a process graph with the code of its UDFs in it, checked for what they need.

    So windows can be evaluated where the files are not, and a package that is missing is told once
    and before any work.

    Parameters
    ----------
    graph
        As the client sent it.
    fetch
        Gives the local file for an address or workspace path; without it places are left.

    Raises
    ------
    OpenEOError
        ``UdfDependencyMissing``, ``UdfError`` for a header that cannot be read.
    """
    found: Mapping[str, Any] = _replaced(graph, fetch, None)
    return found


def _replaced(value: Any, fetch: Callable[[str], Path] | None, node: str | None) -> Any:
    if isinstance(value, list):
        return [_replaced(entry, fetch, node) for entry in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("process_id") == "run_udf" and isinstance(value.get("arguments"), Mapping):
        return {**value, "arguments": _with_code(value["arguments"], fetch, node)}
    return {
        key: _replaced(entry, fetch, node or (key if _is_node(entry) else None))
        for key, entry in value.items()
    }


def _is_node(value: Any) -> bool:
    return isinstance(value, Mapping) and "process_id" in value


def _with_code(
    arguments: Mapping[str, Any], fetch: Callable[[str], Path] | None, node: str | None
) -> Mapping[str, Any]:
    code = arguments.get("udf")
    if not isinstance(code, str):
        return arguments
    try:
        if is_place(code):
            if fetch is None:
                return arguments
            code = fetch(code.strip()).read_text(encoding="utf-8")
        check_needs(code)
    except OpenEOError as error:
        raise OpenEOError(error.code, error.message, status=error.status, node=node) from error
    return {**arguments, "udf": code}


def check_needs(code: str) -> None:
    """Check that all packages and the Python version that a UDF's header names are here.

    Raises
    ------
    OpenEOError
        ``UdfDependencyMissing``, naming all that is missing; ``UdfError`` for a header that is not
        as PEP 723 says.
    """
    header = _header(code)
    missing = [*_wrong_python(header), *_missing(header.get("dependencies", []))]
    if missing:
        raise OpenEOError(
            "UdfDependencyMissing",
            f"The UDF needs {'; '.join(missing)}. Nothing is installed for a UDF: have the "
            "packages installed where this back-end (and each of its workers) runs, or change the "
            "UDF's header.",
        )


def _header(code: str) -> dict[str, Any]:
    blocks = [match["lines"] for match in _BLOCK.finditer(code.replace("\r\n", "\n") + "\n")]
    if not blocks:
        return {}
    if len(blocks) > 1:
        raise _unreadable("it has several blocks '# /// script'; write one")
    text = "".join(
        line[2:] if line.startswith("# ") else line[1:] for line in blocks[0].splitlines(True)
    )
    try:
        header = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(f"its lines are not TOML: {error}") from error
    needs = header.get("dependencies", [])
    if not isinstance(needs, list) or not all(isinstance(need, str) for need in needs):
        raise _unreadable(f"dependencies is {needs!r}; write a list of texts")
    return header


def _wrong_python(header: Mapping[str, Any]) -> Iterator[str]:
    wanted = header.get("requires-python")
    if wanted is None:
        return
    try:
        fits = python_version() in SpecifierSet(str(wanted))
    except InvalidSpecifier as error:
        raise _unreadable(f"requires-python is {wanted!r}: {error}") from error
    if not fits:
        yield f"Python {wanted} (this is {python_version()})"


def _missing(needs: list[str]) -> Iterator[str]:
    for need in needs:
        try:
            requirement = Requirement(need)
        except InvalidRequirement as error:
            raise _unreadable(f"dependency {need!r}: {error}") from error
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            there = version(requirement.name)
        except PackageNotFoundError:
            yield f"{need} (not installed)"
            continue
        if not requirement.specifier.contains(there, prereleases=True):
            yield f"{need} (installed is {there})"


def _unreadable(problem: str) -> OpenEOError:
    return OpenEOError("UdfError", f"The header of the UDF cannot be read: {problem}.")
