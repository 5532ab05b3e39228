"""Settings from a TOML file, the environment and options, each with where it was said.

The later of the three goes before the earlier: an option before a variable, a variable before the
file. What a value must be is decided by what it is for; here each keeps its place, so that a
message can point at it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from openeo_gfmap.errors import InputError

__all__ = ["PREFIX", "Setting", "Settings", "read_settings"]

#: Variables are this, the section and the key, in capitals: ``GFMAP_BACKEND_NAME``.
PREFIX: Final = "GFMAP_"

_TABLE = re.compile(r"^\s*\[\s*([\w.\"-]+)\s*\]")
_KEY = re.compile(r"^\s*([\w-]+)\s*=")


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
        lines = _lines(text)
        for section, key, value in _flat(_parsed(path, text), "", known):
            line = lines.get((section, key)) or lines.get((section, ""))
            found[section, key] = Setting(value, _at(path, line))
        places = {s: _at(path, line) for (s, key), line in lines.items() if s and not key}
    for name, text in environment.items():
        for section in known:
            start = f"{PREFIX}{section.replace('.', '_').upper()}_"
            if name.startswith(start):
                key = name.removeprefix(start).lower()
                found[section, key] = Setting(text, f"environment variable {name}", is_text=True)
                break
    for name, text in options:
        section, _, key = name.rpartition(".")
        if section not in known:
            raise InputError(
                f"option {name!r} names no section; expected section.key=value with one of "
                f"{', '.join(sorted(known))}."
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
    table: Mapping[str, Any], section: str, known: list[str]
) -> Iterator[tuple[str, str, Any]]:
    """Iterate over section, key and value; a table that is no section is a value."""
    for key, value in table.items():
        inner = f"{section}.{key}" if section else key
        if isinstance(value, dict) and (not section or inner in known):
            yield from _flat(value, inner, known)
        else:
            yield section, key, value


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Return the line of each section and each key; those inside longer values do not matter."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if table := _TABLE.match(line):
            section = table[1].replace('"', "")
            found.setdefault((section, ""), number)
            parent, _, key = section.rpartition(".")
            found.setdefault((parent, key), number)
        elif key_match := _KEY.match(line):
            found.setdefault((section, key_match[1]), number)
    return found
