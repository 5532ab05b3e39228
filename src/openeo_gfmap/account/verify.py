"""Whether all files of a run are still there, and still what they were."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from openeo_gfmap.account.folder import RunFolder
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager import netcdf
from openeo_gfmap.manager.disk import BESIDE_RESULTS
from openeo_gfmap.manager.intact import LOST, OTHER_SUM, defects
from openeo_gfmap.manager.ledger import SampleState
from openeo_gfmap.manager.quarantine import FOLDER, REASON, Quarantine
from openeo_gfmap.quality import QualityGates
from openeo_gfmap.stac.reading import collection_file, read_items, with_absolute_assets

__all__ = ["Verification", "verify"]

_SHOWN: Final = 10  # files of each kind in the text
_WIDTH: Final = 80


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes
    ----------
    folder
        That was looked at.
    is_run
        Whether it holds a run of ours; else it is a collection.
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
        Files that were rejected during the run, and why.
    """

    folder: Path
    is_run: bool
    good: int
    lost: tuple[str, ...] = ()
    changed: dict[str, str] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    quarantined: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every file that should be there is there, and as it should be."""
        return not (self.lost or self.changed or self.failing)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "folder": str(self.folder),
            "is_run": self.is_run,
            "ok": self.ok,
            "good": self.good,
            "lost": list(self.lost),
            "changed": self.changed,
            "failing": self.failing,
            "unknown": list(self.unknown),
            "quarantined": self.quarantined,
        }

    def __str__(self) -> str:
        lines = [f"{self.folder}: {_count(self.good)} as expected."]
        for words, found in (
            ("lost", dict.fromkeys(self.lost, "")),
            ("changed", self.changed),
            ("not good enough", self.failing),
            ("of which nobody knows", dict.fromkeys(self.unknown, "")),
            ("in quarantine", self.quarantined),
        ):
            if not found:
                continue
            lines.append(f"{_count(len(found))} {words}:")
            for path, why in list(found.items())[:_SHOWN]:
                lines.append(f"  {path}")
                lines += [f"    {line}" for line in textwrap.wrap(why, _WIDTH - 4)]
            if len(found) > _SHOWN:
                lines.append(f"  … and {len(found) - _SHOWN:,} more")
        if self.is_run and (self.lost or self.changed):
            # A run that goes by checksum begins with reading all files.
            by_sum = OTHER_SUM in self.changed.values()
            command, option = ("--checksums", "'checksum'") if by_sum else ("--refetch", "True")
            lines.append(f"What is lost or changed is fetched again by `gfmap retry {command}`,")
            lines.append(f"or ManagerOptions(refetch_lost={option}), while the back-end keeps the")
            lines.append("results.")
        return "\n".join(lines)


def _count(files: int) -> str:
    return f"{files:,} file" + ("" if files == 1 else "s")


@dataclass(frozen=True)
class _Expected:
    """A file that an item names."""

    path: Path
    name: str
    size: int | None = None
    checksum: str | None = None
    is_patch: bool = False
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
        and ``file:checksum``; an asset without them must be there and open.
    gates : QualityGates, optional
        Applied to the patches, which are the first assets of the items.
    checksums : bool
        Read every file; without it, only sizes are compared.
    progress : callable, optional
        Called with how many steps are done, and how many there are: one for each file, and one
        more for each patch that the gates look into.

    Raises
    ------
    InputError
        When the folder holds neither a run nor a collection.
    """
    folder = Path(output_dir).absolute()
    is_run = _is_run(folder)
    if is_run:
        with RunFolder(folder) as run:
            named = list(_of_run(run))
    else:
        named = list(_of_collection(folder))
        folder = folder.parent if folder.is_file() else folder
    first: dict[Path, _Expected] = {}
    for each in named:  # items may share a file
        first.setdefault(each.path, each)
    expected = list(first.values())
    patches = [each for each in expected if each.is_patch] if gates is not None else []
    steps = _Steps(len(expected) + len(patches), progress)
    lost, changed = [], {}
    for each, state in zip(expected, defects(expected, checksums=checksums), strict=True):
        if state == LOST:
            lost.append(each.name)
        elif state:
            changed[each.name] = state
        steps.done()
    bad = {*lost, *changed}
    failing = {}
    for each in patches:
        if each.name not in bad and (why := _why_not(each, Quarantine(folder, gates))):
            failing[each.name] = why
        steps.done()
    return Verification(
        folder,
        is_run,
        len(expected) - len(bad) - len(failing),
        tuple(lost),
        changed,
        failing,
        tuple(_unknown(folder, {each.path for each in expected}, is_run=is_run)),
        dict(_quarantined(folder)) if is_run else {},
    )


def _is_run(folder: Path) -> bool:
    """Tell whether a folder holds a run; else it holds a collection.

    Raises
    ------
    InputError
        When it holds neither, or the only thing that it holds is a run that cannot be read.
    """
    try:
        RunFolder(folder).close()
    except InputError:
        try:
            collection_file(folder)
        except InputError:
            if any(folder.glob("*.csv.sqlite")):
                return True  # which is not as it should be: whoever opens it says how
            what = (
                "holds neither a run nor a STAC collection" if folder.exists() else "is not there"
            )
            raise InputError(
                f"{folder} {what}; name the output folder of a run, or a folder with a "
                "collection.json."
            ) from None
        return False
    return True


class _Steps:
    def __init__(self, total: int, progress: Callable[[int, int], object] | None):
        self._done, self._total, self._progress = 0, total, progress

    def done(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def _of_run(run: RunFolder) -> Iterator[_Expected]:
    for row, item in run.items():
        period = _period(run, row)
        for place, asset in enumerate(item["assets"].values()):
            path = run.output_dir / str(asset["href"])
            yield from _expected(path, asset, period, run.output_dir, is_patch=place == 0)
    # A post-job action may have left the file of a sample out of the items.
    for sample in run.samples():
        if sample.state is SampleState.RECEIVED and sample.path is not None:
            yield _Expected(run.output_dir / sample.path, sample.path)


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


def _why_not(patch: _Expected, quarantine: Quarantine) -> str:
    """Return which gates a patch breaks. One is open at a time, as HDF5 wants it.

    The patch is the first asset of its item; what a post-job action has added comes after it.
    """
    start, end = patch.period
    try:
        cube = netcdf.describe(patch.path)
    except (OSError, KeyError, RuntimeError) as error:  # what h5py raises on a bad file
        return f"does not open: {error}"
    return "; ".join(map(str, quarantine.inspect(patch.path, cube, start=start, end=end)))


def _unknown(folder: Path, known: Iterable[Path], *, is_run: bool) -> Iterator[str]:
    resolved = {path.resolve() for path in known}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or inside.parts[0] in BESIDE_RESULTS:
            continue
        if is_run and len(inside.parts) == 1 and ".csv" in path.suffixes:
            continue  # the tracker, its store and lock
        if not is_run and (path.suffix == ".json" or path.name == "items.parquet"):
            continue  # documents of the collection
        if path.resolve() not in resolved:
            yield inside.as_posix()


def _quarantined(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((folder / FOLDER).rglob("*")):
        if path.is_file() and not path.name.endswith(REASON):
            yield path.relative_to(folder).as_posix(), _reason(path)


def _reason(path: Path) -> str:
    """Return why a file is in quarantine; empty when nothing there says it."""
    try:
        document = json.loads(path.with_name(path.name + REASON).read_bytes())
        return "; ".join(finding["message"] for finding in document["findings"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""
