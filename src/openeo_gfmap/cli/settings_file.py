"""Settings from a TOML file, the environment and options, each with where it was said.

The later of the three goes before the earlier: an option before a variable, a variable before the
file. What a value must be is decided by what it is for; here each keeps its place, so that a
message can point at it.
"""

from __future__ import annotations

import difflib
import io
import json
import logging
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from openeo_gfmap.errors import InputError

__all__ = ["PREFIX", "Setting", "Settings", "nearest", "read_settings", "shown", "variable"]

_log = logging.getLogger(__name__)

#: Variables are this, the section and the key, in capitals: ``GFMAP_BACKEND_NAME``.
PREFIX: Final = "GFMAP_"


@dataclass(frozen=True)
class Setting:
    """A value and where it was said.

    Attributes
    ----------
    value
        As TOML has it; of a variable or an option, text.
    where
        Such as "gfmap.toml, line 12".
    is_text
        Whether it is text that stands for another type: a variable or an option.
    """

    value: Any
    where: str
    is_text: bool = False


class Settings:
    """All settings, by section and key.

    Parameters
    ----------
    found : mapping of (str, str) to Setting
        Section, such as "recipe.period", and key.
    sections : mapping of str to str
        Where each section begins.
    """

    def __init__(self, found: Mapping[tuple[str, str], Setting], sections: Mapping[str, str]):
        self._found = dict(found)
        self._sections = dict(sections)

    def section(self, name: str) -> dict[str, Setting]:
        """Return the settings of a section by key."""
        return {key: setting for (section, key), setting in self._found.items() if section == name}

    def names(self) -> list[str]:
        """Return the sections that occur, in their order."""
        return list(dict.fromkeys([*self._sections, *(section for section, _ in self._found)]))

    def where(self, section: str) -> str:
        """Return where a section begins."""
        return self._sections.get(section, f"section [{section}]")

    def place_of(self, section: str, key: str) -> str:
        """Return place, section and key of a setting, also of one that was not said."""
        said = self._found.get((section, key))
        where = said.where if said is not None else self._sections.get(section)
        return f"{where}: [{section}] {key}" if where else f"[{section}] {key}"


def variable(section: str, key: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{re.sub('[.-]', '_', section)}_{key}".upper()


def nearest(word: str, known: Iterable[str]) -> str:
    """Return what to do about a word that is not known: the one that was meant, else all."""
    names = list(known)
    near = difflib.get_close_matches(word, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}."


def read_settings(
    path: Path | None,
    environment: Mapping[str, str],
    options: Iterable[tuple[str, str]],
    sections: Iterable[str],
) -> Settings:
    """Return the settings of a file, the variables and the options.

    Parameters
    ----------
    path : Path, optional
        TOML file.
    environment : mapping
        Variables.
    options : iterable of (str, str)
        Key with its section, as in "backend.name", and text.
    sections : iterable of str
        Those there can be: a variable is split where the name of one ends.

    Raises
    ------
    InputError
        When the file cannot be read, with the line, or an option names no section.
    """
    known = sorted(sections, key=len, reverse=True)
    found: dict[tuple[str, str], Setting] = {}
    places: dict[str, str] = {}
    if path is not None:
        text = _read(path)
        content, lines = _parsed(path, text), _lines(text)
        for keys, value in _flat(content, (), known):
            line = next((lines[k] for k in (keys, keys[:-1]) if k in lines), None)
            found[".".join(keys[:-1]), keys[-1]] = Setting(value, _at(path, line))
        places = {".".join(keys): _at(path, line) for keys, line in lines.items()
                  if isinstance(_inside(content, keys), dict)}  # fmt: skip
    for name, text in environment.items():
        for section in known:
            start = variable(section, "")
            if name.startswith(start):
                key = name.removeprefix(start).lower()
                found[section, key] = Setting(text, f"environment variable {name}", is_text=True)
                break
        else:
            if name.startswith(PREFIX):
                _log.warning(
                    "The environment variable %s is not read: it names no section; expected such "
                    "as %sRECIPE_SIZE.", name, PREFIX,
                )  # fmt: skip
    for name, text in options:
        section, _, key = name.rpartition(".")
        if section not in known:
            raise InputError(
                f"option {name!r}: there is no section {section!r}; "
                f"{nearest(section, sorted(known))}"
            )
        found[section, key] = Setting(text, f"option {name}", is_text=True)
    return Settings(found, places)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); name another file with --config, or write one with "
            "`gfmap init`."
        ) from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise InputError(f"{_at(path, int(line[1]) if line else None)}: {error}") from error


def _at(path: Path, line: int | None) -> str:
    return f"{path.name}, line {line}" if line else path.name


def _flat(
    table: Mapping[str, Any], above: tuple[str, ...], known: list[str]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Iterate over keys with their sections, and values; a table that is no section is a value."""
    for key, value in table.items():
        keys = (*above, key)
        if isinstance(value, dict) and (not above or ".".join(keys) in known):
            yield from _flat(value, keys, known)
        else:
            yield keys, value


def _inside(table: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        table = table[key] if isinstance(table, dict) else None
    return table


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line where each table and each key of a valid file begins.

    A statement is as many lines as it takes to make one that can be parsed.
    """
    found: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    statement, begun = "", 1
    for number, line in enumerate(io.StringIO(text), start=1):
        statement += line
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        is_header = statement.lstrip().startswith("[")
        paths = list(_paths(parsed))
        for keys in paths:
            for end in range(1, len(keys) + 1):
                found.setdefault((*(() if is_header else section), *keys[:end]), begun)
        if is_header:
            section = paths[0]
        statement, begun = "", number + 1
    return found


def _paths(table: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Iterate over the keys of what is innermost."""
    for key, value in table.items():
        if isinstance(value, list) and len(value) == 1 and value[0] == {}:
            value = {}  # noqa: PLW2901 - the header of an array of tables
        inner = list(_paths(value)) if isinstance(value, dict) else []
        yield from ((key, *below) for below in inner or [()])


def shown(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(key))} = {shown(each)}" for key, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    return "false" if value is None else str(value)
