"""Where files go: a template, and the check that no two samples meet."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from openeo_gfmap.errors import InputError
from openeo_gfmap.files import safe_name

__all__ = ["PathTemplate"]


@dataclass(frozen=True)
class PathTemplate:
    """A relative path with fields in braces, as in ``{ref_id}/{sample_id}.nc``.

    Values become single, safe names: a sample id with a slash in it opens no folder, and spaces
    become underscores.

    Parameters
    ----------
    template : str
        Any column of the samples can be a field, and ``epsg``, ``tile`` (the Sentinel-2 tile),
        ``start_date`` and ``end_date``.

    Raises
    ------
    InputError
        When it is absolute, leaves its folder, or has no field.
    """

    template: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.template)
        if path.is_absolute() or ".." in path.parts or "\\" in self.template:
            raise InputError(
                f"the path template {self.template!r} leaves the output folder; expected a "
                "relative path with '/' and without '..'.",
                about="path",
            )
        if not self.fields:
            raise InputError(
                f"the path template {self.template!r} has no field, so that all files would have "
                "one path; add one, such as {sample_id}.",
                about="path",
            )

    @property
    def fields(self) -> frozenset[str]:
        """Names in braces."""
        try:
            parts = list(string.Formatter().parse(self.template))
        except ValueError as error:
            raise InputError(
                f"the path template {self.template!r}: {error}; expected names in braces, such as "
                "{sample_id}.",
                about="path",
            ) from error
        return frozenset(field for _, field, _, _ in parts if field is not None)

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the path for a sample.

        Raises
        ------
        InputError
            When a field is no column of the samples.
        """
        unknown = sorted(self.fields - set(values))
        if unknown:
            raise InputError(
                f"the path template {self.template!r} has the field {unknown[0]!r}, which the "
                f"samples do not have; there are {', '.join(sorted(values))}.",
                about="path",
            )
        # Without spaces: paths become addresses in the catalogue, which cannot hold any.
        return self.template.format_map(
            {name: safe_name(str(values[name])).replace(" ", "_") for name in self.fields}
        )

    def check(self, filled: Iterable[tuple[str, str]]) -> None:
        """Check that no two samples have one path.

        Parameters
        ----------
        filled : iterable of (str, str)
            Sample id and path.

        Raises
        ------
        InputError
            Names two samples that meet.
        """
        owners: dict[str, tuple[str, str]] = {}
        for sample, path in filled:
            # Some file systems do not tell upper from lower case.
            owner, taken = owners.setdefault(path.casefold(), (sample, path))
            if owner == sample:
                continue
            if path != taken:
                raise InputError(
                    f"the path template {self.template!r} gives {taken} to the sample {owner!r} "
                    f"and {path} to {sample!r}, which many disks take for one file; rename one "
                    "so that they differ in more than upper and lower case.",
                    about="path",
                )
            raise InputError(
                f"the path template {self.template!r} gives {path} to the samples {owner!r} "
                f"and {sample!r}; add a field that tells them apart, such as {{sample_id}}, or "
                "rename one of them.",
                about="path",
            )
