"""What a settings file calls the settings that messages are about."""

from __future__ import annotations

from typing import Any, Final

from openeo_gfmap.cli.settings_file import shown
from openeo_gfmap.errors import Words

__all__ = ["PARTS", "TOML", "setting_of"]

#: Settings of an extraction that are no part of its recipe: section and key.
_PLACES: Final = {
    "samples": ("samples", "path"),
    "min_extract": ("samples", "min_extract"),
    "backend": ("backend", "name"),
    "upload": ("backend", "upload"),
    "parallel_jobs": ("backend", "parallel_jobs"),
    "poll_sleep": ("backend", "poll_sleep"),
    "output_dir": ("output", "folder"),
    "tracker": ("output", "folder"),
}
#: Parts of a recipe that are sections of their own, and the section that is one of its parts.
PARTS: Final = ("period", "labels", "cloud_mask")
_COLUMNS: Final = "columns"


def setting_of(setting: str) -> tuple[str, str]:
    """Return section and key of a setting, as `openeo_gfmap.errors.Words` calls it."""
    if setting in _PLACES:
        return _PLACES[setting]
    part, _, key = setting.rpartition(".")
    if part == _COLUMNS:
        return "samples", key
    return (f"recipe.{part}", key) if part else ("recipe", key)


class _Toml(Words):
    def name(self, program: str, *settings: str) -> str:
        del program
        places = [("recipe." + each, "") if each in PARTS else setting_of(each)
                  for each in settings]  # fmt: skip
        keys = " and ".join(key for _, key in places)
        return f"[{places[0][0]}] {keys}".rstrip()

    def value(self, setting: str, value: Any) -> str:
        section, key = setting_of(setting)
        return f"{key} = {shown(value)} in [{section}]"

    def either(self, program: str, command: str) -> str:
        del program
        return command


#: Sections and keys of ``gfmap.toml``.
TOML: Final[Words] = _Toml()
