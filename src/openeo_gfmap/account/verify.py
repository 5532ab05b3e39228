"""Whether all files of a run are still there, and still what they were."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from openeo_gfmap.account.folder import RunFolder
from openeo_gfmap.errors import InputError, ResultIncomplete
from openeo_gfmap.manager import formats, netcdf
from openeo_gfmap.manager.results import multihash_of
from openeo_gfmap.quality import QualityGates, inspect
from openeo_gfmap.stac.reading import read_items, with_absolute_assets

__all__ = ["Verification", "verify"]

_SHOWN: Final = 10  # files of each kind in the text
_SHA256: Final = "1220"  # how the multihash of one begins
#: What a run writes beside results.
_OWN_FOLDERS: Final = frozenset(
    {"stac", "provenance", "quarantine", "failed_jobs", "preview", ".downloads"}
)
_OWN_FILES: Final = frozenset({"samples.parquet", "report.html", "gfmap.toml"})


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes
    ----------
    folder
        That was looked at.
    good
        How many files are as they should be.
    lost
        Files that are not there.
    changed
        Files of another size or checksum, or that do not open, and how.
    failing
        Files that break quality gates, and which.
    unknown
        Files in the folder of which neither the account nor the catalogue knows.
    quarantined
        Files that were rejected during the run.
    """

    folder: Path
    good: int
    lost: tuple[str, ...] = ()
    changed: dict[str, str] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every file that should be there is there, and as it should be."""
        return not (self.lost or self.changed or self.failing)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "folder": str(self.folder), "ok": self.ok, "good": self.good, "lost": list(self.lost),
            "changed": self.changed, "failing": self.failing, "unknown": list(self.unknown),
            "quarantined": list(self.quarantined),
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"{self.folder}: {self.good:,} files are as they should be."]
        for word, found in (
            ("lost", dict.fromkeys(self.lost, "")),
            ("changed", self.changed),
            ("not good enough", self.failing),
            ("unknown to the run", dict.fromkeys(self.unknown, "")),
            ("in quarantine", dict.fromkeys(self.quarantined, "")),
        ):
            if found:
                lines.append(f"{len(found):,} {word}:")
                shown = list(found.items())[:_SHOWN]
                lines += [f"  {path}{f': {why}' if why else ''}" for path, why in shown]
                if len(found) > _SHOWN:
                    lines.append("  …")
        if self.lost or self.changed:
            lines.append("To fetch them again: gfmap retry --refetch, or refetch_lost=True.")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Expected:
    """A file that an item names."""

    path: Path
    name: str
    size: int | None
    checksum: str | None
    is_patch: bool
    period: tuple[str | None, str | None] = (None, None)


def verify(
    output_dir: str | Path,
    gates: QualityGates | None = None,
    *,
    checksums: bool = True,
    progress: Callable[[int, int], object] | None = None,
) -> Verification:
    """Compare the files of a run, or of any STAC collection on disk, with what is known of them.

    Parameters
    ----------
    output_dir : path
        Output folder of a run, or a folder with a STAC collection whose assets have ``file:size``
        and ``file:checksum``.
    gates : QualityGates, optional
        Applied to the patches, which are the first assets of the items.
    checksums : bool
        Read every file; without it, only sizes are compared.
    progress : callable, optional
        Called with how many files are done, and how many there are.

    Raises
    ------
    InputError
        When the folder holds neither a run nor a collection.
    """
    folder = Path(output_dir).absolute()
    try:
        with RunFolder(folder) as run:
            is_run, expected = True, list(_of_run(run))
    except InputError as no_run:
        is_run = False
        try:
            expected = list(_of_collection(folder))
        except InputError as no_collection:
            raise InputError(
                f"{folder} can be verified neither as a run ({no_run}) nor as a collection "
                f"({no_collection})"
            ) from no_collection
    lost, changed = [], {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        states = pool.map(lambda each: _state(each, checksums=checksums), expected)
        for done, (each, state) in enumerate(zip(expected, states, strict=True), start=1):
            if state == _LOST:
                lost.append(each.name)
            elif state:
                changed[each.name] = state
            if progress is not None:
                progress(done, len(expected))
    bad = {*lost, *changed}
    sound = [each for each in expected if each.name not in bad]
    failing = dict(_failing(sound, gates)) if gates is not None else {}
    return Verification(
        folder,
        len(sound) - len(failing),
        tuple(lost),
        changed,
        failing,
        tuple(_unknown(folder, {each.path for each in expected})) if is_run else (),
        tuple(_quarantined(folder)),
    )


def _of_run(run: RunFolder) -> Iterator[_Expected]:
    for row, item in run.items():
        period = _period(run, row)
        for place, asset in enumerate(item["assets"].values()):
            path = run.output_dir / str(asset["href"])
            yield from _expected(path, asset, period, run.output_dir, is_patch=place == 0)


def _period(run: RunFolder, row: int) -> tuple[str | None, str | None]:
    values = run.record(row).values if {"start_date", "end_date"} <= set(run.columns()) else {}
    start, end = values.get("start_date"), values.get("end_date")
    return (start if isinstance(start, str) else None, end if isinstance(end, str) else None)


def _of_collection(folder: Path) -> Iterator[_Expected]:
    for path, item in read_items(folder):
        assets = with_absolute_assets(path, item)["assets"].values()
        for place, asset in enumerate(assets):
            found = Path(str(asset["href"]))
            yield from _expected(found, asset, (None, None), folder, is_patch=place == 0)


def _expected(
    path: Path,
    asset: Any,
    period: tuple[str | None, str | None],
    folder: Path,
    *,
    is_patch: bool,
) -> Iterator[_Expected]:
    if "://" in str(asset["href"]):
        return  # on the web: not ours to watch
    inside = path.is_relative_to(folder)
    name = path.relative_to(folder).as_posix() if inside else str(path)
    size, checksum = asset.get("file:size"), asset.get("file:checksum")
    yield _Expected(path, name, size, checksum, is_patch, period)


_LOST: Final = "lost"


def _state(each: _Expected, *, checksums: bool) -> str:
    """Return what is wrong with a file; empty for nothing."""
    try:
        size = each.path.stat().st_size
    except OSError:
        return _LOST
    if each.size is not None and size != each.size:
        return f"has {size:,} bytes, had {each.size:,}"
    if not checksums:
        return ""
    if each.checksum is not None and each.checksum.startswith(_SHA256):
        return "" if multihash_of(each.path) == each.checksum else "has another checksum"
    try:
        with each.path.open("rb", buffering=0) as file:
            formats.check_content(file, each.path.name, each.path.suffix)
    except (OSError, ResultIncomplete) as error:
        return str(error)
    return ""


def _failing(expected: list[_Expected], gates: QualityGates) -> Iterator[tuple[str, str]]:
    """Iterate over patches that break gates; one at a time, as HDF5 wants it.

    The patch is the first asset of its item; what a post-job action has added comes after it.
    """
    for each in expected:
        if not each.is_patch:
            continue
        start, end = each.period
        cube = netcdf.describe(each.path)
        if found := inspect(each.path, cube, gates, start=start, end=end):
            yield each.name, "; ".join(map(str, found))


def _unknown(folder: Path, known: set[Path]) -> Iterator[str]:
    resolved = {path.resolve() for path in known}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or inside.parts[0] in _OWN_FOLDERS | _OWN_FILES:
            continue
        if len(inside.parts) == 1 and ".csv" in path.suffixes:  # the tracker, its store and lock
            continue
        if path.resolve() not in resolved:
            yield inside.as_posix()


def _quarantined(folder: Path) -> Iterator[str]:
    for path in sorted((folder / "quarantine").rglob("*")):
        if path.is_file() and not path.name.endswith(".reason.json"):
            yield path.relative_to(folder).as_posix()
