"""Values of settings as the types that their fields have."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from datetime import date
from typing import Any, TypeVar

from openeo_gfmap.cli.settings_file import Setting, nearest, shown
from openeo_gfmap.cli.words import TOML, setting_of
from openeo_gfmap.errors import InputError

__all__ = ["build", "located", "settable"]

Built = TypeVar("Built")

_WORDS = {"true": True, "yes": True, "on": True, "1": True,
          "false": False, "no": False, "off": False, "0": False}  # fmt: skip


def settable(kind: type[Any]) -> dict[str, Any]:
    """Return the fields of a dataclass that a setting can give, and their types."""
    hints = typing.get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind) if each.init}


def build(
    kind: type[Built],
    section: str,
    given: Mapping[str, Setting],
    where: str,
    **further: Any,
) -> Built:
    """Make a dataclass of the settings of a section.

    Parameters
    ----------
    kind : type
        A dataclass; its own checks are the only ones of what values mean.
    section : str
        Name of the section.
    given : mapping of str to Setting
        By field.
    where : str
        Place of the section, for what is wrong with no single setting.
    **further
        Fields that are made elsewhere, and are no settings.

    Raises
    ------
    InputError
        With the place of the setting that is wrong.
    """
    hints = settable(kind)
    known = [name for name in hints if name not in further]
    values = {}
    for key, setting in given.items():
        if key not in known:
            raise InputError(
                f"{setting.where}: [{section}] has no key {key!r}; {nearest(key, known)}"
            )
        values[key] = _converted(setting, hints[key], f"[{section}] {key}")
    for each in fields(kind):  # type: ignore[arg-type]
        if _is_required(each) and each.name not in {**values, **further}:
            raise InputError(f"{where}: [{section}] lacks {each.name!r}, which has no default.")
    with located(section, given, where):
        return kind(**values, **further)


def _is_required(each: Field[Any]) -> bool:
    return each.init and each.default is MISSING and each.default_factory is MISSING


@contextmanager
def located(section: str, given: Mapping[str, Setting], where: str) -> Iterator[None]:
    """Say in an error which setting is meant, and where that is."""
    try:
        yield
    except InputError as error:
        told = error.told(TOML)
        if error.about is not None:
            named = setting_of(error.about)[1]
        else:  # checks of values begin with the name of what they are about
            named = next((key for key in given if re.match(rf"{key}\b", told)), "")
        place = given[named].where if named in given else where
        if named and not re.match(rf"{named}\b", told):
            told = f"{named}: {told}"
        raise InputError(f"{place}: [{section}] {told}") from error


def _converted(setting: Setting, hint: Any, name: str) -> Any:
    value = setting.value
    choices = _choices(hint)
    if setting.is_text:
        value = _from_text(str(value), choices)
    elif isinstance(value, date) and str in choices:
        value = value.isoformat()  # TOML has dates; here they are text
    for kind in choices:
        fits, made = _fit(value, kind)
        if fits:
            return made
    expected = " or ".join(dict.fromkeys(filter(None, map(_word, choices))))
    raise InputError(f"{setting.where}: {name} is {_told(setting.value)}; expected {expected}.")


def _told(value: Any) -> str:
    return repr(value) if isinstance(value, str) else shown(value)


def _choices(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return list(typing.get_args(hint))
    return [hint]


def _from_text(text: str, choices: list[Any]) -> Any:
    """Return what a text stands for: numbers and lists as JSON, words as they are."""
    if bool in choices and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if type(None) in choices and text.lower() in ("", "none", "null"):
        return None
    if str in choices:
        return text
    try:
        return json.loads(text)
    except ValueError:
        wants_list = any(typing.get_origin(kind) is tuple for kind in choices)
        return [part.strip() for part in text.split(",")] if wants_list else text


def _fit(value: Any, kind: Any) -> tuple[bool, Any]:
    """Tell whether a value can be of a type, and return it as that."""
    origin = typing.get_origin(kind)
    if kind is type(None):
        fits = value is None or value is False
        return fits, None
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool), value
    if kind is float and isinstance(value, int):
        return True, float(value)
    if kind in (int, float, str):
        return isinstance(value, kind), value
    if origin is tuple:
        return _fit_list(value, typing.get_args(kind))
    return _is_mapping(origin) and isinstance(value, dict), value


def _fit_list(value: Any, inner: tuple[Any, ...]) -> tuple[bool, Any]:
    if not isinstance(value, list):
        return False, value
    kind, *rest = inner
    parts = [_fit(each, kind) for each in value]
    right_length = rest == [...] or len(parts) == len(inner)
    return right_length and all(fits for fits, _ in parts), tuple(made for _, made in parts)


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _word(kind: Any) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if kind in words:
        return words[kind]
    if kind is type(None):
        return "false for none"
    origin = typing.get_origin(kind)
    if origin is tuple:
        return "a list"
    return "a table" if origin is not None else ""
